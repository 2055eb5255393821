"""`bench tune`: searches recipes."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import verb

if TYPE_CHECKING:
    from bench.cell import Cell
    from bench.executors.base import Reporter
    from bench.executors.local import WarmStart
    from bench.grid.options import RunOptions
    from bench.grid.plan import Plan
    from bench.grid.tuning import TuningResult
    from bench.record import Record
    from bench.report.render import Table

NOTE = (
    "Validation accuracy on seeds that the search has not used, mean and standard deviation; noise "
    "is two standard errors of the margin."
)


class Interrupted(Exception):
    """The search was interrupted; finished runs are kept."""


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
    with closing(warm_start(keep_worker=True)) as early:
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
    from bench.grid import plan as planning
    from bench.grid import recipe_files, tuning
    from bench.grid.plugins import used
    from bench.machine.environment import command_line, machine_name
    from bench.store.files import write_atomically
    from bench.store.store import Store

    with used(options.plugins) as plugins, closing(TextReporter()) as console:
        plan = planning.make(options, console.progress, early.probe, early.begin)
        for text in (*plan.notices, *plugins.notices()):
            console.notice(text)
        known = recipe_files.read(save) if save is not None and save.exists() else []
        train = Trainer(base=plan, console=console, timeout_s=timeout_s, early=early)
        try:
            cells = [run.cell for run in plan.runs]
            found = tuning.search(cells, train, trials=trials, seeds=seeds)
        except Interrupted:
            verb.log(f"bench: interrupted; to continue: {command_line()}")
            return 130
    table, (width, color) = result_table(found), verb.screen()
    typer.echo(table.terminal(width=width, color=color), nl=False)
    today = datetime.now(UTC).date().isoformat()
    entries = tuning.entries(found, machine_name(plan.device), today)
    store = Store(plan.folder)
    store.write_derived("tuning.md", table.markdown())
    store.write_derived("recipes.json", recipe_files.render(entries))
    if save is not None:
        merged = recipe_files.by_name([*known, *entries]).values()
        write_atomically(save, recipe_files.render(merged).encode())
    console.progress(f"recipes: {save or plan.folder / 'recipes.json'}")
    return 0


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains the runs of a search, which are kept in the folder of `base` and not repeated."""

    base: "Plan"
    console: "Reporter"
    timeout_s: float
    early: "WarmStart | None" = None

    def __call__(self, cells: "Sequence[Cell]", seeds: range) -> "dict[Cell, list[float]]":
        """Validation accuracies by cell; a failed run counts as 0.

        Raises:
            Interrupted: The search was interrupted; calling it again continues.
            StoreError: The folder cannot be written or is in use.
        """
        from bench.executors.local import LocalExecutor
        from bench.executors.runner import run_plan
        from bench.grid import plan as planning
        from bench.grid.grids import runs_of, unique
        from bench.grid.options import RunOptions
        from bench.machine.environment import command_line
        from bench.store.files import StoreError
        from bench.store.store import Store

        runs = runs_of(unique(cells), seeds, self.base.runs[0].fingerprint)
        step = replace(self.base, runs=runs, notices=[])
        plan = planning.sort_out(step, RunOptions(), self.console.progress)
        self.console.plan(plan)
        outcome = run_plan(
            plan,
            self.console,
            executor=LocalExecutor(
                timeout_s=self.timeout_s,
                prestart=plan.device == "cuda",
                next_worker=self.early.take(plan.device) if self.early and plan.todo else None,
            ),
            command=command_line(),
            fail_fast=False,
        )
        if outcome.interrupted:
            raise Interrupted
        if outcome.problem:
            raise StoreError(outcome.problem)
        records = {record.run_id: record for record in Store(plan.folder).records()}
        scores: dict[Cell, list[float]] = {cell: [] for cell in cells}
        for run in runs:
            scores[run.cell].append(score(records.get(run.id)))
        return scores


def score(record: "Record | None") -> float:
    """Validation accuracy of a run; 0 if it failed."""
    if record is None or record.status != "ok" or record.metrics is None:
        return 0.0
    return record.metrics.validation_accuracy or 0.0


def result_table(found: "Sequence[TuningResult]") -> "Table":
    """Winners and defaults on fresh seeds."""
    from bench.grid.tuning import percent
    from bench.report.columns import Column
    from bench.report.render import Table

    recipes = [recipe for result in found if (recipe := result.winner.recipe) is not None]
    columns = {
        "architecture": (0, [result.winner.architecture for result in found]),
        "optimizer": (0, [result.winner.optimizer for result in found]),
        "default %": (0, [percent(result.default_scores) for result in found]),
        "tuned %": (0, [percent(result.scores) for result in found]),
        "margin": (0, [f"{100 * result.margin:+.1f}" for result in found]),
        "noise": (1, [f"{100 * result.noise:.1f}" for result in found]),
        "verdict": (0, [result.verdict for result in found]),
        "lr": (2, [f"{recipe.lr:g}" for recipe in recipes]),
        "weight decay": (2, [f"{recipe.weight_decay:g}" for recipe in recipes]),
        "batch": (2, [str(result.winner.batch_size) for result in found]),
        "schedule": (2, [recipe.schedule for recipe in recipes]),
        "warm-up": (2, [f"{recipe.warmup:g}" for recipe in recipes]),
        "smoothing": (2, [f"{recipe.label_smoothing:g}" for recipe in recipes]),
    }
    return Table(
        title="Recipes found",
        columns={
            name: Column(header=name, priority=priority) for name, (priority, _) in columns.items()
        },
        cells={name: texts for name, (_, texts) in columns.items()},
        notes=[NOTE],
    )
