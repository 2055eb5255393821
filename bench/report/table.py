"""`bench table`: the matrix of each group, means over some axes, or a pivot table, as text.

Only comparable cells are averaged: images, budget, precision, target, machine and torch version are
the same within a table. Batch size, width and recipe may differ, which a note says.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import cast

import pandas as pd

from bench.cell import AXES
from bench.errors import UsageError, check_choice
from bench.record import Record, RecordSummary, RecordT
from bench.report.answers import Answer, answer_lines, answers
from bench.report.columns import ACCURACY, COLUMNS, METRICS, Column, Metric, column_named
from bench.report.matrix import (
    GROUP,
    PARTIAL,
    Matrix,
    Mean,
    averaged,
    averaging_notes,
    build,
    cautions,
    means,
    sort,
    versions,
)
from bench.report.render import FORMS, Form, Table, csv, shown
from bench.report.rows import Key, grouped
from bench.selection import matching
from bench.store.files import StoreError, UnusableFile
from bench.store.groups import Group, groups
from bench.store.loaders_record import LoadersRecord, read_loaders
from bench.store.retarget import retarget
from bench.store.store import Store, to_stderr
from bench.text import Log, count, shell_command


@dataclass(frozen=True, kw_only=True)
class Pivot:
    """One metric by a row and a column axis, by default the first two that differ."""

    metric: str = ACCURACY.name
    axes: tuple[str, str] | None = None


Shape = tuple[str, ...] | Pivot | None  # axes of means over the others; None for a row per cell


def shape(*, group: Sequence[str] | None, metric: str | None, pivot: Sequence[str] | None) -> Shape:
    """The requested shape.

    Raises:
        UsageError: An unknown axis or metric, or two shapes at once.
    """
    for name in [*(group or ()), *(pivot or ())]:
        check_choice("axis", name, list(AXES))
    if metric is None and pivot is None:
        return None if group is None else tuple(axis for axis in AXES if axis in group)
    if group is not None:
        raise UsageError("--group and a pivot table (--metric, --pivot) exclude each other")
    check_choice("metric", metric or ACCURACY.name, list(METRICS))
    if pivot is not None and len(set(pivot)) != 2:
        raise UsageError(f"--pivot takes two axes, ROW,COLUMN, got {','.join(pivot)!r}")
    axes = (pivot[0], pivot[1]) if pivot else None
    return Pivot(metric=metric or ACCURACY.name, axes=axes)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table as numbers and as texts."""

    title: str  # for JSON; that of the texts also names what all rows share
    numbers: pd.DataFrame
    texts: Table
    notes: Sequence[str]
    versions: str = ""
    answers: Sequence[Answer] = ()

    def as_json(self) -> dict[str, object]:
        """Title, notes, versions, answers and rows; a missed target is null."""
        return {
            "title": self.title,
            "notes": self.notes,
            "versions": self.versions,
            "answers": [asdict(answer) for answer in self.answers],
            "rows": json.loads(self.numbers.to_json(orient="records", double_precision=15)),
        }

    def text(self, form: Form, width: int | None, *, color: bool) -> str:
        """The table as Markdown; or for a terminal, with the versions of the software."""
        if form == "md":
            head = [*map(_answer, self.answers)]
            return replace(self.texts, head=head, notes=self.notes).markdown()
        head = answer_lines(self.answers, width=width or 80)
        notes = [*self.notes, *filter(None, [self.versions])]
        return replace(self.texts, head=head, notes=notes).terminal(width=width, color=color)


def _answer(answer: Answer) -> str:
    verdict = f"{'sure' if answer.sure else 'cannot tell'}: {answer.why}"
    return f"{answer.question}: {', '.join(filter(None, (answer.entry, answer.value, verdict)))}"


def _drawn(sheets: Sequence[Sheet], form: Form, width: int | None, *, color: bool) -> str:
    if form == "json":
        return json.dumps([sheet.as_json() for sheet in sheets], indent=1) + "\n"
    if form == "csv":
        return csv(pd.concat([sheet.numbers for sheet in sheets], ignore_index=True))
    return "\n".join(sheet.text(form, width, color=color) for sheet in sheets)


def render(
    matrix: Matrix[RecordT],
    form: Form = "rich",
    *,
    sort_by: str | None = None,
    columns: Sequence[str] | None = None,
    width: int | None = None,
    color: bool = False,
) -> str:
    """One matrix as text, without answers; the arguments are those of `render_all`."""
    check_choice("format", form, FORMS)
    return _drawn([_sheet(matrix, None, sort_by, columns)], form, width, color=color)


def render_all(
    root: Path,
    form: Form = "rich",
    *,
    machine: Collection[str] = (),
    sort_by: str | None = None,
    columns: Sequence[str] | None = None,
    expression: str = "",
    target: float | None = None,
    shape: Shape = None,
    width: int | None = None,
    color: bool = False,
    on_warning: Log = to_stderr,
) -> str:
    """One table for each group under `root`: those of this `machine` first.

    Reference matrices are shown if `root` has no other selected records; otherwise a note names
    the command that shows them. CSV is one table, JSON a list of tables.

    Args:
        columns: By default the usual ones, or all in "csv" and "json".
        target: Validation accuracy for time to accuracy; by default each run's own.
        on_warning: Called with a sentence about each damaged record.

    Raises:
        StoreError: There is nothing to show, or it cannot be read.
        UsageError: An argument is wrong, or `expression` matches no cell.
    """
    check_choice("format", form, FORMS)
    if isinstance(shape, Pivot) and (sort_by is not None or columns is not None):
        raise UsageError("a pivot table has fixed columns: leave --sort and --columns out")
    found = selected(root, machine, expression, target, on_warning)
    own = {group: part for group, part in found.items() if not group.reference}
    sheets: list[Sheet] = []
    for group, (records, notes) in (own or found).items():
        for part in footings(records) if shape else [records]:
            matrix = build(part, reference=group.reference)
            sheet = _sheet(matrix, shape, sort_by, columns)
            sheet = replace(sheet, notes=[*notes, *sheet.notes], versions=versions(part))
            if not (shape or columns or len(matrix.frame) < 2) and form != "csv":
                loaders = None if expression else _loaders(group.folder, on_warning)
                sheet = replace(sheet, answers=answers(part, loaders=loaders))
            sheets.append(sheet)
    if own and (hidden := [group for group in found if group.reference]):
        runs = sum(len(found[group][0]) for group in hidden)
        command = shell_command(["bench", "table", str(hidden[0].folder.parent)])
        note = f"Not shown: {count(runs, 'run')} of the reference matrices ({command})."
        sheets[-1] = replace(sheets[-1], notes=[*sheets[-1].notes, note])
    return _drawn(sheets, form, width, color=color)


def selected(
    root: Path, machine: Collection[str], expression: str, target: float | None, on_warning: Log
) -> dict[Group, tuple[Sequence[RecordSummary], list[str]]]:
    """The selected records of each group that has some, and notes about them."""
    kind = RecordSummary if target is None else Record  # another target needs the curves
    found = {
        group: Store(group.folder).records_as(kind, on_warning, sanitized=True)
        for group in groups(root, machines=machine)
    }
    if not any(found.values()):
        raise StoreError(f"there are no records under {root}: `bench run` makes some")
    chosen = {group: part for group, part in matching(found, expression).items() if part}
    if target is None:
        return {group: (records, []) for group, records in chosen.items()}
    changed = {g: retarget(cast(list[Record], records), target) for g, records in chosen.items()}
    return {group: (records, [note]) for group, (records, note) in changed.items()}


def _loaders(folder: Path, on_warning: Log) -> LoadersRecord | None:
    try:
        return read_loaders(folder)
    except UnusableFile as error:
        on_warning(str(error))
        return None


def _sheet(
    matrix: Matrix[RecordT], shape: Shape, sort_by: str | None, columns: Sequence[str] | None
) -> Sheet:
    if isinstance(shape, Pivot):
        return pivoted(matrix, shape)
    frame, notes = matrix.frame, [*cautions(matrix.frame)]
    if shape is not None:
        frame, notes = averaged(matrix, shape)
    if sort_by is not None:
        check_choice("column to sort by", sort_by, list(frame.columns))
        frame = sort(frame, sort_by)
    cells, best = shown(frame, columns)
    title, kinds = [matrix.title], {name: column_named(name) for name in cells}
    names = [name for name in AXES if name in cells]
    joined: list[str] = []
    if columns is not None:  # none is dropped
        frame = frame.assign(notes=cells.get("notes", ""))[list(columns)]
        kinds = {name: replace(column, priority=0) for name, column in kinds.items()}
    elif len(frame) > 1:
        title += _shared(kinds, cells)
        names = [name for name in names if name in kinds]
        named = names and not frame.duplicated(names).any() and frame["machine"].nunique() == 1
        if "budget" in kinds and named:  # it may be dropped
            kinds["budget"] = replace(kinds["budget"], footnote="", priority=3)
        elif "budget" in kinds and "cell" in frame:  # it stands beside the names
            kinds = {name: kinds[name] for name in (*names, "budget", *kinds)}
            joined = [*_short_labels(frame, names)]
            if all(f"({b})" in name for b, name in zip(cells["budget"], joined, strict=True)):
                names = [*names, "budget"]  # the joined names say it
            if len(names) < 2:
                kinds["budget"] = replace(kinds["budget"], footnote="")
    texts = Table(
        title=" | ".join(title), columns=kinds, cells=cells, best=best, names=names, joined=joined
    )
    return Sheet(title=matrix.title, numbers=frame, texts=texts, notes=notes)


def _short_labels(frame: pd.DataFrame, names: Sequence[str]) -> Iterator[str]:
    """The labels of cells, with only some axes in their names: "cnn4/sgd (25 epochs)"."""
    for label, *axes in frame[["cell", *AXES]].itertuples(index=False):
        name = "/".join(axis for axis, column in zip(axes, AXES, strict=True) if column in names)
        yield (name + label.removeprefix("/".join(axes))).strip()


def _shared(columns: dict[str, Column], cells: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Removes columns with a single value, and yields their texts for the title."""
    for name, column in list(columns.items()):
        if not isinstance(column, Metric) and len({*cells[name]}) == 1:
            del columns[name]
            if cells[name][0]:
                yield f"{column.header} {cells[name][0]}"


def write_matrix(store: Store, records: Iterable[Record]) -> Path:
    """Writes matrix.csv and matrix.md of a group and returns the path of the latter."""
    matrix = build(records)
    store.write_derived("matrix.csv", render(matrix, "csv"))
    return store.write_derived("matrix.md", render(matrix, "md"))


def footings(records: Iterable[RecordT]) -> list[list[RecordT]]:
    """Splits records into parts that may be averaged."""
    parts: dict[Key, list[RecordT]] = defaultdict(list)
    for key, runs in grouped(records).items():
        parts[key.footing] += runs
    return list(parts.values())


def pivoted(matrix: Matrix[RecordT], pivot: Pivot) -> Sheet:
    """A pivot table of one metric of a matrix; values of several cells are averaged."""
    differing = {axis for axis in AXES if matrix.frame[axis].nunique() > 1}
    usual = max(combinations(AXES, 2), key=lambda pair: len(differing & set(pair)))
    axes = pivot.axes or usual
    metric = METRICS[pivot.metric]
    found = means(matrix.outcomes, metric, axes)
    rows, heads = (sorted({place[axis] for place in found}) for axis in (0, 1))
    nothing = Mean[RecordT](metric=metric, outcomes=())
    entries = {head: [found.get((row, head), nothing) for row in rows] for head in heads}
    values = [one.value for one in found.values() if one.value is not None and not one.partial]
    top = (max if metric.higher else min)(values, default=None)
    notes = [*averaging_notes(matrix, axes, metric)]
    if any(one.partial for one in found.values()):
        notes.append(PARTIAL)
    same = {name: [matrix.frame[name].iloc[0]] * len(rows) for name in GROUP if rows}
    numbers = {head: [one.value for one in column] for head, column in entries.items()}
    texts = Table(
        title=f"{metric.header}, {' x '.join(axes)} | {matrix.title}",
        columns={axes[0]: COLUMNS[axes[0]]}
        | {head: Column(header=head, kind=metric.kind) for head in heads},
        cells={axes[0]: rows} | {head: [*map(_entry, entries[head])] for head in heads},
        best={
            head: {row for row, one in enumerate(column) if one.value == top is not None}
            for head, column in entries.items()
            if metric.best
        },
    )
    frame = pd.DataFrame(same | {axes[0]: rows} | numbers, dtype=object)
    return Sheet(title=texts.title, numbers=frame, texts=texts, notes=notes)


def _entry(mean: Mean[RecordT]) -> str:
    """The mean, with its deviation if it is of one cell, and "2 of 3" if runs lack a value."""
    sd = mean.outcomes[0].row[f"{mean.metric.name}_sd"] if len(mean.outcomes) == 1 else None
    text, digits = mean.text, mean.metric.decimals((mean.value or 0) * mean.metric.factor)
    if sd is not None:
        text += f" \u00b1 {sd * mean.metric.factor:.{digits}f}"
    return f"{text} ({mean.partial})" if mean.partial else text
