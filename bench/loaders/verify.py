"""`bench loaders --verify`: checks each op of each pipeline on this machine."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pandas as pd

from bench.errors import check_choice
from bench.grid.plan import choose_device
from bench.loaders.plan import Options, check, choose_candidates
from bench.machine.environment import Probe
from bench.process import signals_raise
from bench.report.render import csv
from bench.text import Log

if TYPE_CHECKING:
    from pipelines.verification.checks import Finding

FORMS = ("rich", "md", "csv", "json")


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


def show(findings: "Iterable[Finding]", form: str, log: Log, write: Log) -> int:
    """Collects the findings and writes their table, also after an interruption.

    Args:
        log: Called with lines about progress.
        write: Called with the table.

    Returns:
        The exit code: 0, 1 if a check failed, 130 if interrupted.

    Raises:
        UsageError: The format is unknown.
    """
    check_choice("table format", form, FORMS)
    collected = []
    stopped = False
    try:
        with signals_raise():
            for finding in findings:
                collected.append(finding)
    except KeyboardInterrupt:
        stopped = True
    if collected:
        write(render(collected, form))
    if stopped:
        log("interrupted: the missing rows were not checked")
    return 130 if stopped else int(any_wrong(collected))


def render(findings: "Sequence[Finding]", form: str) -> str:
    """The findings as text."""
    rows = [asdict(finding) for finding in findings]
    if form == "json":
        return json.dumps(rows, indent=1) + "\n"
    frame = pd.DataFrame(rows)
    if form == "csv":
        return csv(frame)
    shown = pd.DataFrame(
        {
            "pipeline": frame["pipeline"],
            "op": frame["op"],
            "": frame["status"],
            "worst pixel of 255": [
                "-" if pd.isna(error) else f"{error:.3f}" for error in frame["error"]
            ],
            "draws": frame["draws"],
            "problem": frame["problem"],
        }
    )
    table = shown.to_markdown(
        index=False, tablefmt="pipe" if form == "md" else "simple", disable_numparse=True
    )
    counts = frame["status"].value_counts()
    totals = ", ".join(f"{number} {status}" for status, number in counts.items())
    return f"{table}\n\n{totals}\n"


def any_wrong(findings: "Sequence[Finding]") -> bool:
    """Whether a check failed."""
    return any(finding.status == "wrong" for finding in findings)
