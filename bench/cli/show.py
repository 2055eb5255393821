"""`bench show` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import Debug


def show(
    run: Annotated[
        str, typer.Argument(help="The run's id or its beginning, its name or a part of it.")
    ],
    results: Annotated[Path, typer.Argument(help="A results folder, or one group in it.")] = Path(
        "results"
    ),
    form: Annotated[str, typer.Option("--format", help="rich or json.")] = "rich",
    debug: Debug = False,
) -> None:
    """Show one run: scores, times, curve, confusion, and the command that trains it again."""

    def work() -> str:
        from bench.errors import UsageError
        from bench.executors.progress import terminal
        from bench.report.show import as_json, find_run, render
        from pipelines.catalog import unknown_name

        if form not in ("rich", "json"):
            raise UsageError(unknown_name("format", form, ["rich", "json"]))
        found = find_run(results, run)
        if form == "json":
            return as_json(found)
        from bench.again import again
        from bench.cli.run import options_of

        way = again(found.record, found.root, options_of)
        screen = terminal()
        return render(
            found, command=way.command, note=way.note, width=screen.width, color=screen.color
        )

    typer.echo(run_verb(work, debug=debug), nl=False)
