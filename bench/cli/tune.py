"""`bench tune` on the command line."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import DataDir, Debug, Device, Epochs, Plugin, Scale, Select, Source, Timeout

if TYPE_CHECKING:
    from bench.executors.warm_start import WarmStart


def tune(
    grid: Annotated[
        str, typer.Option(help="Whose nets and optimizers; `bench list grids` shows them.")
    ] = "default",
    select: Select = "",
    trials: Annotated[int, typer.Option(min=2, help="Contenders of each net and optimizer.")] = 12,
    seeds: Annotated[int, typer.Option(min=2, help="Of the confirmation.")] = 5,
    architecture: Annotated[str | None, typer.Option(help="Only this net.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Only this optimizer.")] = None,
    augmentation: Annotated[
        str, typer.Option(help="The augmentation to search with.")
    ] = "flip_crop",
    pipeline: Annotated[str, typer.Option(help="The pipeline to search with.")] = "native",
    plugin: Plugin = None,
    source: Source = "auto",
    data_dir: DataDir = None,
    device: Device = "auto",
    scale: Scale = None,
    epochs: Epochs = None,
    out: Annotated[Path, typer.Option(help="Where the search is kept.")] = Path("tuning"),
    save: Annotated[
        Path | None, typer.Option(help="A file of recipes to put what was found into.")
    ] = None,
    timeout: Timeout = 3600.0,
    debug: Debug = False,
) -> None:
    """Search learning rate, decay, batch size and schedule on validation; safe to repeat."""
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

    def work() -> int:
        from bench.executors.warm_start import start

        with closing(start(hire=True)) as early:
            from bench.grid.plugins import used

            with used(options.plugins) as plugins:
                return carry_out(early, plugins.told())

    def carry_out(early: "WarmStart", told: list[str]) -> int:
        from datetime import UTC, datetime

        from bench.cli.progress import TextReporter
        from bench.executors import tune as tuning
        from bench.executors.tune import Interrupted, Search
        from bench.executors.tune import tune as search
        from bench.grid import plan as planning
        from bench.grid import recipe_files
        from bench.machine.environment import command_line, machine_name
        from bench.store.store import Store

        console = TextReporter()
        plan = planning.make(options, console.progress, early.probe)
        for text in (*plan.notices, *told):
            console.notice(text)
        known = recipe_files.read(save) if save is not None and save.exists() else []
        try:
            found = search(
                plan,
                Search(trials=trials, seeds=seeds),
                console,
                command=command_line(),
                timeout_s=timeout,
                early=early,
            )
        except Interrupted:
            typer.echo(f"bench: interrupted; to go on: {command_line()}", err=True)
            return 130
        finally:
            console.close()
        typer.echo(tuning.table(found), nl=False)
        machine = machine_name(plan.setting.device)
        date = datetime.now(UTC).date().isoformat()
        entries = tuning.entries(found, machine, date)
        store = Store(plan.folder)
        store.write_derived("tuning.md", tuning.table(found))
        store.write_derived("recipes.json", recipe_files.render(entries))
        if save is not None:
            merged = recipe_files.by_name([*known, *entries]).values()
            save.write_text(recipe_files.render(merged))
        console.progress(f"recipes: {save or plan.folder / 'recipes.json'}")
        return 0

    raise typer.Exit(run_verb(work, debug=debug))
