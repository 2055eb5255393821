"""Recalculates times to accuracy for another target, from the recorded curves."""

from collections.abc import Iterable
from dataclasses import replace

from bench.cell import Cell
from bench.errors import UsageError
from bench.record import Record, time_to_accuracy_s


def retarget(records: Iterable[Record], target: float) -> tuple[list[Record], str]:
    """The records with another target, a validation accuracy in (0, 1], and a note about it.

    Of runs that differed only in their target, the one that ended last is kept.

    Raises:
        UsageError: The target is not in (0, 1].
    """
    if not 0 < target <= 1:
        raise UsageError(f"--target is a share in (0, 1], such as 0.9 for 90 %, got {target:g}")
    found = list(records)
    kept: dict[tuple[Cell, object, int], Record] = {}
    for record in sorted(found, key=lambda record: (record.status == "ok", record.finished)):
        changed = _with_target(record, target)
        versions = tuple(sorted(record.versions.items()))
        kept[changed.cell.identity, (versions, record.fingerprint), record.seed] = changed
    own = sorted({record.cell.target_accuracy for record in found})
    note = (
        f"time to accuracy was recalculated from the curves for {target:.1%} validation accuracy; "
        f"the runs were made with {', '.join(f'{value:.1%}' for value in own)}"
    )
    if left_out := len(found) - len(kept):
        note += f"; {left_out} runs that differed from others only in their target are left out"
    return list(kept.values()), note


def _with_target(record: Record, target: float) -> Record:
    metrics = record.metrics
    share = None if metrics is None else metrics.commonest_share
    reached_s = time_to_accuracy_s(record.curve, target, share)
    if metrics is not None:
        compiled_s = None if reached_s is None else reached_s + record.timings.once_s
        metrics = replace(
            metrics, time_to_accuracy_s=reached_s, time_to_accuracy_with_compile_s=compiled_s
        )
    return replace(record, cell=replace(record.cell, target_accuracy=target), metrics=metrics)
