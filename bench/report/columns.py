"""The columns of the matrix: header, unit, digits, and whether high or low values are best.

Tables, pivot tables, statistics and the HTML page all use these declarations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.record import RecordSummary

Kind = Literal["score", "time", "memory", "energy", "count", "text"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """How a column is shown."""

    name: str = ""
    header: str  # its title, with the unit
    kind: Kind = "text"  # "time" includes speeds: whatever a busy machine distorts
    digits: int | None = None  # after the decimal point; None to show values as they are
    factor: float = 1.0  # from the recorded to the displayed unit
    best: Literal["highest", "lowest"] | None = None  # which value is bold
    priority: int = 0  # narrow terminals drop the highest first; 1 after all else, 0 never
    footnote: Literal["", "narrow", "always"] = ""  # when a terminal shows marks instead

    @property
    def is_number(self) -> bool:
        """Whether it is aligned to the right."""
        return self.kind != "text"

    def decimals(self, value: float) -> int:
        """Digits after the point of a value in the displayed unit: one more below 10 s."""
        seconds = self.kind == "time" and self.best == "lowest"
        return (self.digits or 0) + (seconds and value < 10)


@dataclass(frozen=True, kw_only=True)
class Metric(Column):
    """A metric of each run; a row shows its mean and standard deviation over seeds."""

    label: str  # its name in a sentence
    short: str = ""  # its header in a narrow terminal
    of: Callable[[RecordSummary], float | None]  # reads it from a successful run
    to_target: bool = False  # whether it is a time to the target

    @property
    def timing(self) -> bool:
        """Whether runs with suspect timings must be left out."""
        return self.kind in ("time", "energy")

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.best == "highest"

    @property
    def ratio(self) -> bool:
        """Whether two values are compared by their ratio; scores are by their difference."""
        return self.kind != "score"


def _peak_gib(run: RecordSummary) -> float | None:
    """Memory in use on the GPU, or of the process on a CPU."""
    memory = run.memory
    return memory.host_gib if memory.device_gib is None else memory.device_gib


def _of_metrics(name: str) -> Callable[[RecordSummary], float | None]:
    return lambda run: getattr(run.metrics, name, None)


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column(name="architecture", header="architecture"),
        Column(name="optimizer", header="optimizer"),
        Column(name="augmentation", header="augmentation"),
        Column(name="pipeline", header="pipeline"),
        Column(name="cells", header="cells", kind="count"),
        Column(name="seeds", header="seeds", kind="count", priority=3),
        Metric(
            name="accuracy", header="accuracy %", short="acc. %", label="accuracy",
            of=_of_metrics("accuracy"), kind="score", digits=2, factor=100, best="highest",
        ),
        Metric(
            name="one_view_accuracy", header="one view %", label="one-view accuracy", priority=4,
            of=_of_metrics("one_view_accuracy"), kind="score", digits=2, factor=100, best="highest",
        ),
        Metric(
            name="macro_f1", header="macro F1 %", short="F1 %", label="macro F1", priority=1,
            of=_of_metrics("macro_f1"), kind="score", digits=2, factor=100, best="highest",
        ),
        Metric(
            name="images_per_s", header="images/s", short="img/s", label="images/s",
            of=lambda run: run.throughput.median if run.throughput else None,
            kind="time", digits=0, best="highest",
        ),
        Metric(  # none is best: low values are mostly noise
            name="stall_pct", header="stall %", label="stall",
            of=lambda run: run.throughput.stall_pct if run.throughput else None,
            kind="time", digits=1, priority=1,
        ),
        Column(name="bound_by", header="bound by", priority=5),
        Metric(
            name="time_to_accuracy_s", header="time to accuracy s", short="time s",
            label="time to accuracy", of=_of_metrics("time_to_accuracy_s"), to_target=True,
            kind="time", digits=1, best="lowest",
        ),
        Metric(
            name="time_to_accuracy_with_compile_s", header="with compile s",
            label="time to accuracy with compilation",
            of=_of_metrics("time_to_accuracy_with_compile_s"), to_target=True,
            kind="time", digits=1, best="lowest", priority=5,
        ),
        Metric(
            name="train_s", header="train s", label="train time",
            of=lambda run: run.timings.train_s,
            kind="time", digits=1, best="lowest", priority=8,
        ),
        Metric(  # none is best: small differences are noise
            name="memory_gib", header="memory GiB", label="peak memory", of=_peak_gib,
            kind="memory", digits=2, priority=6,
        ),
        Metric(
            name="energy_j", header="energy J", label="energy", of=lambda run: run.energy_j,
            kind="energy", digits=0, best="lowest", priority=7,
        ),
        Column(name="reads", header="reads", priority=2),
        Column(name="budget", header="budget", footnote="narrow"),
        Column(name="notes", header="notes", footnote="always"),
    )
}  # fmt: skip
MORE_COLUMNS = {  # shown only on request
    name: Column(name=name, header=name, kind="count", digits=0)
    for name in ("runs", "reached", "trusted", "parameters")
} | {
    name: Column(name=name, header=name.replace("_", " "))
    for name in ("status", "draws", "differs", "timing_suspect")
}
METRICS = {name: column for name, column in COLUMNS.items() if isinstance(column, Metric)}
ACCURACY, MACRO_F1 = METRICS["accuracy"], METRICS["macro_f1"]
SPEED, TIME, TRAIN = (METRICS[n] for n in ("images_per_s", "time_to_accuracy_s", "train_s"))


def column_named(name: str) -> Column:
    """How to show a column of the matrix."""
    return (COLUMNS | MORE_COLUMNS).get(name, Column(name=name, header=name))
