"""`bench doctor`: checks what works on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import DataDir, Debug
from bench.text import printable


def doctor(
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Results folder to check.")] = Path(
        "results"
    ),
    debug: Debug = False,
) -> int:
    """Check what works on this machine, and how to fix what does not."""
    from bench.machine.doctor import render, run_checks

    checks = run_checks(data_dir, out)
    typer.echo(printable(render(checks)), nl=False)
    return 2 if any(check.status == "fail" for check in checks) else 0
