"""`bench tensorboard` on the command line."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import Debug, Select
from bench.text import count, printable


def tensorboard(
    results: Annotated[Path, typer.Argument(help="A results folder, or one group in it.")] = Path(
        "results"
    ),
    select: Select = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="0: any that is free (default: 6006 or the next).")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write the event files anew from the records first.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show runs in TensorBoard: throughput view, hparams, images, curves; until Ctrl-C."""

    def report(text: str) -> None:
        typer.echo(printable(text), err=True)

    def work() -> None:
        from bench.errors import UsageError
        from bench.tensorboard.server import serve
        from bench.tensorboard.view import View, choose
        from bench.tensorboard.view import rebuild as write_again

        chosen = choose(results, select)
        if rebuild:
            write_again(chosen, report)
        runs = sum(len(group.records) for group in chosen)
        missing = sum(group.missing for group in chosen)
        if missing == runs:
            raise UsageError(
                f"there are no event files of {count(runs, 'run')} under {results}: "
                "add --rebuild, which writes them from the records"
            )
        if missing:
            report(f"{missing} of {runs} runs have no event files; --rebuild writes them")
        with TemporaryDirectory(prefix="bench-tensorboard-") as folder:
            view = View(Path(folder), chosen)

            page = view.page()

            def ready(address: str) -> None:
                typer.echo(f"{count(runs - missing, 'run')} at {address} (Ctrl-C ends it)")

            serve(view.folder, host=host, port=port, page=page, ready=ready, update=view.update)

    run_verb(work, debug=debug)
