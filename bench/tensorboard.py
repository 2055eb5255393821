"""TensorBoard event files of a run: curves, throughput, hparams, all in one run folder.

Hparams are written as summaries into the run's own file. `SummaryWriter.add_hparams` would make a
second run for them, and `add_scalars` one for every curve, which makes a large grid unusable.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.record import Point, Record

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LAYOUT = {
    "Throughput": {
        "images/s": ["Multiline", ["throughput/images_per_s"]],
        "step (ms)": ["Multiline", ["throughput/step_ms"]],
    },
    "Time to accuracy": {
        "validation accuracy by training clock (ms)": ["Multiline", ["accuracy/by_train_ms"]],
        "training clock (s)": ["Multiline", ["time/train_s"]],
    },
}
HPARAMS = (
    "architecture", "optimizer", "augmentation", "pipeline", "source", "scale", "device", "epochs",
    "batch_size", "width", "precision", "compile", "target_accuracy", "protocol",
)  # fmt: skip


class RunLog:
    """The event file of one run. A fault in it is reported once and never ends the run.

    Args:
        folder: The run's own folder; event files of an earlier attempt in it are removed.
        on_error: Gets one sentence when TensorBoard cannot be written; nothing more is then tried.
    """

    def __init__(self, folder: Path, *, on_error: Callable[[str], None]) -> None:
        self._folder = Path(folder)
        self._on_error = on_error
        self._writer: SummaryWriter | None = None
        self._failed = False
        self._guarded(self._open)

    def point(self, point: Point) -> None:
        """Writes the scalars of one epoch; the step is the number of images seen."""
        self._guarded(self._point, point)

    def finish(self, record: Record) -> None:
        """Writes test scores, hparams, cell and environment, and closes the file."""
        self._guarded(self._finish, record)
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
        from torch.utils.tensorboard import SummaryWriter

        for earlier in self._folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        self._writer = SummaryWriter(log_dir=str(self._folder))
        self._writer.add_custom_scalars(LAYOUT)

    def _scalars(self, values: dict[str, float | None], step: int) -> None:
        assert self._writer is not None
        for tag, value in values.items():
            if value is not None:
                self._writer.add_scalar(tag, value, step)

    def _point(self, point: Point) -> None:
        assert self._writer is not None
        values = {
            "loss/train": point.train_loss,
            "loss/validation": point.validation_loss,
            "accuracy/validation": point.validation_accuracy,
            "f1/validation_macro": point.validation_macro_f1,
            "throughput/images_per_s": point.images_per_s,
            "throughput/step_ms": point.step_ms,
            "time/train_s": point.train_s,
            "learning_rate": point.learning_rate,
        }
        self._scalars(values, point.images)
        clock_ms = round(1000 * point.train_s)
        self._scalars({"accuracy/by_train_ms": point.validation_accuracy}, clock_ms)
        self._writer.flush()

    def _finish(self, record: Record) -> None:
        assert self._writer is not None
        from torch.utils.tensorboard.summary import hparams

        metrics = outcome(record)
        self._scalars(dict(metrics), record.curve[-1].images if record.curve else 0)
        values = {name: getattr(record.cell, name) for name in HPARAMS}
        values |= {"seed": record.seed, "status": record.status}
        file = self._writer._get_file_writer()  # type: ignore[no-untyped-call]
        for summary in hparams(values, metrics):  # type: ignore[no-untyped-call]
            file.add_summary(summary)
        cell = {name: getattr(record.cell, name) for name in record.cell.__dataclass_fields__}
        self._text("cell", cell | {"seed": record.seed, "run_id": record.run_id})
        self._text("environment", record.environment)
        if record.error is not None:
            self._text("error", {record.error.type: record.error.message})

    def _text(self, tag: str, values: dict[str, Any]) -> None:
        assert self._writer is not None
        lines = [f"| {name} | {_escaped(value)} |" for name, value in values.items()]
        table = "\n".join(["| field | value |", "| --- | --- |", *lines])
        self._writer.add_text(tag, table)

    def _close(self) -> None:
        assert self._writer is not None
        self._writer.close()


def write_loaders(
    folder: Path, images_per_s: Mapping[int, float], *, on_error: Callable[[str], None]
) -> None:
    """Writes what a pipeline alone delivers, the step being the batch size.

    Args:
        folder: The pipeline's own; event files of an earlier call in it are removed.
        images_per_s: Batch size to images a second.
        on_error: Gets one sentence when TensorBoard cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter

        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        with SummaryWriter(log_dir=str(folder)) as writer:
            for batch_size, rate in sorted(images_per_s.items()):
                writer.add_scalar("loaders/images_per_s", rate, batch_size)
    except Exception as error:  # noqa: BLE001 - a log that fails must not cost what was measured
        on_error(f"TensorBoard files in {folder} are incomplete: {type(error).__name__}: {error}")


def outcome(record: Record) -> dict[str, float]:
    """What the hparams view compares runs by; a figure that the run lacks is left out."""
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


def _escaped(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
