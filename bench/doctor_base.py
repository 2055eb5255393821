"""One thing that the doctor looked at, and how the whole is shown."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.environment import python_environment

Status = Literal["ok", "warn", "fail"]
TRIAL_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What.
        status: "warn" costs something or may mislead; "fail" keeps runs from working.
        message: What was found.
        advice: The line that mends it; "" when there is nothing to mend.
    """

    name: str
    status: Status
    message: str
    advice: str = ""


def render(found: Sequence[Check]) -> str:
    """The checks as text: a line each, the advice below what needs it, and their number."""
    marks = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
    lines = []
    for check in found:
        lines.append(f"{marks[check.status]}  {check.name:<12} {check.message}")
        if check.advice:
            lines.append(f"      {'':<12} -> {check.advice}")
    problems = sum(check.status == "fail" for check in found)
    warnings = sum(check.status == "warn" for check in found)
    lines.append(f"{len(found)} checks, {problems} failed, {warnings} warnings")
    return "\n".join(lines) + "\n"


def python(code: str) -> "subprocess.CompletedProcess[str]":
    """Runs Python code in a process of its own, which finds the packages that this one has.

    Raises:
        subprocess.TimeoutExpired: It takes longer than `TRIAL_TIMEOUT_S`.
    """
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=python_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=TRIAL_TIMEOUT_S,
        check=False,
    )


def last_words(done: "subprocess.CompletedProcess[str]") -> str:
    """The error that ended a process: the last line that names one, else the last line."""
    told = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if not told:
        return f"exit status {done.returncode}"
    errors = [line for line in told if line.split(":")[0].endswith(("Error", "Exception"))]
    return (errors or told)[-1]


__all__ = ["Check", "Status", "last_words", "python", "render"]
