"""`bench check`: looks at every file of a results folder, and makes anew what is derived.

A record is never removed and never changed; one that is damaged is set aside, as whoever reads it
does.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from bench.check import derived, files
from bench.check import derived as mending
from bench.check.files import Finding, Level
from bench.errors import UsageError
from bench.record import Record
from bench.store import locks
from bench.store.files import StoreError
from bench.store.groups import result_folders
from bench.store.store import Store
from bench.text import in_one_line
from pipelines.catalog import unknown_name

FORMS = ("rich", "json")
ALIKE = 3  # of more findings that say the same, the rest is counted
DRY = "leave --dry-run out to mend it"
LEVELS: dict[Level, str] = {
    "wrong": "wrong",
    "stale": "not up to date",
    "mended": "mended",
    "note": "to know of",
}

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was looked at and found.

    Args:
        groups: How many group folders.
        records: How many records that can be used.
        findings: In the order of the folders.
    """

    groups: int
    records: int
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 when all is well, or was mended; else 1."""
        return int(any(found.level in ("wrong", "stale") for found in self.findings))


def check(results: Path, *, dry_run: bool, data_dir: Path | None, report: Report) -> Checked:
    """Looks at all groups at or below a results folder.

    Args:
        results: The folder, or one group in it.
        dry_run: Whether to write nothing.
        data_dir: Where sources are cached, for a page that is made anew.
        report: Gets lines about what is being made.

    Raises:
        StoreError: There is no such folder, or no group in it.
    """
    found = result_folders(results)
    if not found:
        raise StoreError(f"there are no results under {results}: `bench run` makes some")
    records, findings = 0, list[Finding]()
    for folder in found:
        count, more = _check_group(Store(folder), dry_run, data_dir, report)
        records += count
        findings += more
    return Checked(groups=len(found), records=records, findings=tuple(findings))


def _check_group(
    store: Store, dry_run: bool, data_dir: Path | None, report: Report
) -> tuple[int, list[Finding]]:
    folder = store.folder / "records"
    read, attempts = files.read_all(folder), files.read_all(folder / ".attempts")
    records = list(read.records.values())
    findings = [
        *files.in_records(store, read),
        *files.in_attempts(store, read, attempts),
        *files.in_quarantine(store, read),
        *files.in_predictions(store, read),
        *files.in_examples(store),
        *derived.in_loaders(store),
    ]
    damaged = {**read.damaged, **attempts.damaged}
    holder = locks.current_holder(store.folder / ".lock")
    if holder:
        findings.append(_in_use(store.folder, holder))
    else:
        findings += [*files.left_by_the_dead(store), *_not_up_to_date(store, records)]
    stale = [one for one in findings if one.level == "stale"]
    findings = [one for one in findings if one.level != "stale"]
    if holder or dry_run or not (stale or damaged):
        findings += _damaged(damaged)
        findings += [replace(one, advice=DRY) for one in stale]
    else:
        findings += _mended(store, damaged, stale, data_dir, report)
    return len(records), findings


def _in_use(folder: Path, holder: locks.Holder) -> Finding:
    advice = "derived files are left to it"
    if holder.is_alive() is None:
        advice += f"; if it has ended, delete {locks.note_of(folder / '.lock')}"
    return Finding(
        level="note", path=folder, problem=f"is in use: already running ({holder})", advice=advice
    )


def _not_up_to_date(store: Store, records: Sequence[Record]) -> Iterator[Finding]:
    yield from derived.in_tables(store, records)
    yield from derived.in_page(store, records)
    if store.tensorboard_folder().is_dir():  # else its libraries need not be imported
        from bench.check.derived import in_events

        yield from in_events(store, records)


def _damaged(damaged: Mapping[Path, str]) -> Iterator[Finding]:
    for path, reason in damaged.items():
        there = path.is_symlink() or path.exists()
        where = "" if there else f" (set aside in {path.parent}/.quarantine)"
        yield Finding(level="wrong", path=path, problem=reason + where, advice=files.AGAIN)


def _mended(
    store: Store,
    damaged: Mapping[Path, str],
    stale: Sequence[Finding],
    data_dir: Path | None,
    report: Report,
) -> Iterator[Finding]:
    """What was done; of what could not be done, the reason."""
    problem = "it is no other than before"
    left: set[Path] = set()
    try:
        store.check_writable()
        with store.lock(notice=lambda said: None):
            mending.set_aside(store, damaged)
            mending.mend(store, stale, data_dir, report)
        records = list(files.read_all(store.folder / "records").records.values())
        again = (*files.left_by_the_dead(store), *_not_up_to_date(store, records))
        left = {one.path for one in (*again, *derived.in_loaders(store)) if one.level == "stale"}
    except (StoreError, UsageError) as error:
        problem, left = str(error), {one.path for one in stale}
    yield from _damaged(damaged)
    for one in stale:
        if one.path in left:
            yield replace(one, advice=f"it could not be mended: {problem}")
        else:
            yield replace(one, level="mended")


def render(checked: Checked, form: str) -> str:
    """The findings, a line each, and a last line on all of them; or as JSON.

    Raises:
        UsageError: An unknown form.
    """
    check_form(form)
    if form == "json":
        plain = {
            "groups": checked.groups,
            "records": checked.records,
            "findings": [
                {**asdict(finding), "path": str(finding.path)} for finding in checked.findings
            ],
        }
        return json.dumps(plain, indent=1) + "\n"
    lines = []
    for _, alike in groupby(checked.findings, key=_kind):
        found = list(alike)
        shown = found if len(found) <= ALIKE + 1 else found[:ALIKE]
        lines += [in_one_line(str(finding)) for finding in shown]
        if len(found) > len(shown):
            lines.append(f"{found[0].level:<6} and {len(found) - len(shown)} more like it")
    return "\n".join([*lines, _told(checked)]) + "\n"


def _kind(finding: Finding) -> tuple[str, Path, str, str]:
    return finding.level, finding.path.parent, finding.problem, finding.advice


def _told(checked: Checked) -> str:
    counts = Counter(finding.level for finding in checked.findings)
    said = [f"{counts[level]} {word}" for level, word in LEVELS.items() if counts[level]]
    groups = "1 group" if checked.groups == 1 else f"{checked.groups} groups"
    records = "1 record" if checked.records == 1 else f"{checked.records} records"
    return f"{records} in {groups}: {', '.join(said) or 'all is well'}"


def check_form(form: str) -> None:
    """Refuses a form that there is none of.

    Raises:
        UsageError: It is unknown.
    """
    if form not in FORMS:
        raise UsageError(unknown_name("format", form, list(FORMS)))
