"""What the runs of a group share in TensorBoard: the view's layout, hparams columns, seeds."""

import shutil
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.cell import Cell, Run
from bench.examples import kept_examples
from bench.files import slug
from bench.record import Point, Record
from bench.store import Store
from bench.tensorboard.run_log import tags

MATRIX, EXAMPLES, SEEDS = "matrix", "examples", "seeds"
STATUSES = ("ok", "diverged", "oom", "timeout", "crashed")  # of runs that have event files


def write_overview(
    store: Store,
    records: Sequence[Record],
    planned: Sequence[Run] = (),
    *,
    on_error: Callable[[str], None],
) -> None:
    """Writes what a group's runs share; called before a grid starts and when it has ended.

    Args:
        store: Of the group.
        records: All that it has.
        planned: Runs that are to come, whose settings the hparams table must know.
        on_error: Gets one sentence when TensorBoard cannot be written.
    """
    folder = store.tensorboard_folder()
    try:
        write_matrix_run(folder / MATRIX, records, planned)
        write_examples(folder / EXAMPLES, kept_examples(store))
        write_seeds(folder / SEEDS, records)
    except Exception as error:  # noqa: BLE001 - a view that fails must not cost a grid
        on_error(f"TensorBoard's overview in {folder} is not up to date: {error}")


def write_matrix_run(folder: Path, records: Sequence[Record], planned: Sequence[Run] = ()) -> None:
    """Writes the layout of the throughput view and the columns of the hparams table."""
    from bench.tensorboard import hparams
    from bench.tensorboard.events import Events
    from bench.tensorboard.layout import layout

    cells = [record.cell for record in records] + [run.cell for run in planned]
    if not cells:
        return
    seeds = {record.seed for record in records} | {run.seed for run in planned}
    statuses = {record.status for record in records} | set(STATUSES if planned else ())
    found: set[str] = set().union(*map(tags, records)) if not planned else set()
    with Events(folder) as events:
        events.summary(layout(found, seeds=bool(seeded(records)) or len(seeds) > 1))
        targets = set(hparams.TARGETS if planned else map(hparams.target, records))
        ended = () if planned else records
        events.summary(hparams.columns(cells, seeds, statuses, targets, ended))


def write_examples(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Writes strips of augmented images (PNG) as blocks, one card a policy and pipeline."""
    from bench.tensorboard.events import Events
    from bench.tensorboard.pictures import tiled_png

    if not pictures:
        return
    with Events(folder) as events:
        for name, png in pictures.items():
            events.image(f"examples/{name}", tiled_png(png))


def write_seeds(folder: Path, records: Iterable[Record]) -> None:
    """Writes one run for each cell that has several seeds: mean, lowest and highest of them."""
    from bench.tensorboard.events import Events

    if folder.is_dir():  # a cell that lost a seed, or has another recipe now
        shutil.rmtree(folder)
    for name, runs in seeded(records).items():
        with Events(folder / name) as events:
            for points in zip(*(run.curve for run in runs), strict=True):
                for step, values in bands(points):
                    events.scalars(values, step)


def seeded(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Name of a folder to the runs of a cell, for cells with several seeds that ended well."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and record.curve:
            found[seeds_name(record)].append(record)
    return {name: runs for name, runs in found.items() if len(runs) > 1}


def seeds_name(record: Record) -> str:
    """The folder of a cell's seeds: the name to read, an id to tell budgets apart."""
    cell: Cell = record.cell.identity
    first = Run(cell=cell, seed=0, versions=record.versions, fingerprint=record.fingerprint)
    return f"{slug(cell.name, keep='_')}_{first.id[:8]}"


def bands(points: Sequence[Point]) -> list[tuple[int, dict[str, float]]]:
    """Steps and scalars of one epoch of all seeds."""
    from bench.tensorboard.layout import SEEDS as charts

    clock_ms = round(1000 * statistics.fmean(point.train_s for point in points))
    found = []
    for tag, field in charts.values():
        values = [value for point in points if (value := getattr(point, field)) is not None]
        if len(values) < len(points):  # a protocol without validation
            continue
        step = clock_ms if tag.endswith("_by_train_ms") else points[0].images
        band = {"mean": statistics.fmean(values), "lowest": min(values), "highest": max(values)}
        found.append((step, {f"{tag}/{name}": value for name, value in band.items()}))
    return found
