"""Which runs share a row of the matrix: those that one command could have trained.

The cell, the entries' versions, the images, the machine and torch must agree.

What the optimizer of a cell was set to, told where rows of equal names differ in it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from bench.cell import FIELDS, Cell, Version, is_default, number_of, plugins_of
from bench.record import RecordSummary, RecordT

_TITLE = (
    "machine",
    *sorted((name for name in FIELDS if FIELDS[name].title), key=lambda name: FIELDS[name].title),
    "torch",
)


_Place = tuple[int, tuple[tuple[str, Version], ...], str, str, str]


@dataclass(frozen=True, kw_only=True)
class Key:
    """What runs must have in common to share a row."""

    cell: Cell
    versions: tuple[tuple[str, Version], ...]
    fingerprint: str
    machine: str
    torch: str

    def parts(self) -> dict[str, str]:
        """What may differ between the rows of one table beside the axes, as people read it."""
        parts = self.cell.labels()
        parts["epochs"] = "1 epoch" if self.cell.epochs == 1 else parts["epochs"]
        if not self.cell.holds_out:
            parts["target_accuracy"] = ""
        parts |= {kind: f"{kind} v{number_of(version)}" for kind, version in self.versions}
        parts["plugins"] = ", ".join(plugins_of(dict(self.versions)))
        parts["fingerprint"] = f"images {self.fingerprint[:8]}"
        parts["machine"] = self.machine
        parts["torch"] = f"torch {self.torch}" if self.torch else ""
        return parts

    def told(self, names: Sequence[str]) -> list[str]:
        """Those of the parts, and only those that are known."""
        parts = self.parts()
        return [parts[name] for name in names if parts.get(name)]


def grouped(records: Iterable[RecordT]) -> dict[Key, list[RecordT]]:
    """The runs of each row of the matrix."""
    found = list(records)
    usual_machine = _usual(_machine(record) for record in found)
    usual_torch = _usual(str(record.environment.get("torch") or "") for record in found)
    cells: dict[Cell, Cell] = {}
    identities: dict[Cell, Cell] = {}
    rows: dict[_Place, list[RecordT]] = defaultdict(list)
    for record in found:
        cell = cells.get(record.cell)
        if cell is None:
            cell = record.cell.identity
            cells[record.cell] = cell = identities.setdefault(cell, cell)
        place = (
            id(cell),  # to hash a cell again goes through all its fields
            tuple(sorted(record.versions.items())),
            record.fingerprint,
            _machine(record) or usual_machine,  # a run that never started knows neither
            str(record.environment.get("torch") or usual_torch),
        )
        rows[place].append(record)
    return {
        Key(
            cell=cells[runs[0].cell],
            versions=versions,
            fingerprint=fingerprint,
            machine=machine,
            torch=torch,
        ): runs
        for (_, versions, fingerprint, machine, torch), runs in rows.items()
    }


def _machine(record: RecordSummary) -> str:
    gpu, cpu = record.environment.get("gpu"), record.environment.get("cpu")
    if gpu or not cpu:
        return str(gpu or "")
    return f"{cpu}, {record.environment.get('cores')} cores"


def _usual(values: Iterable[str]) -> str:
    counts = Counter(value for value in values if value)
    return counts.most_common(1)[0][0] if counts else ""


def budgets(keys: Sequence[Key]) -> tuple[list[str], list[str]]:
    """What all keys share, as words for the title, and the names of the parts that differ."""
    if not keys:
        return [], []
    values: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        for name, text in key.parts().items():
            values[name].add(text)
    differing = [name for name, texts in values.items() if len(texts) > 1]
    cell, first = keys[0].cell, keys[0].parts()
    quiet = {name for name, info in FIELDS.items() if info.quiet}
    quiet = {name for name in quiet if is_default(name, getattr(cell, name))}
    common = [first[name] for name in _TITLE if name not in {*differing, *quiet} and first[name]]
    return common, differing


def differing_settings(cells: Sequence[Cell]) -> dict[Cell, list[str]]:
    """Each cell's settings that another cell of the same name has not: "lr 0.1"."""
    same: dict[str, list[dict[str, str]]] = defaultdict(list)
    for cell in cells:
        same[cell.name].append(settings(cell))
    return {
        cell: [
            f"{name} {value}"
            for name, value in settings(cell).items()
            if any(other.get(name) != value for other in same[cell.name])
        ]
        for cell in cells
    }


def settings(cell: Cell) -> dict[str, str]:
    """The recipe by name, the optimizer's own options beside the rest; none for old records."""
    if cell.recipe is None:
        return {}
    plain = msgspec.to_builtins(cell.recipe)
    plain |= dict(plain.pop("options"))
    plain.pop("origin")
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in plain.items()
    }
