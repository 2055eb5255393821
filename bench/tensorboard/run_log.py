"""The event file of one run: curves, throughput, memory, pictures, text, and its row of hparams."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
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
from bench.tensorboard.events import EventFile, confusion_png
from bench.text import Log

if TYPE_CHECKING:
    import numpy as np

MAX_CLASS_CURVES = 20  # more classes share one precision-recall curve
HparamValue = str | float | bool
RECIPE_HPARAMS = ("lr", "weight_decay", "schedule")
# TensorBoard selects the first five metrics, and its parallel coordinates omit runs without one of
# them. So the metric that a run may lack comes last, and its title says how many runs have it.
METRICS = {
    "test/accuracy": "accuracy",
    "test/macro_f1": "macro F1",
    "throughput/median_images_per_s": "images/s",
    "throughput/stall_pct": "stall (%)",
    "time/total_train_s": "training clock (s)",
    "time/to_accuracy_s": "time to accuracy (s)",
}
TARGETS = ("reached", "not reached", "no result", "not looked for")


class RunLog:
    """The event file of one run; an error in it never ends the run.

    Args:
        on_error: Called with a sentence at the first error; nothing more is written after it.
    """

    def __init__(self, folder: Path, *, on_error: Log) -> None:
        self._folder = folder
        self._on_error = on_error
        self._events: EventFile | None = None
        with self._errors_reported():
            self._events = EventFile(folder)

    def point(self, point: Point, wall_time: float | None = None) -> None:
        """Writes the scalars of one epoch; the step is the number of images seen."""
        if (events := self._events) is None:
            return
        with self._errors_reported():
            events.wall_time = wall_time
            events.scalars(point_scalars(point), point.images)
            events.scalars(scalars_by_train_ms(point), round(1000 * point.train_s))
            events.flush()

    def finish(
        self,
        record: Record,
        positives_K2T: "np.ndarray | None" = None,
        wall_time: float | None = None,
    ) -> None:
        """Writes the final values and closes the file.

        Args:
            positives_K2T: For precision-recall curves; see `bench.store.predictions`.
        """
        if (events := self._events) is None:
            return
        with self._errors_reported():
            events.wall_time = wall_time
            _write_end(events, record, positives_K2T)
            events.close()

    @contextmanager
    def _errors_reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a failed log must not end a run
            self._events = None
            self._on_error(
                f"TensorBoard files in {self._folder} are incomplete, the run continues: "
                f"{type(error).__name__}: {error}"
            )


def _write_end(events: EventFile, record: Record, positives_K2T: "np.ndarray | None") -> None:
    for point in record.curve:
        events.scalars(ceiling_scalars(record, point), point.images)
    images = record.curve[-1].images if record.curve else 0
    events.scalars(final_scalars(record), images)
    for summary in hparams_session(record):
        events.summary(summary)
    for tag, values in text_tables(record).items():
        events.table(tag, values)
    if record.metrics is None:
        return
    scores = record.metrics.per_class
    if record.metrics.confusion:
        names = [score.name for score in scores]
        events.image("confusion", confusion_png(record.metrics.confusion, names), images)
    if positives_K2T is None:
        return
    test_images = sum(score.support for score in scores)
    if len(scores) > MAX_CLASS_CURVES:
        decisions = test_images * len(scores)
        events.pr_curve("pr/all classes", positives_K2T.sum(axis=0), test_images, decisions)
        return
    for score, positives_2T in zip(scores, positives_K2T, strict=True):
        events.pr_curve(f"pr/{score.name}", positives_2T, score.support, test_images)


def write_run(
    folder: Path, record: Record, positives_K2T: "np.ndarray | None", *, on_error: Log
) -> None:
    """Writes a run's event file from its record, with the original times."""
    log = RunLog(folder, on_error=on_error)
    for point in record.curve:
        log.point(point, _seconds(record.started) + point.train_s)
    log.finish(record, positives_K2T, _seconds(record.finished))


def load_positives(store: Store, record: Record) -> "np.ndarray | None":
    """A run's data for precision-recall curves, (classes, 2, thresholds), if it has any."""
    if record.metrics is None:
        return None
    try:
        positives_K2T = store.load_predictions(record.run_id).positives
    except StoreError:
        return None
    expected = (len(record.metrics.per_class), 2)
    return positives_K2T if getattr(positives_K2T, "shape", ())[:2] == expected else None


def point_scalars(point: Point) -> dict[str, float | None]:
    """Scalars of an epoch over images seen."""
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


def scalars_by_train_ms(point: Point) -> dict[str, float | None]:
    """Scalars of an epoch over milliseconds of the training clock."""
    return {"accuracy/by_train_ms": point.validation_accuracy}


def ceiling_scalars(record: Record, point: Point) -> dict[str, float | None]:
    """The ceiling and an epoch's stall, known when the run has ended."""
    ceiling = record.throughput.ceiling if record.throughput else None
    if ceiling is None:
        return {}
    return {
        "throughput/ceiling_images_per_s": ceiling,
        "throughput/epoch_stall_pct": 100.0 * (1.0 - point.images_per_s / ceiling),
    }


def final_scalars(record: Record) -> dict[str, float | None]:
    """Test scores, times, memory and energy."""
    return {
        **compared_metrics(record),
        "memory/host_gib": record.memory.host_gib,
        "memory/torch_gib": record.memory.torch_gib,
        "memory/device_gib": record.memory.device_gib,
        "energy/total_j": record.energy_j,
    }


def scalar_tags(record: Record) -> set[str]:
    """Tags of the scalars in a run's event file."""
    groups = [final_scalars(record)]
    for point in record.curve:
        groups += [point_scalars(point), scalars_by_train_ms(point), ceiling_scalars(record, point)]
    return {tag for group in groups for tag, value in group.items() if value is not None}


def text_tables(record: Record) -> dict[str, dict[str, object]]:
    """Tables of text by tag."""
    cell = asdict(record.cell)
    recipe = cell.pop("recipe") or {}
    cell |= {f"recipe.{name}": value for name, value in recipe.items()}
    tables: dict[str, dict[str, object]] = {
        "cell": cell | {"seed": record.seed, "run_id": record.run_id, "status": record.status},
        "environment": record.environment,
        "command": {
            "command": record.command,
            "started": record.started,
            "log": f"logs/{record.run_id}.log",
        },
    }
    if record.error is not None:
        tables["error"] = {record.error.type: record.error.message}
    return tables


def hparams(cell: Cell) -> dict[str, HparamValue]:
    """The hyperparameters of a cell: its axes, settings of its recipe, and its other fields."""
    axes: dict[str, HparamValue] = {name: getattr(cell, name) for name in AXES}
    recipe = {name: getattr(cell.recipe, name) for name in RECIPE_HPARAMS} if cell.recipe else {}
    return axes | recipe | {name: getattr(cell, name) for name in HPARAMS}


def hparams_session(record: Record) -> list[Any]:
    """Summaries that make the run a row of the hparams table."""
    values = hparams(record.cell) | {"seed": record.seed, "status": record.status}
    values["target"] = target_state(record)
    status = api_pb2.STATUS_SUCCESS if record.status == "ok" else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=_seconds(record.finished))
    return [
        hparams_pb(values, trial_id=record.run_id, start_time_secs=_seconds(record.started)),
        _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end),
    ]


def target_state(record: Record) -> str:
    """Whether the run reached its target: one of `TARGETS`."""
    if record.metrics is None:
        return "no result"
    if not record.seeks_target:
        return "not looked for"
    return "not reached" if record.metrics.time_to_accuracy_s is None else "reached"


def hparams_columns(
    cells: Sequence[Cell],
    seeds: Iterable[int],
    statuses: Iterable[str],
    targets: Iterable[str],
    records: Sequence[Record] = (),
) -> Any:
    """The columns of the hparams table, with all values that occur in them.

    TensorBoard uses the first such summary for the whole table and hides rows with other values, so
    it covers all cells. `records` is empty while runs are still to come.
    """
    rows = [hparams(cell) for cell in cells]
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: {row[name] for row in rows if name in row} for name in names}
    values |= {"seed": set(seeds), "status": set(statuses), "target": set(targets)}
    experiment = api_pb2.Experiment(
        hparam_infos=[_column(name, values[name]) for name in values],
        metric_infos=[
            api_pb2.MetricInfo(
                name=api_pb2.MetricName(tag=tag), display_name=title + _coverage(tag, records)
            )
            for tag, title in METRICS.items()
        ],
    )
    return _summary(metadata.EXPERIMENT_TAG, experiment=experiment)


def _coverage(tag: str, records: Sequence[Record]) -> str:
    """How many runs have a metric; "" if all have."""
    number = sum(tag in compared_metrics(record) for record in records)
    return "" if number == len(records) else f", {number} of {len(records)} runs"


def compared_metrics(record: Record) -> dict[str, float]:
    """The metrics of the hparams table that the run has."""
    metrics, throughput = record.metrics, record.throughput
    values = {
        "test/accuracy": metrics.accuracy if metrics else None,
        "test/macro_f1": metrics.macro_f1 if metrics else None,
        "time/to_accuracy_s": metrics.time_to_accuracy_s if metrics else None,
        "time/total_train_s": record.timings.train_s,
        "throughput/median_images_per_s": throughput.median if throughput else None,
        "throughput/stall_pct": throughput.stall_pct if throughput else None,
    }
    return {tag: value for tag, value in values.items() if value is not None}


def _seconds(time: str) -> float:
    """A record's time as seconds since 1970; 0 without one."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _column(name: str, values: set[Any]) -> Any:
    # TensorBoard sorts columns by `differs` and name, and shows the first five.
    differs = len(values) > 1 and name in (*AXES, "lr", "target")
    info = api_pb2.HParamInfo(name=name, differs=differs)
    types = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    info.type = types.get(type(next(iter(values))), api_pb2.DATA_TYPE_FLOAT64)
    if info.type == api_pb2.DATA_TYPE_FLOAT64:
        info.domain_interval.min_value, info.domain_interval.max_value = min(values), max(values)
    else:
        info.domain_discrete.extend(sorted(values))
    return info


def _summary(tag: str, **content: Mapping[str, Any]) -> Any:
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    value = Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])
