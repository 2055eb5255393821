"""`bench tensorboard`: shows runs in TensorBoard."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bench.cli.verb import Debug, Results, Select, log
from bench.text import count


def tensorboard(
    results: Results = Path("results"),
    select: Select = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 for any free one (default: 6006 or the next)."),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="First write all event files again, from the records.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show runs in TensorBoard until Ctrl-C: throughput, hyperparameters, images, curves."""
    from bench.errors import UsageError
    from bench.tensorboard import view

    selected = view.select_runs(results, select)
    if rebuild:
        view.rebuild(selected, log)
    runs = sum(len(group.records) for group in selected)
    missing = sum(group.missing for group in selected)
    if missing == runs:
        raise UsageError(
            f"there are no event files for {count(runs, 'run')} under {results}: "
            "add --rebuild to write them from the records"
        )
    if missing:
        log(f"{missing} of {count(runs, 'run')} have no event files; --rebuild writes them")
    with TemporaryDirectory(prefix="bench-tensorboard-") as folder:
        shown = view.View(Path(folder), selected)
        view.serve(
            shown.folder,
            host=host,
            port=port,
            page=shown.page(),
            ready=partial(_announce, runs - missing),
            update=shown.update,
        )


def _announce(runs: int, address: str) -> None:
    typer.echo(f"{count(runs, 'run')} at {address} (Ctrl-C to stop)")
