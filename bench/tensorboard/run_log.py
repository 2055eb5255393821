"""What one run leaves for TensorBoard: curves, throughput, memory, hparams, pictures, text.

The hparams table: what each run was set to, what came out, and the columns of all of them.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from bench.cell import AXES, HPARAMS, Cell
from bench.record import Point, Record
from bench.store.files import StoreError
from bench.store.store import Store

if TYPE_CHECKING:
    import numpy as np

    from bench.tensorboard.events import EventFile

MOST_CURVES = 20  # classes; with more of them one precision-recall curve stands for all


class RunLog:
    """The event file of one run. A fault in it is reported once and never ends the run.

    Args:
        folder: The run's own folder; event files of an earlier attempt in it are removed.
        on_error: Gets one sentence when TensorBoard cannot be written; nothing more is then tried.
    """

    def __init__(self, folder: Path, *, on_error: Callable[[str], None]) -> None:
        self._folder = Path(folder)
        self._on_error = on_error
        self._events: EventFile | None = None
        self._failed = False
        self._guarded(self._open)

    def point(self, point: Point, wall_time: float | None = None) -> None:
        """Writes the scalars of one epoch; the step is the number of images seen.

        Args:
            point: What to write.
            wall_time: Seconds since 1970 when it was measured; now when left out.
        """
        self._guarded(self._point, point, wall_time)

    def finish(
        self,
        record: Record,
        positives_K2T: "np.ndarray | None" = None,
        wall_time: float | None = None,
    ) -> None:
        """Writes all that is known at the end, and closes the file.

        Args:
            record: Of the run.
            positives_K2T: As in `bench.store.store.Predictions`, for the precision-recall curves.
            wall_time: As in `point`.
        """
        self._guarded(self._finish, record, positives_K2T, wall_time)
        self._guarded(self._close)

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        if self._failed:
            return
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001 - a log that fails must not cost a trained run
            self._failed = True
            self._on_error(
                f"TensorBoard files in {self._folder} are incomplete, the run goes on: "
                f"{type(error).__name__}: {error}"
            )

    def _open(self) -> None:
        from bench.tensorboard.events import EventFile

        self._events = EventFile(self._folder)

    def _point(self, point: Point, wall_time: float | None) -> None:
        assert self._events is not None
        self._events.wall_time = wall_time
        self._events.scalars(point_scalars(point), point.images)
        self._events.scalars(by_train_ms(point), round(1000 * point.train_s))
        self._events.flush()

    def _finish(
        self, record: Record, positives_K2T: "np.ndarray | None", wall_time: float | None
    ) -> None:
        from bench.tensorboard.events import confusion_png

        assert self._events is not None
        events = self._events
        events.wall_time = wall_time
        for point in record.curve:
            events.scalars(against_ceiling(record, point), point.images)
        images = record.curve[-1].images if record.curve else 0
        events.scalars(final_scalars(record), images)
        for summary in session(record):
            events.summary(summary)
        for tag, values in texts(record).items():
            events.table(tag, values)
        if record.metrics is None:
            return
        names = tuple(score.name for score in record.metrics.per_class)
        if record.metrics.confusion:
            events.image("confusion", confusion_png(record.metrics.confusion, names), images)
        if positives_K2T is not None:
            self._pr_curves(record, positives_K2T)

    def _pr_curves(self, record: Record, positives_K2T: "np.ndarray") -> None:
        assert self._events is not None
        assert record.metrics is not None
        scores = record.metrics.per_class
        images = sum(score.support for score in scores)
        if len(scores) > MOST_CURVES:
            decisions = images * len(scores)
            self._events.pr_curve("pr/all classes", positives_K2T.sum(axis=0), images, decisions)
            return
        for score, positives_2T in zip(scores, positives_K2T, strict=True):
            self._events.pr_curve(f"pr/{score.name}", positives_2T, score.support, images)

    def _close(self) -> None:
        assert self._events is not None
        self._events.close()


def write_run(
    folder: Path,
    record: Record,
    positives_K2T: "np.ndarray | None",
    *,
    on_error: Callable[[str], None],
) -> None:
    """Writes a run's event file from its record, at the times at which it ran."""

    log = RunLog(folder, on_error=on_error)
    for point in record.curve:
        log.point(point, seconds(record.started) + point.train_s)
    log.finish(record, positives_K2T, seconds(record.finished))


def load_positives(store: Store, record: Record) -> "np.ndarray | None":
    """What a run that was scored left for its precision-recall curves, if it did."""
    if record.metrics is None:
        return None
    try:
        positives_K2T = store.load_predictions(record.run_id).positives
    except StoreError:
        return None
    fits = positives_K2T is not None and positives_K2T.shape[:2] == (
        len(record.metrics.per_class),
        2,
    )
    return positives_K2T if fits else None


def point_scalars(point: Point) -> dict[str, float | None]:
    """What an epoch gave, over images seen."""
    return {
        "loss/train": point.train_loss,
        "loss/validation": point.validation_loss,
        "accuracy/validation": point.validation_accuracy,
        "f1/validation_macro": point.validation_macro_f1,
        "throughput/images_per_s": point.images_per_s,
        "throughput/step_ms": point.step_ms,
        "time/train_s": point.train_s,
        "learning_rate": point.learning_rate,
    }


def by_train_ms(point: Point) -> dict[str, float | None]:
    """What an epoch gave, over milliseconds of the training clock."""
    return {"accuracy/by_train_ms": point.validation_accuracy}


def against_ceiling(record: Record, point: Point) -> dict[str, float | None]:
    """The ceiling, and what of it an epoch missed; known when the run has ended."""
    ceiling = record.throughput.ceiling if record.throughput else None
    if ceiling is None:
        return {}
    return {
        "throughput/ceiling_images_per_s": ceiling,
        "throughput/epoch_stall_pct": 100.0 * (1.0 - point.images_per_s / ceiling),
    }


def final_scalars(record: Record) -> dict[str, float | None]:
    """Test scores and what the run took."""

    return {
        **outcome(record),
        "memory/host_gib": record.memory.host_gib,
        "memory/torch_gib": record.memory.torch_gib,
        "memory/device_gib": record.memory.device_gib,
        "energy/total_j": record.energy_j,
    }


def tags(record: Record) -> set[str]:
    """Tags of the scalars that a run's event file has."""
    groups = [final_scalars(record)]
    for point in record.curve:
        groups += [point_scalars(point), by_train_ms(point), against_ceiling(record, point)]
    return {tag for group in groups for tag, value in group.items() if value is not None}


def texts(record: Record) -> dict[str, dict[str, object]]:
    """Tables of text by tag."""
    cell = fields(record.cell)
    recipe = cell.pop("recipe")
    cell |= {f"recipe.{name}": value for name, value in (fields(recipe) if recipe else {}).items()}
    found: dict[str, dict[str, object]] = {
        "cell": cell | {"seed": record.seed, "run_id": record.run_id, "status": record.status},
        "environment": record.environment,
        "command": {
            "command": record.command,
            "started": record.started,
            "log": f"logs/{record.run_id}.log",
        },
    }
    if record.error is not None:
        found["error"] = {record.error.type: record.error.message}
    return found


def fields(entry: Any) -> dict[str, object]:
    """A dataclass's fields, by name."""
    return {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)}


Value = str | float | bool
RECIPE = ("lr", "weight_decay", "schedule")
# TensorBoard's parallel coordinates leave out a run that lacks a ticked metric, and the first five
# are ticked unasked: so the one that a run may miss stands last, a name says how many have it, and
# the column `target` shows the others.
METRICS = {
    "test/accuracy": "accuracy",
    "test/macro_f1": "macro F1",
    "throughput/median_images_per_s": "images/s",
    "throughput/stall_pct": "stall (%)",
    "time/total_train_s": "training clock (s)",
    "time/to_accuracy_s": "time to accuracy (s)",
}
TARGETS = ("reached", "not reached", "no result", "not looked for")


def values(cell: Cell) -> dict[str, Value]:
    """What a cell is set to, the axes first; a cell without a recipe has no learning rate."""
    found: dict[str, Value] = {name: getattr(cell, name) for name in HPARAMS}
    if cell.recipe is None:
        return found
    axes = dict(list(found.items())[:4])
    return axes | {name: getattr(cell.recipe, name) for name in RECIPE} | found


def session(record: Record) -> list[Any]:
    """Summaries that make the run a row of the table."""
    settings = values(record.cell) | {"seed": record.seed, "status": record.status}
    settings["target"] = target(record)
    ended = api_pb2.STATUS_SUCCESS if record.status == "ok" else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=ended, end_time_secs=seconds(record.finished))
    return [
        hparams_pb(settings, trial_id=record.run_id, start_time_secs=seconds(record.started)),
        _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end),
    ]


def target(record: Record) -> str:
    """What became of the target: one of `TARGETS`."""
    if record.metrics is None:
        return TARGETS[2]
    if not record.cell.holds_out:
        return TARGETS[3]
    return TARGETS[record.metrics.time_to_accuracy_s is None]


def columns(
    cells: Sequence[Cell],
    seeds: Iterable[int],
    statuses: Iterable[str],
    targets: Iterable[str],
    records: Sequence[Record] = (),
) -> Any:
    """The summary that names all columns and the values that each of them has.

    TensorBoard takes the first such summary for the whole table, and hides a row whose value it
    does not list: so there is one, over all cells.

    Args:
        cells: Of all runs.
        seeds: Of them.
        statuses: That they have or may come to have.
        targets: Likewise, of `TARGETS`.
        records: Of all runs, when none is to come.
    """
    rows = [values(cell) for cell in cells]
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: {row[name] for row in rows if name in row} for name in names}
    found |= {"seed": set(seeds), "status": set(statuses), "target": set(targets)}
    experiment = api_pb2.Experiment(
        hparam_infos=[_column(name, found[name]) for name in found],
        metric_infos=[
            api_pb2.MetricInfo(
                name=api_pb2.MetricName(tag=tag), display_name=shown + _having(tag, records)
            )
            for tag, shown in METRICS.items()
        ],
    )
    return _summary(metadata.EXPERIMENT_TAG, experiment=experiment)


def _having(tag: str, records: Sequence[Record]) -> str:
    """How many runs have a metric, where some lack it."""
    number = sum(tag in outcome(record) for record in records)
    return "" if number == len(records) else f", {number} of {len(records)} runs"


def outcome(record: Record) -> dict[str, float]:
    """What the table compares runs by; a figure that the run lacks is left out."""
    metrics, throughput = record.metrics, record.throughput
    figures = {
        "test/accuracy": metrics.accuracy if metrics else None,
        "test/macro_f1": metrics.macro_f1 if metrics else None,
        "time/to_accuracy_s": metrics.time_to_accuracy_s if metrics else None,
        "time/total_train_s": record.timings.train_s,
        "throughput/median_images_per_s": throughput.median if throughput else None,
        "throughput/stall_pct": throughput.stall_pct if throughput else None,
    }
    return {tag: value for tag, value in figures.items() if value is not None}


def seconds(time: str) -> float:
    """A record's time as seconds since 1970; 0 when it has none."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _column(name: str, found: set[Any]) -> Any:
    # TensorBoard sorts by `differs` and name, and shows five columns unasked: of these
    info = api_pb2.HParamInfo(name=name, differs=len(found) > 1 and name in (*AXES, "lr", "target"))
    ordered = sorted(found)
    if all(isinstance(value, bool) for value in ordered):
        info.type = api_pb2.DATA_TYPE_BOOL
        info.domain_discrete.extend(ordered)
    elif all(isinstance(value, str) for value in ordered):
        info.type = api_pb2.DATA_TYPE_STRING
        info.domain_discrete.extend(ordered)
    else:
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value, info.domain_interval.max_value = ordered[0], ordered[-1]
    return info


def _summary(tag: str, **content: Mapping[str, Any]) -> Any:
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    value = Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])
