"""`bench merge`: combines several results folders into one; sources are only read.

All sources are checked before anything is written. Repeating the command completes an interrupted
merge.

No record is lost. Records of a run that differ only in their attempt number are the same. Of
different ones, the newest successful one is the run's record and the others are earlier attempts.
A record is written after its artifacts, and a replaced record is first kept as an attempt, so that
a merge which is interrupted at any step and repeated has the same result.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

import msgspec

from bench.cell import distinct_conditions
from bench.errors import UsageError
from bench.record import Record, RecordSummary
from bench.store import locks
from bench.store.artifacts import (
    artifacts,
    copy_artifacts,
    fill_artifacts,
    is_plain,
    picture,
    replace_artifacts,
)
from bench.store.codec import RecordError, digest, quarantine, read_record, read_with_text, to_json
from bench.store.files import (
    StoreError,
    StrangeFile,
    explained,
    make_folder,
    read_file,
    sync_folder,
    write_atomically,
)
from bench.store.groups import REFERENCE, result_folders
from bench.store.loaders_record import LARGEST as LARGEST_LOADERS
from bench.store.loaders_record import LOADERS_FILE, read_loaders
from bench.store.store import Store
from bench.text import Log
from bench.text import count as counted

LOCK = ".merge.lock"
ADVICE = ". Nothing was merged: merge when that has ended"
CHANGES = ("new", "given a newer record", "given files that were missing", "kept as attempts")
FROM_LOADERS = (".csv", ".md")  # derived from loaders.json

OnDamage = Callable[[Path, str], None]  # takes a damaged file and the reason


@dataclass(kw_only=True)
class MergeResult:
    """The result of a merge.

    Args:
        left_out: Number of files that were reported and left out, such as damaged ones.
    """

    groups: dict[str, Counter[str]] = field(default_factory=dict)
    left_out: int = 0

    @property
    def exit_code(self) -> int:
        """1 if something was left out, else 0."""
        return int(self.left_out > 0)


@dataclass(kw_only=True)
class _SourceGroup:
    """A group of a source; `kinds` are sources, fingerprints and scales of its records."""

    folder: Path
    run_ids: set[str] = field(default_factory=set)
    damaged: dict[Path, str] = field(default_factory=dict)
    kinds: set[tuple[str, str, str]] = field(default_factory=set)


def merge(
    sources: Sequence[Path], out: Path, report: Log, refresh: Callable[[Store, Log], None]
) -> MergeResult:
    """Merges all groups of results folders into another results folder.

    Args:
        sources: Results folders, or single groups.
        out: A results folder; created if need be.
        refresh: Rebuilds the derived files of a group.

    Raises:
        UsageError: A source is, contains, or lies in `out`, or groups of the same name hold records
            that no table may mix.
        StoreError: A source does not exist, a record is from a newer version, the folder is in
            use, or something cannot be read or written.
    """
    folders = groups_of(sources, out)
    groups = {name: [_survey(folder) for folder in folders[name]] for name in folders}
    for name, of_name in groups.items():
        _refuse_mixture(name, [*of_name, _survey(out / name)])
        for source in of_name:
            if holder := locks.current_holder(source.folder / ".lock"):
                report(
                    f"{source.folder} is being written ({holder}): its records so far are merged; "
                    "merge again when that has ended"
                )
    result = MergeResult()

    def leave_out(message: str) -> None:
        result.left_out += 1
        report(message)

    with explained(f"make the folder {out}"):
        make_folder(out)
    with locks.held(out / LOCK, notice=report, advice=ADVICE), ExitStack() as stack:
        for name in groups:
            store = Store(out / name)
            store.check_writable()
            stack.enter_context(store.lock(notice=report, advice=ADVICE))
        for name, of_name in groups.items():
            store = Store(out / name)
            result.groups[name] = _merge_group(store, of_name, leave_out, report)
            refresh(store, report)
    return result


def groups_of(sources: Sequence[Path], out: Path) -> dict[str, list[Path]]:
    """The groups of all sources, by their name in `out`: "<group>" or "reference/<group>"."""
    if (out / "records").is_dir():
        raise UsageError(f"{out} is one group: name the results folder that it is to be in")
    groups: dict[str, list[Path]] = {}
    for source in sources:
        _refuse_overlap(source, out)
        below = result_folders(source)
        if not below:
            raise StoreError(f"there are no results under {source}: name what `bench run` wrote")
        for folder in below:
            place = folder.resolve()
            shipped = place.parent.name == REFERENCE  # stays separate from other results
            name = f"{REFERENCE}/{place.name}" if shipped else place.name
            if (out / name).exists() and (out / name).samefile(folder):
                raise UsageError(f"{folder} is itself the group to merge into: name another --out")
            if not any(folder.samefile(other) for other in groups.setdefault(name, [])):
                groups[name].append(folder)
    return dict(sorted(groups.items()))


def _refuse_overlap(source: Path, out: Path) -> None:
    there, here = source.resolve(), out.resolve()
    if there == here:
        raise UsageError(f"{source} cannot be merged into itself: name another --out")
    if there in here.parents:
        raise UsageError(f"--out {out} lies inside of the source {source}: name another one")
    if here in there.parents:
        raise UsageError(f"the source {source} lies inside of --out {out}: name another one")


def _survey(folder: Path) -> _SourceGroup:
    found = _SourceGroup(folder=folder)
    for path in _record_files(folder):
        try:
            record = read_record(RecordSummary, path)
        except RecordError as error:
            found.damaged[path] = str(error)
        else:
            if record is not None:
                found.run_ids.add(record.run_id)
                found.kinds.add((record.cell.source, record.fingerprint, record.cell.scale))
    return found


def _refuse_mixture(name: str, groups: Sequence[_SourceGroup]) -> None:
    """Raises if groups of the same name have different sources or scales."""
    kinds = distinct_conditions(kind for group in groups for kind in group.kinds)
    if len(kinds) > 1:
        folders = ", ".join(str(group.folder) for group in groups if group.kinds)
        raise UsageError(
            f"the group {name} would mix {' and '.join(kinds)} ({folders}): "
            "give each a separate group"
        )


def _merge_group(
    store: Store, sources: Sequence[_SourceGroup], leave_out: Log, report: Log
) -> Counter[str]:
    """Merges the groups of one name; the caller holds the lock of the target group."""
    for source in sources:
        for path, reason in source.damaged.items():
            leave_out(f"{path} is damaged and left out: {reason}")
    changes: Counter[str] = Counter()
    for run_id in sorted(set[str]().union(*(source.run_ids for source in sources))):
        incoming = [
            stored
            for source in sources
            if run_id in source.run_ids
            for stored in stored_records(source.folder, run_id, lambda path, reason: None)
        ]
        if incoming:
            changes.update(merge_run(store.folder, incoming, leave_out))
    for source in sources:
        _merge_examples(source.folder, store, leave_out)
        _merge_loaders(source.folder, store, leave_out, report)
    return changes


def _merge_examples(source: Path, store: Store, leave_out: Log) -> None:
    for path in sorted((source / "examples").glob("*.png")):
        name = f"examples/{path.name}"
        if not (store.folder / name).exists() and is_plain(path):
            if png := picture(path):
                store.write_derived(name, png)
            else:
                leave_out(f"{path} is not a whole picture and left out")


def _merge_loaders(source: Path, store: Store, leave_out: Log, report: Log) -> None:
    path, target = source / LOADERS_FILE, store.folder / LOADERS_FILE
    if not is_plain(path):
        return
    try:
        read_loaders(source)
        content = read_file(path, LARGEST_LOADERS)
    except (StoreError, StrangeFile, OSError) as error:
        leave_out(f"{path} is left out: {error}")
        return
    if not target.exists():
        for derived in map(path.with_suffix, FROM_LOADERS):
            if is_plain(derived):
                store.write_derived(derived.name, read_file(derived, LARGEST_LOADERS))
        store.write_derived(LOADERS_FILE, content)
    elif target.read_bytes() != content:
        report(f"{path} is not merged: {target} holds another measurement")


@dataclass(frozen=True, kw_only=True)
class StoredRecord:
    """A record in a group's folder.

    Args:
        identity: Hash of everything but the attempt number.
        folder: The folder of its artifacts.
        current: Whether it is the run's record there, not an earlier attempt.
    """

    record: Record
    text: bytes
    identity: str
    folder: Path
    current: bool


def stored_records(group: Path, run_id: str, on_damage: OnDamage) -> Iterator[StoredRecord]:
    """The records of a run in a group, the current one first."""
    for path in _record_files(group, run_id):
        try:
            found = read_with_text(Record, path)
        except RecordError as error:
            on_damage(path, str(error))
            continue
        if found is not None:
            record, text = found
            current = path.parent.name != ".attempts"
            yield StoredRecord(
                record=record,
                text=text,
                identity=digest(msgspec.json.decode(text) | {"attempt": 0}),
                folder=group if current else path.with_suffix(""),
                current=current,
            )


def _record_files(group: Path, run_id: str = "*") -> list[Path]:
    """Files of the current and earlier records in a group, for one run or all."""
    records = group / "records"
    earlier = "*.json" if run_id == "*" else f"{run_id}.*.json"
    return [
        *sorted(records.glob(f"{run_id}.json")),
        *sorted((records / ".attempts").glob(earlier)),
    ]


def merge_run(group: Path, incoming: Sequence[StoredRecord], warn: Log) -> Counter[str]:
    """Merges at least one record of one run into a group whose lock the caller holds.

    Returns:
        The number of runs (1) and of each kind of change.
    """
    records, run_id = group / "records", incoming[0].record.run_id
    with locks.serialized(records / ".lock"):
        here = list(
            stored_records(
                group,
                run_id,
                lambda path, reason: warn(quarantine(path, records / ".quarantine", reason)),
            )
        )
        # The order of the sources does not matter: of equal records the first is used.
        ordered = sorted(incoming, key=lambda each: (not each.current, each.record.attempt))
        return _RunMerge(group=group, here=here, incoming=ordered, warn=warn).merge()


@dataclass(frozen=True, kw_only=True)
class _RunMerge:
    """The records of one run: those in the group (`here`) and those to merge into it."""

    group: Path
    here: Sequence[StoredRecord]
    incoming: Sequence[StoredRecord]
    warn: Log

    def merge(self) -> Counter[str]:
        records = [*self.here, *self.incoming]
        best = best_of(records)
        current = next((each for each in self.here if each.current), None)
        if current is not None and current.record.status == "skipped":
            current = None  # not an attempt, so not kept as one
        replaced = current is not None and not _same(current, best)
        taken = Store(self.group).attempt_numbers(records[0].record.run_id)
        if replaced and current is not None and not self._is_attempt(current):
            self._keep(current, _take_number(taken, current.record.attempt), _refuse)
        attempts = [(each, _take_number(taken, each.record.attempt)) for each in self._others(best)]
        filled = best is not None and self._make_current(best, taken)
        for each, number in attempts:
            self._keep(each, number, self.warn)
        new = current is None and best is not None and best not in self.here
        numbers = (int(new), int(replaced), int(filled), len(attempts) + replaced)
        return Counter({"runs": 1} | dict(zip(CHANGES, numbers, strict=True)))

    def _is_attempt(self, stored: StoredRecord) -> bool:
        return any(_same(each, stored) and not each.current for each in self.here)

    def _others(self, best: StoredRecord | None) -> list[StoredRecord]:
        """The incoming records that are new here, except for the best one; oldest first."""
        known = {each.identity for each in (*self.here, *([best] if best else []))}
        others = {
            each.identity: each
            for each in reversed(self.incoming)
            if each.record.status != "skipped" and each.identity not in known
        }
        return sorted(others.values(), key=_age)

    def _make_current(self, best: StoredRecord, taken: set[int]) -> bool:
        """Makes it the run's record; returns whether it was already and only lacked artifacts."""
        was_current = any(each.current and _same(each, best) for each in self.here)
        if not was_current:
            replace_artifacts(
                artifacts(best.folder, best.record), self.group, best.record, self.warn
            )
        filled = False
        for each in self.incoming:
            if _same(each, best):
                found = artifacts(each.folder, each.record)
                filled |= fill_artifacts(found, self.group, best.record, self.warn)
        copies = [each for each in self.here if _same(each, best) and not each.current]
        last = max(taken - {each.record.attempt for each in copies}, default=0)
        text = with_attempt(best.text, max(best.record.attempt, last + 1))
        if not was_current or text != best.text:
            write_atomically(self.group / "records" / f"{best.record.run_id}.json", text)
        for each in copies:
            _remove_attempt(each)
        return was_current and filled

    def _keep(self, stored: StoredRecord, number: int, warn: Log) -> None:
        """Adds a record as an attempt."""
        folder = self.group / "records" / ".attempts" / f"{stored.record.run_id}.{number}"
        copy_artifacts(artifacts(stored.folder, stored.record), folder, warn)
        path = folder.with_name(f"{folder.name}.json")
        write_atomically(path, with_attempt(stored.text, number))


def best_of(records: Sequence[StoredRecord]) -> StoredRecord | None:
    """The newest successful record, else the newest that is current in some folder."""
    current = [each for each in records if each.current]
    for candidates in (
        [each for each in records if each.record.status == "ok"],
        [each for each in current if each.record.status != "skipped"],
        current,
    ):
        if candidates:
            return max(candidates, key=_age)
    return None


def with_attempt(text: bytes, attempt: int) -> bytes:
    """A record's text with another attempt number; unknown fields are kept."""
    plain = msgspec.json.decode(text)
    return text if plain.get("attempt", 1) == attempt else to_json(plain | {"attempt": attempt})


def _remove_attempt(stored: StoredRecord) -> None:
    with explained(f"remove {stored.folder}"):
        if stored.folder.is_dir() and not stored.folder.is_symlink():
            shutil.rmtree(stored.folder)
        stored.folder.with_name(f"{stored.folder.name}.json").unlink(missing_ok=True)
        sync_folder(stored.folder.parent)


def _same(one: StoredRecord, other: StoredRecord | None) -> bool:
    return other is not None and one.identity == other.identity


def _age(stored: StoredRecord) -> tuple[float, str]:
    try:
        finished = datetime.fromisoformat(stored.record.finished).timestamp()
    except (ValueError, OverflowError):  # it never started, or has an invalid time
        finished = 0.0
    return finished, stored.identity


def _take_number(taken: set[int], wanted: int) -> int:
    """The wanted number if it is free, else the smallest free one; adds it to `taken`."""
    number = wanted if wanted not in taken else next(n for n in count(1) if n not in taken)
    taken.add(number)
    return number


def _refuse(message: str) -> None:
    raise StoreError(f"{message}; nothing was replaced")


def summary(result: MergeResult, out: Path) -> str:
    """The changes, one line per group."""
    lines = []
    for name, changes in result.groups.items():
        parts = [f"{out / name}: {counted(changes['runs'], 'run')}"]
        parts += [f"{changes[kind]} {kind}" for kind in CHANGES if changes[kind]]
        lines.append(", ".join(parts) + "\n")
    return "".join(lines)
