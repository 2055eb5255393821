"""What one run leaves for TensorBoard: curves, throughput, memory, hparams, pictures, text."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.record import Point, Record
from bench.store import Store, StoreError

if TYPE_CHECKING:
    import numpy as np

    from bench.tensorboard.events import Events

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
        self._events: Events | None = None
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
            positives_K2T: As in `bench.store.Predictions`, for the precision-recall curves.
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
        from bench.tensorboard.events import Events

        self._events = Events(self._folder)

    def _point(self, point: Point, wall_time: float | None) -> None:
        assert self._events is not None
        self._events.wall_time = wall_time
        self._events.scalars(point_scalars(point), point.images)
        self._events.scalars(by_train_ms(point), round(1000 * point.train_s))
        self._events.flush()

    def _finish(
        self, record: Record, positives_K2T: "np.ndarray | None", wall_time: float | None
    ) -> None:
        from bench.tensorboard import hparams
        from bench.tensorboard.pictures import confusion_png

        assert self._events is not None
        events = self._events
        events.wall_time = wall_time
        for point in record.curve:
            events.scalars(against_ceiling(record, point), point.images)
        images = record.curve[-1].images if record.curve else 0
        events.scalars(final_scalars(record), images)
        for summary in hparams.session(record):
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
    from bench.tensorboard.hparams import seconds

    log = RunLog(folder, on_error=on_error)
    for point in record.curve:
        log.point(point, seconds(record.started) + point.train_s)
    log.finish(record, positives_K2T, seconds(record.finished))


def kept_positives(store: Store, record: Record) -> "np.ndarray | None":
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
    from bench.tensorboard.hparams import outcome

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
