"""A record: what one run left behind, as one JSON file.

Everything else (tables, CSV, plots) is derived from records and can be rebuilt at any time.

The ranges in which figures lie, as types of the fields that hold them.

msgspec checks them whenever a record is read, in the one pass that reads it.

When a curve reached a target; stands on records alone, so that tables can ask it too.

Scores as ratios of what a confusion matrix counts; without torch, for readers of records too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta

from bench.cell import Cell, Run, Version

ROUNDING = 1e-3  # of shares that were computed in 32 bits
LARGEST = 1e15  # seconds, images, bytes: no run comes near
LARGEST_STALL_PCT = 1e9  # below 0 too: a pipeline may seem faster than the ceiling

Share = Annotated[float, Meta(ge=-ROUNDING, le=1 + ROUNDING)]
Amount = Annotated[float, Meta(ge=0.0, le=LARGEST)]
Speed = Annotated[float, Meta(gt=0.0, le=LARGEST)]
Count = Annotated[int, Meta(ge=0, le=int(LARGEST))]
Number = Annotated[int, Meta(ge=1, le=int(LARGEST))]
StallPct = Annotated[float, Meta(ge=-LARGEST_STALL_PCT, le=LARGEST_STALL_PCT)]

SCHEMA_VERSION = 1

Status = Literal["ok", "diverged", "oom", "timeout", "crashed", "interrupted", "skipped"]
Reads = Literal["array", "files"]  # what a pipeline reads in each epoch
Compiled = Literal["", "anew", "from cache", "partly from cache"]
GRAPH = "one CUDA graph"  # `Record.stepping`, or this with a reason:
LAUNCHED = "launched one operation at a time: "
CAPTURE_FAILED = "a CUDA graph of it failed"


RERUN = ("interrupted", "skipped")  # statuses that are tried again without being asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a run did not end well."""

    type: str
    message: str
    traceback: str = ""
    log: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Seconds, all on the monotonic clock.

    Args:
        import_s: Importing torch and the libraries, once a worker process.
        load_s: Reading the source and splitting it.
        build_s: Building net and pipeline, and starting the compiler in a worker's first run that
            has use for it.
        first_batch_s: From a built pipeline to its first batch: worker start, kernel compilation.
        compile_s: First training step and first evaluation batch, above what warm ones take.
        capture_s: Capturing the steps as CUDA graphs; 0 where they are launched.
        warmup_s: All steps on random labels beside the clock, the ceiling's and captures included.
        train_s: The training clock: data, forward, backward, update. Wall time.
        train_device_s: The same span by CUDA events on the training stream; None on a CPU.
        fit_s: Fitting on data before the first step (whitening); part of train_s.
        evaluate_s: All evaluations, outside the training clock.
        total_s: From taking the run to its record, without the worker's start.

    Runs that share a worker pay first_batch_s and compile_s once; each of them records the cost
    that was paid, so that their figures can be compared.
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
        """What is paid before the clock starts and belongs to a time to accuracy from cold."""
        return self.first_batch_s + self.compile_s + self.capture_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One point of the curve, at the end of an epoch."""

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
    """Scores of one class on the test set."""

    name: str
    precision: Share
    recall: Share
    f1: Share
    support: Count


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Scores on the test set after the last step, and the time to accuracy on validation.

    Args:
        time_to_accuracy_s: Training clock when validation first reached the target, if it did.
        time_to_accuracy_with_compile_s: The same with the warm-up added.
        confusion: Rows are true classes, columns predictions.
        eval_views: Views of each test image that were averaged.
        one_view_accuracy: Of the images as they are, whatever else was averaged.
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
    """Training images/s; percentiles are over epochs.

    Args:
        median, p5, p95: Over epochs, data included.
        ceiling: The same model and optimizer fed one cached batch.
        stall_pct: 100 * (1 - median / ceiling): the share of time spent waiting for data.
        step_ms: Median milliseconds a step.
    """

    median: Amount
    p5: Amount
    p95: Amount
    ceiling: Speed | None = None
    stall_pct: StallPct | None = None
    step_ms: Amount | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Peak GiB. On a CPU `host_gib` is the worker's peak resident set and the others are None."""

    host_gib: Amount | None = None
    torch_gib: Amount | None = None
    device_gib: Amount | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What the machine did while the clock ran; None for what it does not tell.

    Args:
        power_w: Mean of the GPU over the training clock.
        sm_mhz: Median clock of the GPU's multiprocessors.
        temperature_c: Highest of the GPU.
        hot_s: Seconds of the clock at which the GPU was slower because of heat.
        slowed: Why the GPU's clock was low, where no run asked for it.
        gpu_others: Other processes on the GPU, at most at once.
        cpu_others_pct: Share of the usable cores that processes outside the run used.
        cpu_idle_pct: Share of them that was free.
        cpu_stolen_pct: Share of them that the host of a virtual machine gave to others.
        cpu_waited_pct: Of the time in which the run's process had work, the part without a core.
        neighbours: Other runs of this suite that worked on the host meanwhile.
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
    """What one run left behind, but for its curve: all that a table of thousands needs.

    See the classes above for units.

    Args:
        stepping: How a GPU was given its steps; "" on a CPU.
        compiled: Where the compiled code of net and pipeline came from, torch's cache on disk or
            the compiler; "" if none is compiled.
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
        """Whether device and libraries may be in any state after it, so that its process ends."""
        return self.status != "ok" or CAPTURE_FAILED in self.stepping

    @property
    def run(self) -> Run:
        """The run that it is of."""
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
    """What was counted of one class."""

    right: int
    images: int
    guesses: int

    @property
    def precision(self) -> float:
        """Share of the guesses that are right; 0 of none."""
        return _share(self.right, self.guesses)

    @property
    def recall(self) -> float:
        """Share of the images that are found; 0 of none."""
        return _share(self.right, self.images)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        return _share(2 * self.right, self.images + self.guesses)


def class_scores(counts: Sequence[Sequence[int]]) -> list[ClassScores]:
    """What a confusion matrix says of each class."""
    guesses = [sum(column) for column in zip(*counts, strict=True)]
    return [
        ClassScores(right=row[label], images=sum(row), guesses=guesses[label])
        for label, row in enumerate(counts)
    ]


def macro_average(score: str, classes: Sequence[ClassScores]) -> float:
    """Mean of a score over the classes; one without images and guesses does not count."""
    found = [getattr(one, score) for one in classes if one.images or one.guesses]
    return fmean(found) if found else 0.0


def accuracy(classes: Sequence[ClassScores]) -> float:
    """Share of all images that are right."""
    return _share(sum(one.right for one in classes), sum(one.images for one in classes))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
