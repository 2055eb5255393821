"""`bench tune`: searches recipes."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import verb

if TYPE_CHECKING:
    from bench.executors.local import WarmStart
    from bench.grid.options import RunOptions


def tune(
    grid: Annotated[
        str, typer.Option(help="Take nets and optimizers from this grid; see `bench list grids`.")
    ] = "default",
    select: verb.Select = "",
    trials: Annotated[int, typer.Option(min=2, help="Candidates for each net and optimizer.")] = 12,
    seeds: Annotated[int, typer.Option(min=2, help="Seeds of the final comparison.")] = 5,
    architecture: Annotated[str | None, typer.Option(help="Only this net.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Only this optimizer.")] = None,
    augmentation: Annotated[str, typer.Option(help="Augmentation of the search.")] = "flip_crop",
    pipeline: Annotated[str, typer.Option(help="Pipeline of the search.")] = "native",
    plugin: verb.Plugin = None,
    source: verb.Source = "auto",
    data_dir: verb.DataDir = None,
    device: verb.Device = "auto",
    scale: verb.Scale = None,
    epochs: verb.Epochs = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Results folder for the runs of the search.")
    ] = Path("tuning"),
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add the recipes to this file.")
    ] = None,
    timeout: verb.Timeout = 3600,
    debug: verb.Debug = False,
) -> int:
    """Search learning rate, decay, batch size and schedule on validation; safe to repeat."""
    from bench.executors.local import warm_start
    from bench.grid.options import RunOptions

    options = RunOptions(
        grid=grid,
        select=select,
        architecture=architecture,
        optimizer=optimizer,
        augmentation=augmentation,
        pipeline=pipeline,
        source=source,
        data_dir=data_dir,
        device=device,
        scale=scale,
        epochs=epochs,
        out=out,
        plugins=plugin or (),
    )
    with closing(warm_start(keep_worker=True)) as early:  # imports torch in the background
        return _search(options, early, trials=trials, seeds=seeds, timeout_s=timeout, save=save)


def _search(
    options: "RunOptions",
    early: "WarmStart",
    *,
    trials: int,
    seeds: int,
    timeout_s: float,
    save: Path | None,
) -> int:
    from bench.cli.progress import TextReporter
    from bench.executors import tune as tuning
    from bench.grid import plan as planning
    from bench.grid import recipe_files
    from bench.grid.plugins import used
    from bench.machine.environment import command_line, machine_name
    from bench.store.files import write_atomically
    from bench.store.store import Store

    with used(options.plugins) as plugins, closing(TextReporter()) as console:
        plan = planning.make(options, console.progress, early.probe)
        for text in (*plan.notices, *plugins.notices()):
            console.notice(text)
        known = recipe_files.read(save) if save is not None and save.exists() else []
        try:
            found = tuning.tune(
                plan,
                console,
                trials=trials,
                seeds=seeds,
                command=command_line(),
                timeout_s=timeout_s,
                early=early,
            )
        except tuning.Interrupted:
            verb.log(f"bench: interrupted; to continue: {command_line()}")
            return 130
    typer.echo(tuning.table(found), nl=False)
    today = datetime.now(UTC).date().isoformat()
    entries = tuning.entries(found, machine_name(plan.device), today)
    store = Store(plan.folder)
    store.write_derived("tuning.md", tuning.table(found))
    store.write_derived("recipes.json", recipe_files.render(entries))
    if save is not None:
        merged = recipe_files.by_name([*known, *entries]).values()
        write_atomically(save, recipe_files.render(merged).encode())
    console.progress(f"recipes: {save or plan.folder / 'recipes.json'}")
    return 0
