"""`bench loaders --verify`: checks each op of each pipeline on this machine."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pandas as pd

from bench.grid.plan import choose_device
from bench.loaders.plan import Options, check, choose_candidates
from bench.machine.environment import Probe
from bench.process import signals_raise
from bench.report.columns import Column
from bench.report.render import ABSENT, Form, Table, csv
from bench.text import Log

if TYPE_CHECKING:
    from pipelines.verification.checks import Finding

COLUMNS = {
    name: Column(name=name, header=name, footnote="always" if name == "problem" else "")
    for name in ("pipeline", "op", "status", "error", "draws", "problem")
}


def choose(options: Options, probe: Probe) -> tuple[list[str], str]:
    """The requested pipelines and device.

    Raises:
        UsageError: One of them does not exist or is unavailable.
    """
    check(options)
    device = choose_device(options.device, probe, [])
    wanted = replace(options, augmentation="none")
    return [candidate.name for candidate in choose_candidates(wanted, device)], device


def verify_all(pipelines: Sequence[str], device: str, log: Log) -> "Iterator[Finding]":
    """Checks every op of every pipeline, one after another."""
    from pipelines.verification.checks import POLICIES, verify

    for number, spelling in enumerate(pipelines, start=1):
        log(f"[{number}/{len(pipelines)}] verifying {spelling}")
        for op in POLICIES:
            start = time.monotonic()
            finding = verify(spelling, op, device)
            if finding.status != "skipped":
                problem = f": {finding.problem}" if finding.problem else ""
                log(f"  {finding.status:<5} {op}, {time.monotonic() - start:.0f} s{problem}")
            yield finding


def show(findings: "Iterable[Finding]", log: Log, write: "Callable[[list[Finding]], None]") -> int:
    """Collects the findings and has them written, also after an interruption.

    Returns:
        The exit code: 0, 1 if a check failed, 130 if interrupted.
    """
    collected: list[Finding] = []
    stopped = False
    try:
        with signals_raise():
            for finding in findings:
                collected.append(finding)
    except KeyboardInterrupt:
        stopped = True
    if collected:
        write(collected)
    if stopped:
        log("interrupted: the missing rows were not checked")
    return 130 if stopped else int(any_wrong(collected))


def render(
    findings: "Sequence[Finding]", form: Form, *, width: int | None = None, color: bool = False
) -> str:
    """The findings as text."""
    rows = [asdict(finding) for finding in findings]
    if form == "json":
        return json.dumps(rows, indent=1) + "\n"
    if form == "csv":
        return csv(pd.DataFrame(rows))
    cells = {name: [str(row[name]) for row in rows] for name in COLUMNS}
    cells["error"] = [ABSENT if one.error is None else f"{one.error:.3f}" for one in findings]
    totals = Counter(finding.status for finding in findings)
    table = Table(
        title="ops of each pipeline against a plain reference; error: worst pixel, of 255",
        columns=COLUMNS,
        cells=cells,
        notes=[", ".join(f"{number} {status}" for status, number in totals.most_common())],
    )
    return table.markdown() if form == "md" else table.terminal(width=width, color=color)


def any_wrong(findings: "Sequence[Finding]") -> bool:
    """Whether a check failed."""
    return any(finding.status == "wrong" for finding in findings)
