"""The cells that one set of figures compares."""

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.cell import AXES, fields_of
from bench.record import Record
from bench.report.figures.style import Section, Sketch, cells_gid, shown_name
from bench.report.matrix import build
from bench.report.rows import Key, Outcome, grouped
from bench.store.loaders_record import LoadersRecord
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGET = (*fields_of("budget"), "torch")  # may differ if the cells have different names

Case = Outcome[Record]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparable cells: one machine, one target, and no cell with two budgets."""

    number: int  # 1 for the largest of a group, 2 for the next
    title: str  # what the cells share, as in the matrix
    differing: tuple[str, ...]  # other differences: "epochs"
    cases: tuple[Case, ...]  # in the order of the matrix
    apart: str = ""  # what sets it apart from the others of its group: "9 epochs"
    loaders: LoadersRecord | None = None  # what `bench loaders` measured; only for number 1

    @property
    def mark(self) -> str:
        """A short hash of its runs, for ids that are unique on a page."""
        ids = sorted(run.run_id for case in self.cases for run in case.runs)
        return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:8]

    @property
    def usual_pipeline(self) -> str:
        """The pipeline that most cells have."""
        counts = Counter(case.cell.pipeline for case in self.cases)
        return min(counts, key=lambda name: (-counts[name], name))

    @property
    def usual(self) -> list[Case]:
        """The cells with that pipeline."""
        return [case for case in self.cases if case.cell.pipeline == self.usual_pipeline]

    @property
    def usual_text(self) -> str:
        """What a caption says of this choice."""
        others = len(self.cases) - len(self.usual)
        left_out = f" ({count(others, 'cell')} with another left out)" if others else ""
        return f"with pipeline {shown_name(self.usual_pipeline)}{left_out}"

    def sketch(
        self,
        name: str,
        title: str,
        caption: Iterable[str],
        figure: "Figure",
        *sections: Section,
        cases: Sequence[Case],
        timed: bool = False,
    ) -> Sketch:
        """A figure whose name, title and caption say which comparison and cells it shows.

        Args:
            caption: Sentences; empty ones are left out.
            sections: Of the key; empty ones are left out.
            cases: What it shows.
            timed: Whether it shows times or speeds, which runs with suspect timings lack.
        """
        return Sketch(
            name=name if self.number == 1 else f"{name}_{self.number}",
            title=f"{title} ({self.apart})" if self.apart else title,
            caption=" ".join(filter(None, [*caption, self._about(cases, timed=timed)])),
            figure=figure,
            sections=tuple(section for section in sections if section.looks),
        )

    def _about(self, cases: Sequence[Case], *, timed: bool) -> str:
        failed = sum(not case.good for case in cases)
        text = f"{count(len(cases), 'cell')}, {seeds(cases)}"
        text += f", {failed} of them without a result." if failed else "."
        if self.differing and len(cases) > 1:
            text += f" Cells differ in {', '.join(self.differing)}."
        suspect, runs = (sum(numbers) for numbers in zip(*map(_suspects, cases), strict=True))
        if timed and suspect:
            text += f" Suspect timings, left out of all means: {suspect} of {count(runs, 'run')}."
        return text


def _suspects(case: Case) -> tuple[int, int]:
    return case.suspect, len(case.good)


def comparisons(
    records: Iterable[Record], loaders: LoadersRecord | None = None
) -> list[Comparison]:
    """Divides the records of one group into comparable sets, the largest first.

    Cells of different budgets share a set unless one cell has several budgets.
    """
    found = grouped(records)
    by_footing: dict[Key, list[Key]] = defaultdict(list)
    for key in found:
        by_footing[key.footing].append(key)
    sets: list[tuple[Key, list[Key]]] = []
    for footing, keys in sorted(by_footing.items(), key=_largest_first):
        names = {key.cell.name for key in keys}
        for other, members in sets:
            if other == footing.conditions and not names & {key.cell.name for key in members}:
                members += keys
                break
        else:
            sets.append((footing.conditions, list(keys)))
    sets.sort(key=lambda one: -len(one[1]))
    made = [
        _comparison(number, [run for key in keys for run in found[key]])
        for number, (_, keys) in enumerate(sets, start=1)
    ]
    made[:1] = [replace(first, loaders=loaders) for first in made[:1]]
    return [replace(one, apart=_apart(one, made)) for one in made]


def _apart(one: Comparison, every: Sequence[Comparison]) -> str:
    """The parts of its title that another lacks; its number too unless they are unique."""
    titles = [each.title.split(" | ") for each in every]
    texts = [", ".join(t for t in parts if any(t not in o for o in titles)) for parts in titles]
    own = texts[one.number - 1]
    numbered = len(every) > 1 and (not own or texts.count(own) > 1)
    return ", ".join(filter(None, [own, f"set {one.number}" if numbered else ""]))


def _largest_first(group: tuple[Key, list[Key]]) -> tuple[int, list[str], list[str]]:
    footing, keys = group
    return -len(keys), [*footing.conditions.parts().values()], [*footing.parts().values()]


def _comparison(number: int, records: list[Record]) -> Comparison:
    matrix = build(records)
    cells = [outcome.cell for outcome in matrix.outcomes]
    varying = [axis for axis in AXES if len({getattr(cell, axis) for cell in cells}) > 1]
    names = Counter(cell.name for cell in cells)
    cases = []
    for outcome in matrix.outcomes:
        parts = [shown_name(getattr(outcome.cell, axis)) for axis in varying or AXES]
        if names[outcome.cell.name] > 1:
            parts.append(f"({outcome.budget})")
        runs = tuple(sorted(outcome.runs, key=lambda run: (run.seed, run.run_id)))
        cases.append(replace(outcome, label=" · ".join(parts), runs=runs))
    keys = [outcome.key.parts() for outcome in matrix.outcomes]
    differing = [name for name in BUDGET if len({parts[name] for parts in keys}) > 1]
    return Comparison(
        number=number,
        title=shown_name(matrix.title, length=None),
        differing=tuple(name.replace("_", " ") for name in differing),
        cases=tuple(cases),
    )


def gid(cases: Iterable[Case]) -> str:
    """Marks a drawn thing as belonging to these cells."""
    return cells_gid(case.id for case in cases)


def levels(cases: Iterable[Case], axis: str) -> list[str]:
    """The entries of an axis, sorted by name."""
    return sorted({getattr(case.cell, axis) for case in cases})


def by_accuracy(cases: Collection[Case], axis: str) -> list[str]:
    """The entries of an axis by mean accuracy, the best first, those without one last."""
    found: dict[str, list[float]] = {level: [] for level in levels(cases, axis)}
    for case in cases:
        found[getattr(case.cell, axis)] += filter(None, [case.mean("accuracy")])
    return sorted(found, key=lambda level: -statistics.fmean(found[level] or [-1.0]))


def seeds(cases: Sequence[Case]) -> str:
    """How many seeds cells have: "1 seed each", "2 to 3 seeds each"; for one cell "2 seeds"."""
    numbers = sorted({len(case.good) for case in cases if case.good})
    if not numbers:
        return "no seed"
    if len(numbers) == 1:
        return count(numbers[0], "seed") + (" each" if len(cases) > 1 else "")
    return f"{numbers[0]} to {numbers[-1]} seeds each"
