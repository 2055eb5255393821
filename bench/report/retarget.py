"""Records as they would be for another target: time to accuracy found anew in their curves."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bench.cell import Cell
from bench.reaching import time_to_accuracy_s
from bench.record import Record
from bench.report.columns import TableError


@dataclass(frozen=True, kw_only=True)
class Retargeted:
    """Records for another target.

    Args:
        records: Of which no two are the same cell and seed.
        note: What was done, for the caption.
    """

    records: list[Record]
    note: str


def retarget(records: Iterable[Record], target: float) -> Retargeted:
    """The records with `target`, a validation accuracy in (0, 1], in place of their own.

    Runs that differed in nothing but the target would now count twice as one seed: the one that
    ended last stays, and the note says how many were left out.

    Raises:
        TableError: The target is no share in (0, 1].
    """
    if not 0 < target <= 1:
        raise TableError(f"--target is a share in (0, 1], as in 0.9 for 90 %, got {target:g}")
    found = list(records)
    kept: dict[tuple[Cell, object, int], Record] = {}
    for record in sorted(found, key=lambda record: (record.status == "ok", record.finished)):
        changed = _with(record, target)
        versions = tuple(sorted(record.versions.items()))
        kept[changed.cell.identity, (versions, record.fingerprint), record.seed] = changed
    own = sorted({record.cell.target_accuracy for record in found})
    note = (
        f"time to accuracy is found anew in the curves for {target:.1%} validation accuracy; "
        f"the runs were made with {', '.join(f'{one:.1%}' for one in own)}"
    )
    if left_out := len(found) - len(kept):
        note += f"; {left_out} runs that differed from others in their target only are left out"
    return Retargeted(records=list(kept.values()), note=note)


def _with(record: Record, target: float) -> Record:
    cell = replace(record.cell, target_accuracy=target)
    if record.metrics is None:
        return replace(record, cell=cell)
    reached_s = time_to_accuracy_s(record.curve, target)
    with_s = None if reached_s is None else reached_s + record.timings.once_s
    metrics = replace(
        record.metrics,
        time_to_accuracy_s=reached_s,
        time_to_accuracy_with_compile_s=with_s,
    )
    return replace(record, cell=cell, metrics=metrics)
