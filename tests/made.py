"""Small, valid records for tests, with the fields that a test sets."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cell import Cell, Run
from bench.record import Failure, Metrics, PerClass, Point, Record, Throughput, Timings
from bench.store.codec import encode
from bench.store.store import Store

ENVIRONMENT = {"cpu": "AMD EPYC", "gpu": None, "torch": "2.11.0", "cores": 2}


def made_cell(**changes: Any) -> Cell:
    """A cell of the cpu scale; `changes` are fields of `Cell`."""
    fields: dict[str, Any] = {
        "architecture": "resnet18", "optimizer": "sgd", "augmentation": "flip_crop",
        "pipeline": "kornia", "source": "shapes", "scale": "cpu", "device": "cpu", "epochs": 4,
        "batch_size": 100, "width": 0.25, "train_images": 1000, "target_accuracy": 0.6,
    }  # fmt: skip
    return Cell(**fields | changes)


def made_run(seed: int = 0, **changes: Any) -> Run:
    versions = {"architecture": 1, "optimizer": 1, "augmentation": 1, "pipeline": 1}
    return Run(cell=made_cell(**changes), seed=seed, versions=versions, fingerprint="f00d")


def made_curve(epochs: int, images: int, accuracy: float) -> tuple[Point, ...]:
    """A curve that rises linearly to `accuracy`, one second per epoch."""
    return tuple(
        Point(
            epoch=epoch,
            images=epoch * images,
            train_s=float(epoch),
            train_loss=2.3 / epoch,
            learning_rate=0.1,
            images_per_s=1000.0,
            step_ms=100.0,
            validation_loss=2.2 / epoch,
            validation_accuracy=accuracy * epoch / epochs,
            validation_macro_f1=accuracy * epoch / epochs,
        )
        for epoch in range(1, epochs + 1)
    )


def made_metrics(accuracy: float, time_to_accuracy_s: float | None) -> Metrics:
    """Scores over two classes."""
    with_compile_s = None if time_to_accuracy_s is None else time_to_accuracy_s + 5.0
    per_class = tuple(
        PerClass(name=name, precision=accuracy, recall=accuracy, f1=accuracy, support=50)
        for name in ("cat", "dog")
    )
    return Metrics(
        accuracy=accuracy, macro_f1=accuracy - 0.01, precision=accuracy, recall=accuracy, loss=1.0,
        per_class=per_class, confusion=((40, 10), (5, 45)), validation_accuracy=accuracy,
        time_to_accuracy_s=time_to_accuracy_s, time_to_accuracy_with_compile_s=with_compile_s,
    )  # fmt: skip


def made_record(
    seed: int = 0,
    *,
    accuracy: float = 0.7,
    time_to_accuracy_s: float | None = 3.0,
    images_per_s: float = 1000.0,
    record: dict[str, Any] | None = None,
    **cell: Any,
) -> Record:
    """A record of a run that ended "ok"; `record` and `cell` set fields of the two."""
    run = made_run(seed, **cell)
    images = run.cell.train_images or 50_000
    made = Record(
        run_id=run.id,
        cell=run.cell,
        seed=seed,
        versions=run.versions,
        fingerprint=run.fingerprint,
        status="ok",
        timings=Timings(train_s=float(run.cell.epochs), total_s=run.cell.epochs + 2.0),
        curve=made_curve(run.cell.epochs, images, accuracy),
        metrics=made_metrics(accuracy, time_to_accuracy_s),
        throughput=Throughput(
            median=images_per_s, p5=images_per_s * 0.9, p95=images_per_s * 1.1, ceiling=2000.0,
            stall_pct=100 * (1 - images_per_s / 2000.0), step_ms=100.0,
        ),
        augmentation_draws={"HorizontalFlip": "per sample"},
        environment=dict(ENVIRONMENT),
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:06+00:00",
    )  # fmt: skip
    return replace(made, **record or {})


def record_of(run: Run, **fields: Any) -> Record:
    """A record of this run, which ended "ok"; `fields` sets fields of the record."""
    ids = {"run_id": run.id, "cell": run.cell, "versions": run.versions}
    return made_record(run.seed, record=ids | {"fingerprint": run.fingerprint} | fields)


def made_failure(seed: int = 0, *, status: str = "crashed", **cell: Any) -> Record:
    """A record of a run that failed: no metrics, no throughput."""
    error = Failure(type="RuntimeError", message="it broke\nin the second line", log="logs/x.log")
    fields = {"status": status, "error": error, "curve": (), "metrics": None, "throughput": None}
    return made_record(seed, record=fields, **cell)


def write_records(folder: Path, records: Iterable[Record]) -> Path:
    """Writes records into a group's folder, faster than the store does."""
    for record in records:
        path = Store(folder).record_path(record.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(record))
    return folder
