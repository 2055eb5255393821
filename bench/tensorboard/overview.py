"""TensorBoard files that a group's runs share: layout, hparams columns, seeds, loaders."""

import shutil
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.util.tensor_util import make_tensor_proto

from bench.cell import Cell, Run
from bench.record import FAILED, Point, Record
from bench.store.artifacts import kept_examples
from bench.store.files import slug
from bench.store.store import Store
from bench.tensorboard.events import EventFile, tiled_png
from bench.tensorboard.run_log import TARGETS, hparams_columns, scalar_tags, target_state
from bench.text import Log

MATRIX, EXAMPLES, SEEDS = "matrix", "examples", "seeds"
STATUSES = ("ok", *FAILED)  # statuses with event files

# Charts of the throughput view: category, then title to tag. No tag may begin with another one,
# because TensorBoard treats them as prefixes.
CHARTS = {
    "Throughput": {
        "images/s, data included": "throughput/images_per_s",
        "step (ms)": "throughput/step_ms",
        "ceiling: one cached batch (images/s)": "throughput/ceiling_images_per_s",
        "stall: time lost against the ceiling (%)": "throughput/epoch_stall_pct",
    },
    "Time to accuracy": {
        "validation accuracy over the training clock (ms)": "accuracy/by_train_ms",
        "time to accuracy (s), over images seen": "time/to_accuracy_s",
        "training clock (s), over images seen": "time/train_s",
    },
    "Memory and power": {
        "peak of the process (GiB)": "memory/host_gib",
        "peak of torch on the device (GiB)": "memory/torch_gib",
        "peak of the device (GiB)": "memory/device_gib",
        "energy (J)": "energy/total_j",
    },
}
# Title to the common tag of mean, lowest and highest, and the field of `Point`.
SEEDS_CHARTS = {
    "validation accuracy over images seen": ("seeds/accuracy", "validation_accuracy"),
    "validation accuracy over the mean training clock (ms)": (
        "seeds/accuracy_by_train_ms",
        "validation_accuracy",
    ),
    "validation loss over images seen": ("seeds/validation_loss", "validation_loss"),
    "images/s over images seen": ("seeds/images_per_s", "images_per_s"),
}


def write_overview(
    store: Store, records: Sequence[Record], planned: Sequence[Run] = (), *, on_error: Log
) -> None:
    """Writes the files that a group's runs share, before and after a grid.

    Args:
        planned: Runs that are not yet trained.
    """
    folder = store.tensorboard_folder()
    try:
        write_matrix_run(folder / MATRIX, records, planned)
        write_examples(folder / EXAMPLES, kept_examples(store))
        write_seeds(folder / SEEDS, records)
    except Exception as error:  # noqa: BLE001 - a failed view must not end a grid
        on_error(f"TensorBoard's overview in {folder} is out of date: {error}")


def write_matrix_run(folder: Path, records: Sequence[Record], planned: Sequence[Run] = ()) -> None:
    """Writes the layout of the throughput view and the columns of the hparams table."""
    cells = [record.cell for record in records] + [run.cell for run in planned]
    if not cells:
        return
    seeds = {record.seed for record in records} | {run.seed for run in planned}
    has_seeds = bool(runs_by_cell(records)) or len(seeds) > 1
    statuses = {record.status for record in records}
    with EventFile(folder) as events:
        if planned:
            events.summary(custom_scalars_layout((), seeds=has_seeds))
            events.summary(hparams_columns(cells, seeds, statuses | set(STATUSES), TARGETS))
        else:
            tags: set[str] = set().union(*map(scalar_tags, records))
            targets = set(map(target_state, records))
            events.summary(custom_scalars_layout(tags, seeds=has_seeds))
            events.summary(hparams_columns(cells, seeds, statuses, targets, records))


def write_examples(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Writes strips of augmented images (PNG), one card per policy and pipeline."""
    if not pictures:
        return
    with EventFile(folder) as events:
        for name, png in pictures.items():
            events.image(f"examples/{name}", tiled_png(png))


def write_seeds(folder: Path, records: Iterable[Record]) -> None:
    """Writes mean, lowest and highest over the (trusted) seeds of each cell that has several."""
    if folder.is_dir():  # its cells may have changed
        shutil.rmtree(folder)
    for name, runs in runs_by_cell(records).items():
        with EventFile(folder / name) as events:
            for points in zip(*(run.curve for run in runs), strict=True):
                trusted = [one for one, run in zip(points, runs, strict=True) if run.times_trusted]
                for step, values in seed_scalars(points, trusted):
                    events.scalars(values, step)


def runs_by_cell(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Runs by folder name, for cells with several successful seeds."""
    runs: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and record.curve:
            runs[seeds_name(record)].append(record)
    return {name: of_cell for name, of_cell in runs.items() if len(of_cell) > 1}


def seeds_name(record: Record) -> str:
    """The folder name of a cell's seeds, with an id that distinguishes budgets."""
    cell: Cell = record.cell.identity
    first = Run(cell=cell, seed=0, versions=record.versions, fingerprint=record.fingerprint)
    return f"{slug(cell.name, keep='_')}_{first.id[:8]}"


def seed_scalars(
    points: Sequence[Point], trusted: Sequence[Point]
) -> list[tuple[int, dict[str, float]]]:
    """Steps and scalars of one epoch over all seeds; `trusted` are those with trusted times."""
    scalars = []
    for tag, field in SEEDS_CHARTS.values():
        by_clock = tag.endswith("_by_train_ms")
        used = trusted if by_clock or field == "images_per_s" else points
        values = [value for point in used if (value := getattr(point, field)) is not None]
        if not values or len(values) < len(used):  # a protocol without validation
            continue
        clock_s = statistics.fmean(point.train_s for point in used)
        step = round(1000 * clock_s) if by_clock else points[0].images
        band = {"mean": statistics.fmean(values), "lowest": min(values), "highest": max(values)}
        scalars.append((step, {f"{tag}/{name}": value for name, value in band.items()}))
    return scalars


def custom_scalars_layout(tags: Collection[str], *, seeds: bool) -> Any:
    """The layout of the throughput view.

    Args:
        tags: Tags of the runs; charts of other tags are left out. Empty for all charts.
    """
    categories = []
    for category, charts in CHARTS.items():
        shown = {title: tag for title, tag in charts.items() if not tags or tag in tags}
        if shown:
            lines = [_lines(title, tag) for title, tag in shown.items()]
            categories.append(layout_pb2.Category(title=category, chart=lines))
    if seeds:
        # TensorBoard shows charts with a band in reverse order.
        bands = [_band(title, tag) for title, (tag, _) in reversed(SEEDS_CHARTS.items())]
        categories.insert(2, layout_pb2.Category(title="Seeds", chart=bands))
    content = layout_pb2.Layout(category=categories).SerializeToString()
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=make_tensor_proto(content, dtype=np.object_),
    )
    return Summary(value=[value])


def _lines(title: str, tag: str) -> Any:
    return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[tag]))


def _band(title: str, tag: str) -> Any:
    series = layout_pb2.MarginChartContent.Series(
        value=f"{tag}/mean", lower=f"{tag}/lowest", upper=f"{tag}/highest"
    )
    return layout_pb2.Chart(
        title=f"{title}: mean, lowest, highest",
        margin=layout_pb2.MarginChartContent(series=[series]),
    )


def write_loaders(
    store: Store, images_per_s: Mapping[str, Mapping[int, float]], *, on_error: Log
) -> None:
    """Writes each pipeline's throughput by batch size, which is the step."""
    for pipeline, points in images_per_s.items():
        folder = store.loaders_tensorboard_path(pipeline)
        try:
            with EventFile(folder) as events:
                for batch_size, rate in sorted(points.items()):
                    events.scalars({"loaders/images_per_s": rate}, batch_size)
        except Exception as error:  # noqa: BLE001 - the measurements are kept
            problem = f"{type(error).__name__}: {error}"
            on_error(f"TensorBoard files in {folder} are incomplete: {problem}")
