"""The cells that one set of figures compares."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from bench.cell import AXES, fields_of
from bench.record import Record
from bench.report.figures.style import Outcomes, Section, Sketch, shown_name
from bench.report.loaders import title as loaders_title
from bench.report.matrix import build, mean_over_cells
from bench.report.rows import Key, Outcome, grouped
from bench.store.loaders_record import LoadersRecord
from bench.text import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGET = (*fields_of("budget"), "torch")  # may differ if the cells have different names


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparable cells: one machine, one target, and no cell with two budgets."""

    number: int  # 1 for the largest of a group, 2 for the next
    title: str  # what the cells share, as in the matrix
    differing: tuple[str, ...]  # other differences: "epochs"
    outcomes: Outcomes  # in the order of the matrix
    distinction: str = ""  # from the others of its group: "9 epochs"
    reference: bool = False  # whether it is of results that are shipped
    loaders: LoadersRecord | None = None  # what `bench loaders` measured; only for number 1

    @property
    def digest(self) -> str:
        """A short hash of what it compares, for ids that are unique on a page."""
        ids = sorted(run.run_id for outcome in self.outcomes for run in outcome.runs)
        shown = msgspec.json.encode((ids, self.loaders), order="deterministic")
        return hashlib.sha256(shown).hexdigest()[:8]

    def sketch(
        self,
        name: str,
        title: str,
        caption: Iterable[object],
        figure: "Figure",
        *sections: Section,
        outcomes: Outcomes,
        timed: bool = False,
    ) -> Sketch:
        """A figure whose name, title and caption say which comparison and cells it shows.

        False sentences of `caption` and empty `sections` are left out. A `timed` figure shows times
        or speeds, which runs with suspect timings lack.
        """
        words = ", ".join(filter(None, [self.distinction, "reference" if self.reference else ""]))
        sentences = [*caption, *self._about(outcomes, timed=timed)]
        return Sketch(
            name=name if self.number == 1 else f"{name}_{self.number}",
            title=f"{title} ({words})" if words else title,
            caption=" ".join(str(sentence) for sentence in sentences if sentence),
            figure=figure,
            sections=tuple(section for section in sections if section.looks),
        )

    def _about(self, outcomes: Outcomes, *, timed: bool) -> Iterator[str]:
        runs = sum(len(one.good) for one in outcomes)
        yield f"{count(len(outcomes), 'cell')}, {count(runs, 'successful run')}."
        if failed := sum(not one.good for one in outcomes):
            yield f"{count(failed, 'cell')} without a result."
        if self.differing and len(outcomes) > 1:
            yield f"Cells differ in {', '.join(self.differing)}."
        if timed and (suspect := sum(one.suspect for one in outcomes)):
            yield f"Suspect timings, left out of all means: {suspect} of {count(runs, 'run')}."


def comparisons(
    records: Iterable[Record], loaders: LoadersRecord | None = None, *, reference: bool = False
) -> list[Comparison]:
    """Divides the records of one group into comparable sets, the largest first.

    Cells of different budgets share a set unless one cell has several budgets. Without records,
    one set is empty.
    """
    found = grouped(records)
    by_footing: dict[Key, list[Key]] = defaultdict(list)
    for key in found:
        by_footing[key.footing].append(key)
    sets: list[tuple[Key, list[Key]]] = []
    for footing, keys in sorted(
        by_footing.items(), key=lambda item: (-len(item[1]), [*item[0].parts().values()])
    ):
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
        for number, keys in enumerate([keys for _, keys in sets] or [[]], start=1)
    ]
    made[0] = replace(made[0], loaders=loaders)
    if loaders and not found:
        made[0] = replace(made[0], title=shown_name(loaders_title(loaders), length=None))
    return [
        replace(one, distinction=text, reference=reference)
        for one, text in zip(made, _distinctions([one.title for one in made]), strict=True)
    ]


def _distinctions(titles: Sequence[str]) -> list[str]:
    """The parts of each title that are not in all titles, numbered if two would be equal."""
    parts = [title.split(" | ") for title in titles]
    shared = set.intersection(*map(set, parts))
    own = [[part for part in each if part not in shared] for each in parts]
    if len({*map(tuple, own)}) < len(own):
        own = [[*each, f"set {number}"] for number, each in enumerate(own, start=1)]
    return [", ".join(each) for each in own]


def _comparison(number: int, records: list[Record]) -> Comparison:
    matrix = build(records)
    cells = [outcome.cell for outcome in matrix.outcomes]
    varying = [axis for axis in AXES if len({getattr(cell, axis) for cell in cells}) > 1]
    outcomes = []
    for outcome in matrix.outcomes:
        parts = [shown_name(getattr(outcome.cell, axis)) for axis in varying or AXES]
        apart = outcome.label.removeprefix(outcome.cell.name)
        runs = tuple(sorted(outcome.runs, key=lambda run: (run.seed, run.run_id)))
        outcomes.append(replace(outcome, label=" · ".join(parts) + apart, runs=runs))
    keys = [outcome.key.parts() for outcome in outcomes]
    differing = [name for name in BUDGET if len({parts[name] for parts in keys}) > 1]
    return Comparison(
        number=number,
        title=shown_name(matrix.title, length=None),
        differing=tuple(name.replace("_", " ") for name in differing),
        outcomes=outcomes,
    )


def by_axes(outcomes: Outcomes, *axes: str) -> dict[tuple[str, ...], list[Outcome[Record]]]:
    """The cells by their entries of some axes, sorted."""
    found: dict[tuple[str, ...], list[Outcome[Record]]] = defaultdict(list)
    for outcome in outcomes:
        found[tuple(getattr(outcome.cell, axis) for axis in axes)].append(outcome)
    return dict(sorted(found.items()))


def levels(outcomes: Outcomes, axis: str) -> list[str]:
    """The entries of an axis, sorted by name."""
    return [level for (level,) in by_axes(outcomes, axis)]


def by_accuracy(outcomes: Outcomes, axis: str) -> dict[str, Outcomes]:
    """The cells of each entry of an axis, by mean accuracy, the best first."""
    found = {level: each for (level,), each in by_axes(outcomes, axis).items()}
    means = {level: mean_over_cells(cells, "accuracy") or -1.0 for level, cells in found.items()}
    return {level: found[level] for level in sorted(found, key=lambda level: -means[level])}
