"""`bench check`: checks every file of a results folder and rebuilds derived files.

Records are never removed or changed; damaged ones are moved to quarantine, as by any reader.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from bench.check import derived, files
from bench.check.files import Finding, Level
from bench.errors import UsageError
from bench.store import locks
from bench.store.files import StoreError
from bench.store.groups import result_folders
from bench.store.store import Store
from bench.text import Log, count, in_one_line

MAX_SIMILAR = 3  # identical findings to print before counting the rest
DRY_RUN_ADVICE = "leave --dry-run out to rebuild it"
LEVELS: dict[Level, str] = {
    "wrong": "wrong",
    "stale": "out of date",
    "fixed": "fixed",
    "note": "worth knowing",
}


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check."""

    groups: int
    records: int
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 if there were no problems or all were fixed, else 1."""
        return int(any(finding.level in ("wrong", "stale") for finding in self.findings))


def check(results: Path, *, dry_run: bool, report: Log) -> CheckResult:
    """Checks all groups at or below a results folder; StoreError if there are none."""
    folders = result_folders(results)
    if not folders:
        raise StoreError(f"there are no results under {results}: `bench run` makes some")
    records, findings = 0, list[Finding]()
    for folder in folders:
        group_records, group_findings = _check_group(Store(folder), dry_run, report)
        records += group_records
        findings += group_findings
    return CheckResult(groups=len(folders), records=records, findings=tuple(findings))


def _check_group(store: Store, dry_run: bool, report: Log) -> tuple[int, list[Finding]]:
    folder = store.folder / "records"
    read, attempts = files.read_all(folder), files.read_all(folder / ".attempts")
    records = list(read.records.values())
    damaged = {**read.damaged, **attempts.damaged}
    findings = [
        *files.check_records(store, read),
        *files.check_attempts(read, attempts),
        *files.check_quarantine(store, read),
        *files.check_predictions(store, read),
        *files.check_examples(store),
        *derived.check_loaders(store),
    ]
    holder = locks.current_holder(store.folder / ".lock")
    if holder:
        findings.append(_in_use(store.folder, holder))
    else:
        findings += [*files.check_leftovers(store), *derived.check_derived(store, records)]
    stale = [finding for finding in findings if finding.level == "stale"]
    findings = [finding for finding in findings if finding.level != "stale"]
    if holder or dry_run or not (stale or damaged):
        findings += _damaged(damaged)
        findings += [replace(finding, advice=DRY_RUN_ADVICE) for finding in stale]
    else:
        findings += _fix(store, damaged, stale, report)
    return len(records), findings


def _in_use(folder: Path, holder: locks.Holder) -> Finding:
    advice = "derived files are left to it"
    if holder.is_alive() is None:
        advice += f"; if it has ended, delete {locks.note_of(folder / '.lock')}"
    return Finding("note", folder, f"is in use: already running ({holder})", advice)


def _damaged(damaged: Mapping[Path, str]) -> Iterator[Finding]:
    for path, reason in damaged.items():
        there = path.is_symlink() or path.exists()
        where = "" if there else f" (moved to {path.parent}/.quarantine)"
        yield Finding("wrong", path, reason + where, files.RUN_AGAIN)


def _fix(
    store: Store, damaged: Mapping[Path, str], stale: Sequence[Finding], report: Log
) -> Iterator[Finding]:
    """Moves damaged records away and rebuilds derived files."""
    problem = "it is as before"
    remaining: set[Path] = set()
    try:
        store.check_writable()
        with store.lock(notice=lambda message: None):
            derived.quarantine(store, damaged)
            derived.rebuild(store, stale, report)
        records = list(files.read_all(store.folder / "records").records.values())
        again = (
            *files.check_leftovers(store),
            *derived.check_derived(store, records),
            *derived.check_loaders(store),
        )
        remaining = {finding.path for finding in again if finding.level == "stale"}
    except (StoreError, UsageError) as error:
        problem, remaining = str(error), {finding.path for finding in stale}
    yield from _damaged(damaged)
    for finding in stale:
        if finding.path in remaining:
            yield replace(finding, advice=f"it could not be rebuilt: {problem}")
        else:
            yield replace(finding, level="fixed")


def render(result: CheckResult, form: str) -> str:
    """The findings, one per line, and a summary; or JSON."""
    if form == "json":
        plain = asdict(result)
        for finding in plain["findings"]:
            finding["path"] = str(finding["path"])
        return json.dumps(plain, indent=1) + "\n"
    lines = []
    for _, group in groupby(result.findings, key=_kind):
        alike = list(group)
        shown = alike if len(alike) <= MAX_SIMILAR + 1 else alike[:MAX_SIMILAR]
        lines += [in_one_line(str(finding)) for finding in shown]
        if len(alike) > len(shown):
            lines.append(f"{alike[0].level:<6} and {len(alike) - len(shown)} more like it")
    return "\n".join([*lines, _summary(result)]) + "\n"


def _kind(finding: Finding) -> tuple[str, Path, str, str]:
    return finding.level, finding.path.parent, finding.problem, finding.advice


def _summary(result: CheckResult) -> str:
    numbers = Counter(finding.level for finding in result.findings)
    parts = [f"{numbers[level]} {words}" for level, words in LEVELS.items() if numbers[level]]
    checked = f"{count(result.records, 'record')} in {count(result.groups, 'group')}"
    return f"{checked}: {', '.join(parts) or 'all is well'}"
