"""`bench check` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import DataDir, Debug
from bench.text import printable


def check(
    results: Annotated[Path, typer.Argument(help="A results folder, or one group in it.")] = Path(
        "results"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what is wrong; write nothing.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="rich or json.")] = "rich",
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Look at every file of a results folder, and make anew what is derived from records."""

    def work() -> int:
        from bench.check import check as look
        from bench.check import check_form, render

        check_form(form)
        checked = look(
            results,
            dry_run=dry_run,
            data_dir=data_dir,
            report=lambda said: typer.echo(printable(said), err=True),
        )
        typer.echo(render(checked, form), nl=False)
        return checked.exit_code

    raise typer.Exit(run_verb(work, debug=debug))
