"""A record: what one run left behind, as one JSON file.

Tables, figures and pages are derived from records and can be rebuilt at any time. The types of the
fields say in which range a value lies; msgspec checks that whenever a record is read. This module
imports no torch: every reader of records uses it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta

from bench.cell import Cell, Run, Version

SCHEMA_VERSION = 1

ROUNDING = 1e-3  # by which a share computed in 32 bits may leave 0 to 1
LARGEST = 1e15  # seconds, images, bytes: no run comes near
LARGEST_STALL_PCT = 1e9  # below 0 too: a run may measure faster than its ceiling

Share = Annotated[float, Meta(ge=-ROUNDING, le=1 + ROUNDING)]
Amount = Annotated[float, Meta(ge=0.0, le=LARGEST)]
Positive = Annotated[float, Meta(gt=0.0, le=LARGEST)]
Count = Annotated[int, Meta(ge=0, le=int(LARGEST))]
Number = Annotated[int, Meta(ge=1, le=int(LARGEST))]
StallPct = Annotated[float, Meta(ge=-LARGEST_STALL_PCT, le=LARGEST_STALL_PCT)]

Status = Literal["ok", "diverged", "oom", "timeout", "crashed", "interrupted", "skipped"]
RERUN = ("interrupted", "skipped")  # statuses of runs that the next `bench run` tries again
Reads = Literal["array", "files"]  # what a pipeline reads in each epoch
Compiled = Literal["", "anew", "from cache", "partly from cache"]

# `RecordSummary.stepping`: the first alone, or the second with a reason, such as the third.
GRAPH = "one CUDA graph"
LAUNCHED = "launched one operation at a time: "
CAPTURE_FAILED = "a CUDA graph of it failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a run did not end well.

    Args:
        type: Name of the exception, or of what happened to the worker.
        message: What it said.
        traceback: Of the exception, if there was one.
        log: The log file, relative to the group's folder.
    """

    type: str
    message: str
    traceback: str = ""
    log: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Seconds, all on the monotonic clock.

    Runs that share a worker process pay `import_s`, `first_batch_s` and `compile_s` once; each of
    them records the cost that was paid, so that their values can be compared.

    Args:
        import_s: Importing torch and the libraries.
        load_s: Reading the source and splitting it.
        build_s: Building net and pipeline, and starting the compiler where a run is a worker's
            first to need it.
        first_batch_s: From the built pipeline to its first batch: worker start, kernel compilation.
        compile_s: First training step and first evaluation batch, above what warm ones take.
        capture_s: Capturing the steps as CUDA graphs; 0 where they are launched.
        warmup_s: All steps on random labels outside the training clock, those of the ceiling and
            of graph capture included.
        train_s: The training clock: data, forward, backward, update. Wall time.
        train_device_s: The same span by CUDA events on the training stream; None on a CPU.
        fit_s: Fitting on data before the first step (whitening); part of `train_s`.
        evaluate_s: All evaluations, outside the training clock.
        total_s: From taking the run to its record, without the start of the worker.
    """

    import_s: Amount = 0.0
    load_s: Amount = 0.0
    build_s: Amount = 0.0
    first_batch_s: Amount = 0.0
    compile_s: Amount = 0.0
    capture_s: Amount = 0.0
    warmup_s: Amount = 0.0
    train_s: Amount = 0.0
    train_device_s: Amount | None = None
    fit_s: Amount = 0.0
    evaluate_s: Amount = 0.0
    total_s: Amount = 0.0

    @property
    def once_s(self) -> float:
        """What a time to accuracy with compilation has in addition to the training clock."""
        return self.first_batch_s + self.compile_s + self.capture_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One point of the curve, at the end of an epoch.

    Args:
        epoch: Counts from 1.
        images: Training images seen so far.
        train_s: Seconds on the training clock so far.
        train_loss: Mean over the epoch; None if it is not finite.
        learning_rate: Highest of the parameter groups, after the last step.
        images_per_s: Training throughput of the epoch.
        step_ms: Mean milliseconds a step.
        validation_loss: None where nothing is held out, or if it is not finite.
        validation_accuracy: Share of validation images.
        validation_macro_f1: Mean F1 score of the classes.
    """

    epoch: Number
    images: Count
    train_s: Amount
    train_loss: float | None
    learning_rate: float
    images_per_s: Amount
    step_ms: Amount
    validation_loss: float | None = None
    validation_accuracy: Share | None = None
    validation_macro_f1: Share | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PerClass:
    """Scores of one class on the test set; `support` is its number of images."""

    name: str
    precision: Share
    recall: Share
    f1: Share
    support: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Scores on the test set after the last step, and the time to accuracy on validation.

    Args:
        accuracy: Share of test images.
        macro_f1: Mean F1 score of the classes; `precision` and `recall` are means too.
        loss: Mean cross-entropy; None if it is not finite.
        confusion: Numbers of images; rows are true classes, columns predictions.
        eval_views: Views of each test image whose predictions were averaged.
        one_view_accuracy: Accuracy on the images as they are, whatever else was averaged.
        validation_accuracy: At the end of the last epoch; None where nothing is held out.
        time_to_accuracy_s: Seconds on the training clock until validation accuracy first reached
            the target; None if it did not.
        time_to_accuracy_with_compile_s: The same plus `Timings.once_s`.

    Raises:
        ValueError: The confusion matrix does not fit the classes.
    """

    accuracy: Share
    macro_f1: Share
    precision: Share
    recall: Share
    loss: float | None
    per_class: tuple[PerClass, ...]
    confusion: tuple[tuple[Count, ...], ...]
    eval_views: int = 1
    one_view_accuracy: Share | None = None
    validation_accuracy: Share | None = None
    time_to_accuracy_s: Amount | None = None
    time_to_accuracy_with_compile_s: Amount | None = None

    def __post_init__(self) -> None:
        classes = len(self.per_class)
        if len(self.confusion) != classes or {len(row) for row in self.confusion} != {classes}:
            raise ValueError(f"the confusion matrix is not {classes} x {classes}, as its classes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """Training throughput, in images/s unless a name says otherwise.

    Args:
        median: Over the epochs, data included; `p5` and `p95` are percentiles over the epochs.
        ceiling: Of the same net and optimizer fed one cached batch.
        stall_pct: 100 * (1 - median / ceiling): share of training time spent waiting for data.
        step_ms: Median milliseconds a step.
    """

    median: Amount
    p5: Amount
    p95: Amount
    ceiling: Positive | None = None
    stall_pct: StallPct | None = None
    step_ms: Amount | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Peaks in GiB; None where they are not known, as the last two on a CPU.

    Args:
        host_gib: Resident set of the worker process.
        torch_gib: Allocated by torch on the GPU.
        device_gib: Used on the GPU, as the driver reports it.
    """

    host_gib: Amount | None = None
    torch_gib: Amount | None = None
    device_gib: Amount | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What the machine did while the training clock ran; None for what it does not tell.

    Args:
        power_w: Mean power of the GPU.
        sm_mhz: Median clock rate of the GPU's multiprocessors.
        temperature_c: Highest temperature of the GPU.
        hot_s: Seconds for which heat slowed the GPU down.
        slowed: Why the GPU's clock rate was low, where no run asked for it.
        gpu_others: Largest number of other processes on the GPU at once.
        cpu_others_pct: Share of the usable cores that processes outside the run used.
        cpu_idle_pct: Share of the usable cores that was idle.
        cpu_stolen_pct: Share of the usable cores that a virtual machine's host gave to others.
        cpu_waited_pct: Share of the process's runnable time in which it had no core.
        neighbours: Other runs of this suite on the host.
    """

    power_w: float | None = None
    sm_mhz: float | None = None
    temperature_c: float | None = None
    hot_s: float | None = None
    slowed: tuple[str, ...] = ()
    gpu_others: int | None = None
    cpu_others_pct: float | None = None
    cpu_idle_pct: float | None = None
    cpu_stolen_pct: float | None = None
    cpu_waited_pct: float | None = None
    neighbours: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordSummary:
    """What one run left behind without its curve: all that a table of thousands needs.

    Args:
        run_id: Hash of all that can change the outcome; names the file.
        versions: Version of each entry of the cell, by kind.
        fingerprint: Hash of the source's images and labels.
        energy_j: Joules of the GPU over the training clock.
        parameters: How many numbers of the net are trained.
        augmentation_draws: Op to "per sample" or "per batch".
        reads: "files" where the pipeline decodes image files in each epoch.
        stepping: How a GPU was given its steps; "" on a CPU.
        compiled: Where the compiled code came from, torch's cache on disk or the compiler; "" if
            nothing is compiled.
        timing_suspect: Why its times cannot be trusted (see `times_trusted`).
        environment: What `bench.machine.environment.describe` says of machine and software.
        started: ISO 8601 time, as is `finished`.
        attempt: Counts from 1 over the records of the run.
        command: The command line that asked for it.
        content_hash: See `bench.store.codec`; "" until it is written.
    """

    run_id: str
    cell: Cell
    seed: Count
    versions: dict[str, Version]
    fingerprint: str
    status: Status
    error: Failure | None = None
    timings: Timings = field(default_factory=Timings)
    metrics: Metrics | None = None
    throughput: Throughput | None = None
    memory: Memory = field(default_factory=Memory)
    conditions: Conditions = field(default_factory=Conditions)
    energy_j: Amount | None = None
    parameters: Count | None = None
    augmentation_draws: dict[str, str] = field(default_factory=dict)
    reads: Reads = "array"
    stepping: str = ""
    compiled: Compiled = ""
    timing_suspect: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    finished: str = ""
    attempt: Number = 1
    command: str = ""
    schema_version: int = SCHEMA_VERSION
    content_hash: str = ""

    @property
    def name(self) -> str:
        """The run's name: cell and seed."""
        return f"{self.cell.name}/seed{self.seed}"

    @property
    def ends_worker(self) -> bool:
        """Whether its worker process must end: device and libraries may be in any state."""
        return self.status != "ok" or CAPTURE_FAILED in self.stepping

    @property
    def times_trusted(self) -> bool:
        """The one rule: whether its times and speeds may be ranked, averaged or drawn."""
        return self.status == "ok" and self.metrics is not None and not self.timing_suspect

    @property
    def run(self) -> Run:
        """The run that it is the record of."""
        return Run(
            cell=self.cell, seed=self.seed, versions=self.versions, fingerprint=self.fingerprint
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Record(RecordSummary):
    """What one run left behind."""

    curve: tuple[Point, ...] = ()


RecordT = TypeVar("RecordT", bound=RecordSummary)


def time_to_accuracy_s(curve: Iterable[Point], target: float) -> float | None:
    """Training clock at the first point whose validation accuracy is at least `target`."""
    for point in curve:
        if point.validation_accuracy is not None and point.validation_accuracy >= target:
            return point.train_s
    return None


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of one class, from its numbers of images.

    Args:
        correct: Images of the class that were predicted as such.
        support: Images of the class.
        predicted: Images that were predicted to be of the class.
    """

    correct: int
    support: int
    predicted: int

    @property
    def precision(self) -> float:
        """Share of the predictions that are correct; 0 without predictions."""
        return _share(self.correct, self.predicted)

    @property
    def recall(self) -> float:
        """Share of the images that were recognised; 0 without images."""
        return _share(self.correct, self.support)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _share(2 * self.correct, self.support + self.predicted)


def class_scores(confusion: Sequence[Sequence[int]]) -> list[ClassScores]:
    """The scores of each class; rows are true classes, columns predictions."""
    predicted = [sum(column) for column in zip(*confusion, strict=True)]
    return [
        ClassScores(correct=row[label], support=sum(row), predicted=predicted[label])
        for label, row in enumerate(confusion)
    ]


def macro_average(score: str, classes: Sequence[ClassScores]) -> float:
    """Mean of a score over the classes that have images or predictions."""
    values = [getattr(each, score) for each in classes if each.support or each.predicted]
    return fmean(values) if values else 0.0


def accuracy(classes: Sequence[ClassScores]) -> float:
    """Share of all images that were predicted correctly."""
    return _share(sum(each.correct for each in classes), sum(each.support for each in classes))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
