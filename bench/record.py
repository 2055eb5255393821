"""A record: the result of one run, stored as one JSON file.

Tables, figures and pages are derived from records and can be rebuilt at any time. The types of the
fields state the range of each value; msgspec checks it whenever a record is read. This module does
not import torch, since every reader of records uses it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta

from bench.cell import Cell, Run, Version, decodes

SCHEMA_VERSION = 1

ROUNDING = 1e-3  # tolerance for shares outside [0, 1], which are computed in 32 bits
LARGEST = 1e15  # seconds, images or bytes; far above any real run
LARGEST_STALL_PCT = 1e9  # negative too: a run may be faster than its measured ceiling

Share = Annotated[float, Meta(ge=-ROUNDING, le=1 + ROUNDING)]
Amount = Annotated[float, Meta(ge=0.0, le=LARGEST)]
Positive = Annotated[float, Meta(gt=0.0, le=LARGEST)]
Count = Annotated[int, Meta(ge=0, le=int(LARGEST))]
Number = Annotated[int, Meta(ge=1, le=int(LARGEST))]
StallPct = Annotated[float, Meta(ge=-LARGEST_STALL_PCT, le=LARGEST_STALL_PCT)]

Status = Literal["ok", "diverged", "oom", "timeout", "crashed", "interrupted", "skipped"]
FAILED = ("diverged", "oom", "timeout", "crashed")
RERUN = ("interrupted", "skipped")  # statuses of runs that the next `bench run` repeats
Reads = Literal["array", "files"]  # what a pipeline reads in each epoch
Compiled = Literal["", "anew", "from cache", "partly from cache"]

# Values of `RecordSummary.stepping`: GRAPH, or LAUNCHED and a reason such as CAPTURE_FAILED.
GRAPH = "one CUDA graph"
LAUNCHED = "launched one operation at a time: "
CAPTURE_FAILED = "a CUDA graph of it failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a run failed.

    Args:
        type: Name of the exception, or of what happened to the worker.
        log: The log file, relative to the group's folder.
    """

    type: str
    message: str
    traceback: str = ""
    log: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Seconds, all on the monotonic clock.

    Runs that share a worker process pay `import_s`, `first_batch_s` and `compile_s` once; all of
    them record that cost, so that their values can be compared.

    Args:
        import_s: Importing torch and the libraries.
        load_s: Reading the source and splitting it.
        build_s: Building net and pipeline, and starting the compiler for a worker's first run that
            needs it.
        first_batch_s: Time of the first batch: worker start, kernel compilation.
        compile_s: Extra time of the first training step and evaluation batch over warm ones.
        capture_s: Capturing the steps as CUDA graphs; 0 if they are launched.
        warmup_s: All steps on random labels outside the training clock, including the ceiling and
            graph capture.
        train_s: The training clock: data, forward, backward, update. Wall time.
        train_device_s: The same time measured by CUDA events; None on a CPU.
        fit_s: Fitting on data before the first step (whitening); part of `train_s`.
        evaluate_s: All evaluations, outside the training clock.
        total_s: Total time of the job, without the start of the worker.
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
        """One-off costs that the time to accuracy with compilation adds to the training clock."""
        return self.first_batch_s + self.compile_s + self.capture_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One point of the curve, at the end of an epoch.

    Args:
        epoch: Number of the epoch, from 1.
        images: Training images seen so far.
        train_s: Seconds on the training clock so far.
        train_loss: Mean over the epoch; None if it is not finite.
        learning_rate: Highest rate of the parameter groups after the last step.
        images_per_s: Training throughput of the epoch.
        step_ms: Mean milliseconds a step.
        validation_loss: None without a validation set, or if it is not finite.
        validation_accuracy: Share of validation images classified correctly.
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
        accuracy: Share of test images classified correctly.
        macro_f1: Mean F1 score of the classes; `precision` and `recall` are means too.
        loss: Mean cross-entropy; None if it is not finite.
        confusion: Numbers of images; rows are true classes, columns predictions.
        eval_views: Number of views of each test image that were averaged.
        one_view_accuracy: Accuracy on the unchanged images alone.
        validation_accuracy: After the last epoch; None without a validation set.
        time_to_accuracy_s: Seconds on the training clock until validation accuracy first reached
            the target; None if it never did, or if reaching it means nothing.
        time_to_accuracy_with_compile_s: The same plus `Timings.once_s`.
        commonest_share: Share of validation images of the commonest class; None without a
            validation set, and in older records.

    Raises:
        ValueError: The size of the confusion matrix differs from the number of classes.
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
    commonest_share: Share | None = None

    def __post_init__(self) -> None:
        classes = len(self.per_class)
        if len(self.confusion) != classes or {len(row) for row in self.confusion} != {classes}:
            raise ValueError(
                f"the confusion matrix is not {classes} x {classes}, one row per class"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """Training throughput, in images/s unless a name says otherwise.

    Args:
        median: Median of the epochs, data loading included; `p5` and `p95` are percentiles.
        ceiling: Throughput of the same net and optimizer on one cached batch.
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
    """Peaks in GiB; None if unknown, as the last two on a CPU.

    Args:
        host_gib: Resident memory of the worker process.
        torch_gib: Memory that torch allocated on the GPU.
        device_gib: Memory in use on the GPU, as reported by the driver.
    """

    host_gib: Amount | None = None
    torch_gib: Amount | None = None
    device_gib: Amount | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """State of the machine while the training clock ran; None for unknown values.

    Args:
        power_w: Mean power of the GPU.
        sm_mhz: Median clock rate of the GPU's multiprocessors.
        temperature_c: Highest temperature of the GPU.
        hot_s: Seconds for which heat slowed the GPU down.
        slowed: Reasons why the GPU was throttled.
        gpu_others: Largest number of other processes on the GPU at once.
        cpu_others_pct: Share of the usable cores that processes outside the run used.
        cpu_idle_pct: Share of the usable cores that were idle.
        cpu_stolen_pct: Share of the usable cores that the virtual machine's host took.
        cpu_waited_pct: Share of its runnable time that the run waited for a core, all processes.
        neighbours: Number of other runs of this suite on the host.
        paused_s: Seconds in which the process did not run at all; None if it always ran.
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
    paused_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordSummary:
    """A record without its curve, which is enough for tables of thousands of runs.

    Args:
        run_id: Hash of everything that can change the outcome; also the file name.
        versions: Version of each entry of the cell, by kind.
        fingerprint: Hash of the source's images and labels.
        energy_j: Energy that the GPU used during training, in joules.
        parameters: Number of trained parameters of the net.
        augmentation_draws: Op to "per sample" or "per batch".
        reads: "files" where the pipeline decodes image files in each epoch.
        stepping: How training steps were sent to the GPU; "" on a CPU.
        compiled: Whether compiled code came from torch's cache on disk; "" if nothing is compiled.
        timing_suspect: Reasons not to trust its times (see `times_trusted`).
        environment: Machine and software, from `bench.machine.environment.describe`.
        started: ISO 8601 time, as is `finished`.
        attempt: Number of the attempt at the run, from 1.
        command: The command line that started it.
        content_hash: Hash of the content (see `bench.store.codec`); "" until it is written.
        training_images: Number of images in the training set; None in older records, as are
            `validation_images` and `test_images`.
        augmentation_differs: Op to words on how it differs from our definition, for those that do.
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
    training_images: Count | None = None
    validation_images: Count | None = None
    test_images: Count | None = None
    augmentation_differs: dict[str, str] = field(default_factory=dict)

    @property
    def image_counts(self) -> str:
        """The sizes of its sets: "108 training, 13 validation and 30 test images"."""
        if self.training_images is None:
            return ""
        held_out = f", {self.validation_images:,} validation" if self.validation_images else ""
        return f"{self.training_images:,} training{held_out} and {self.test_images:,} test images"

    @property
    def reading_note(self) -> str:
        """ "reads an array" if its source's files should be decoded, but were decoded before."""
        read_array = self.status == "ok" and self.reads == "array"
        return "reads an array" if read_array and decodes(self.cell.source) else ""

    @property
    def own_ops(self) -> str:
        """The ops that its pipeline defines differently: "kornia's own RandAugment"."""
        names = " and ".join(sorted(self.augmentation_differs))
        return names and f"{self.cell.pipeline.partition('[')[0]}'s own {names}"

    @property
    def op_differences(self) -> str:
        """How they differ: "another RandAugment: ..."."""
        return op_differences(self.augmentation_differs)

    @property
    def name(self) -> str:
        """The run's name: cell and seed."""
        return f"{self.cell.name}/seed{self.seed}"

    @property
    def ends_worker(self) -> bool:
        """Whether its worker must end, as device or libraries may be in an undefined state."""
        return self.status != "ok" or CAPTURE_FAILED in self.stepping

    @property
    def times_trusted(self) -> bool:
        """Whether its times and speeds may be ranked, averaged or plotted."""
        return self.status == "ok" and self.metrics is not None and not self.timing_suspect

    @property
    def seeks_target(self) -> bool:
        """Whether reaching the target means something: it is above the commonest class's share."""
        share = (self.metrics and self.metrics.commonest_share) or 0.0
        return self.cell.holds_out and self.cell.target_accuracy > share

    @property
    def run(self) -> Run:
        """The recorded run."""
        return Run(
            cell=self.cell, seed=self.seed, versions=self.versions, fingerprint=self.fingerprint
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Record(RecordSummary):
    """The complete result of one run."""

    curve: tuple[Point, ...] = ()


def op_differences(differs: Mapping[str, str]) -> str:
    """How ops differ from our definitions: "another RandAugment: ..."."""
    return "; ".join(f"another {op}: {how}" for op, how in differs.items())


RecordT = TypeVar("RecordT", bound=RecordSummary)


def time_to_accuracy_s(
    curve: Iterable[Point], target: float, commonest_share: float | None = None
) -> float | None:
    """Training clock at the first point whose validation accuracy is at least `target`.

    None too if a net that always answers the commonest class reaches the target.
    """
    if commonest_share is not None and target <= commonest_share:
        return None
    for point in curve:
        if point.validation_accuracy is not None and point.validation_accuracy >= target:
            return point.train_s
    return None


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of one class, from its images and the images that were predicted as it."""

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
