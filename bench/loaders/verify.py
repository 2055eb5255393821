"""`bench loaders --verify`: one row for each pipeline x op, tried on this machine."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pandas as pd

from bench.errors import UsageError
from bench.grid.plan import choose_device
from bench.loaders.plan import Options, check, choose_candidates
from bench.machine.environment import Probe
from bench.process import signals_raise
from bench.report.render import csv
from pipelines.catalog import unknown_name

if TYPE_CHECKING:
    from pipelines.verification.checks import Finding

FORMS = ("rich", "md", "csv", "json")


def choose(options: Options, probe: Probe) -> tuple[list[str], str]:
    """The pipelines and the device that were asked for.

    Args:
        options: What was asked for.
        probe: What the device can do.

    Raises:
        UsageError: One of them does not exist, or cannot be had.
    """
    check(options)
    device = choose_device(options.device, probe, [])
    wanted = replace(options, augmentation="none")
    return [candidate.name for candidate in choose_candidates(wanted, device)], device


def verify_all(
    pipelines: Sequence[str], device: str, report: Callable[[str], None]
) -> "Iterator[Finding]":
    """Tries every op on every pipeline, one after the other.

    Args:
        pipelines: Their spellings.
        device: "cuda" or "cpu".
        report: Gets a line before each pipeline, and one after each op that it was tried on.
    """
    from pipelines.verification.checks import TRIED, verify

    for number, spelling in enumerate(pipelines, start=1):
        report(f"[{number}/{len(pipelines)}] verifying {spelling}")
        for op in TRIED:
            start = time.monotonic()
            finding = verify(spelling, op, device)
            if finding.status != "skipped":
                said = f": {finding.problem}" if finding.problem else ""
                report(f"  {finding.status:<5} {op}, {time.monotonic() - start:.0f} s{said}")
            yield finding


def show(
    findings: "Iterable[Finding]",
    form: str,
    report: Callable[[str], None],
    put: Callable[[str], None],
) -> int:
    """Gathers the findings and puts the table; one that is stopped shows what was found so far.

    Returns:
        The exit code: 0, 1 where a promise was not kept, 130 where it was stopped.

    Raises:
        UsageError: There is no such form.
    """
    check_format(form)
    found = []
    stopped = False
    try:
        with signals_raise():
            for finding in findings:
                found.append(finding)
    except KeyboardInterrupt:
        stopped = True
    if found:
        put(render(found, form))
    if stopped:
        report("stopped: the rows that are missing were not tried")
    return 130 if stopped else int(any_wrong(found))


def check_format(form: str) -> None:
    """Refuses an unknown form.

    Raises:
        UsageError: There is no such form.
    """
    if form not in FORMS:
        raise UsageError(unknown_name("table format", form, list(FORMS)))


def render(findings: "Sequence[Finding]", form: str) -> str:
    """The findings as text.

    Raises:
        UsageError: There is no such form.
    """
    check_format(form)
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
    said = ", ".join(f"{number} {status}" for status, number in counts.items())
    return f"{table}\n\n{said}\n"


def any_wrong(findings: "Sequence[Finding]") -> bool:
    """Whether a promise was not kept."""
    return any(finding.status == "wrong" for finding in findings)
