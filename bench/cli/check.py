"""`bench check`: checks the files of a results folder and updates those derived from records."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Debug, Format, Results, check_format, log
from bench.text import for_terminal


def check(
    results: Results = Path("results"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report problems; write nothing.")
    ] = False,
    form: Format = "rich",
    debug: Debug = False,
) -> int:
    """Check every file of a results folder, and update the files derived from records."""
    from bench.check import check as check_folder
    from bench.check import render

    check_format(form)
    checked = check_folder(results, dry_run=dry_run, report=log)
    for line in render(checked, form).splitlines():
        typer.echo(line if form == "json" else for_terminal(line, sys.stdout, indent=" " * 7))
    return checked.exit_code
