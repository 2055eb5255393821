"""`bench merge`: results folders brought together in one, by group; sources are only read.

Everything is looked at before anything is written. What a process that dies leaves undone, the same
command does when it is given again; see `bench.store.merge` on the records of one run.

The records of one run from several folders, brought together in one: none is lost.

Records that differ in nothing but the number of their attempt are the same. Of different ones the
newest that ended well is the run's record, the others are among its attempts. In whatever step a
process that does this dies, doing it again has the same end: a record is written last of all that
belongs to it, and one that it replaces is among the attempts before.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

import msgspec

from bench.errors import UsageError
from bench.record import Record, RecordSummary
from bench.store import locks
from bench.store.artifacts import Warn, artifacts, copy, fill, is_plain, picture, replace
from bench.store.codec import (
    RecordError,
    digest,
    quarantine,
    read_record,
    read_with_text,
    to_json,
)
from bench.store.files import (
    StoreError,
    StrangeFile,
    explained,
    make_folder,
    read_file,
    settle,
    write_atomically,
)
from bench.store.groups import REFERENCE, result_folders
from bench.store.loaders_record import FILE as LOADERS
from bench.store.loaders_record import LARGEST as LARGEST_LOADERS
from bench.store.loaders_record import read as read_loaders
from bench.store.locks import serialized
from bench.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Found:
    """A record as it was found.

    Args:
        record: What it says.
        content: The bytes of its file.
        mark: Names what it says, whatever the number of its attempt.
        base: Folder of what belongs to it.
        present: Whether it is its run's record there, and no earlier attempt.
    """

    record: Record
    content: bytes
    mark: str
    base: Path
    present: bool


@dataclass(frozen=True, kw_only=True)
class United:
    """What was done.

    Args:
        name: Of the run.
        new: Whether the folder had no record of it.
        replaced: Whether it had another, which is among the attempts now.
        attempts: Records that came in among the attempts.
        filled: Whether files that belong to the record were lacking and came in.
        different: How many different records of it there are, attempts of old left out.
        identical: Whether several folders had the same one.
    """

    name: str
    new: bool
    replaced: bool
    attempts: int
    filled: bool
    different: int
    identical: bool

    @property
    def changed(self) -> bool:
        """Whether anything came in."""
        return self.new or self.replaced or self.attempts > 0 or self.filled


def records_in(group: Path, run_id: str = "*") -> list[Path]:
    """Files of the present and earlier records in a group, of one run or of all."""
    records = group / "records"
    earlier = "*.json" if run_id == "*" else f"{run_id}.*.json"
    return [
        *sorted(records.glob(f"{run_id}.json")),
        *sorted((records / ".attempts").glob(earlier)),
    ]


def found_in(group: Path, run_id: str, on_damage: Callable[[Path, str], None]) -> list[Found]:
    """The records of a run in a group, its present one first.

    Raises:
        StoreError: One cannot be read, or a newer version of the suite wrote it.
    """
    return [
        one
        for path in records_in(group, run_id)
        if (one := _found(path, group, on_damage)) is not None
    ]


def _found(path: Path, group: Path, on_damage: Callable[[Path, str], None]) -> Found | None:
    try:
        whole = read_with_text(Record, path)
    except RecordError as error:
        on_damage(path, str(error))
        return None
    if whole is None:
        return None
    record, content = whole
    plain = msgspec.json.decode(content) | {"attempt": 0}
    present = path.parent.name != ".attempts"
    return Found(
        record=record,
        content=content,
        mark=digest(plain),
        base=group if present else path.with_suffix(""),
        present=present,
    )


def unite(group: Path, incoming: Sequence[Found], warn: Warn) -> United | None:
    """Brings records of one run into a group, for who holds its lock; None where there are none.

    Args:
        group: Where to.
        incoming: Records of the run from elsewhere.
        warn: Is told of what is left out.

    Raises:
        StoreError: Something cannot be read or written.
    """
    if not incoming:
        return None
    records = group / "records"
    with serialized(records / ".lock"):
        here = found_in(
            group,
            incoming[0].record.run_id,
            lambda path, reason: warn(quarantine(path, records / ".quarantine", reason)),
        )
        # The same end in whatever order folders are named: of equal ones the first is taken.
        ordered = sorted(incoming, key=lambda one: (not one.present, one.record.attempt))
        return _Uniting(group=group, here=here, incoming=ordered, warn=warn).carry_out()


@dataclass(frozen=True, kw_only=True)
class _Uniting:
    """One run's records on their way."""

    group: Path
    here: Sequence[Found]
    incoming: Sequence[Found]
    warn: Warn

    def carry_out(self) -> United:
        every = [*self.here, *self.incoming]
        current = next((one for one in self.here if one.present), None)
        if current is not None and current.record.status == "skipped":
            current = None  # no attempt, and no reason to keep it beside one
        best = best_of(every)
        taken = _numbers(self.group, every[0].record.run_id)
        replaced = current is not None and current.mark != _mark(best)
        if replaced and current is not None and not self._kept(current.mark):
            taken.add(self._keep(current, _free(taken, current.record.attempt), _refuse))
        others = self._others(best)
        numbers: dict[str, int] = {}
        for one in others:
            numbers[one.mark] = _free(taken, one.record.attempt)
            taken.add(numbers[one.mark])
        filled = best is not None and self._place(best, taken)
        for one in others:
            self._keep(one, numbers[one.mark], self.warn)
        presents = [one.mark for one in every if one.present and one.record.status != "skipped"]
        return United(
            name=every[0].record.name,
            new=best is not None and best not in self.here and current is None,
            replaced=replaced,
            attempts=len(others),
            filled=filled,
            different=len(set(presents)),
            identical=len(set(presents)) < len(presents),
        )

    def _kept(self, mark: str) -> bool:
        """Whether it is among the attempts here."""
        return any(one.mark == mark and not one.present for one in self.here)

    def _others(self, best: Found | None) -> list[Found]:
        """What comes in and is not the run's record, oldest first."""
        known = {_mark(best), *(one.mark for one in self.here)}
        found = {
            one.mark: one
            for one in reversed(self.incoming)
            if one.record.status != "skipped" and one.mark not in known
        }
        return sorted(found.values(), key=_age)

    def _place(self, best: Found, taken: set[int]) -> bool:
        """Makes it the run's record, with the last number; whether it was, and lacked files."""
        was = any(one.present and one.mark == best.mark for one in self.here)
        if not was:
            replace(artifacts(best.base, best.record), self.group, best.record, self.warn)
        filled = False
        for one in self.incoming:
            if one.mark == best.mark:
                found = artifacts(one.base, one.record)
                filled |= fill(found, self.group, best.record, self.warn)
        again = [one for one in self.here if one.mark == best.mark and not one.present]
        last = max(taken - {one.record.attempt for one in again}, default=0)
        content = numbered(best.content, max(best.record.attempt, last + 1))
        path = self.group / "records" / f"{best.record.run_id}.json"
        if not was or content != best.content:
            write_atomically(path, content)
        for one in again:
            self._drop(one)
        return was and filled

    def _keep(self, one: Found, number: int, warn: Warn) -> int:
        """Puts a record among the attempts; its number."""
        path = self.group / "records" / ".attempts" / f"{one.record.run_id}.{number}.json"
        copy(artifacts(one.base, one.record), path.with_suffix(""), warn)
        write_atomically(path, numbered(one.content, number))
        return number

    def _drop(self, one: Found) -> None:
        """Removes an attempt that has become the run's record."""
        with explained(f"remove {one.base}"):
            if one.base.is_dir() and not one.base.is_symlink():
                shutil.rmtree(one.base)
            one.base.with_name(f"{one.base.name}.json").unlink(missing_ok=True)
            settle(one.base.parent)


def best_of(found: Sequence[Found]) -> Found | None:
    """The newest that ended well, else the newest that is some folder's record of the run."""
    present = [one for one in found if one.present]
    for these in (
        [one for one in found if one.record.status == "ok"],
        [one for one in present if one.record.status != "skipped"],
        present,
    ):
        if these:
            return max(these, key=_age)
    return None


def numbered(content: bytes, attempt: int) -> bytes:
    """The record with another number; all else, also what this version does not know, stays."""
    plain = msgspec.json.decode(content)
    if plain.get("attempt", 1) == attempt:
        return content
    return to_json(plain | {"attempt": attempt})


def _age(one: Found) -> tuple[float, str]:
    try:
        finished = datetime.fromisoformat(one.record.finished).timestamp()
    except (ValueError, OverflowError):  # never begun, or not written by the suite
        finished = 0.0
    return finished, one.mark


def _mark(one: Found | None) -> str:
    return one.mark if one else ""


def _numbers(group: Path, run_id: str) -> set[int]:
    """Numbers of all attempts, also of damaged ones: none is given again."""
    names = [path.name for path in (group / "records" / ".attempts").glob(f"{run_id}.*.json")]
    return {int(number) for name in names if (number := name.split(".")[1]).isdecimal()}


def _free(taken: set[int], wanted: int) -> int:
    """The number that is wanted if it is free, else the least that is."""
    return wanted if wanted not in taken else next(n for n in count(1) if n not in taken)


def _refuse(said: str) -> None:
    raise StoreError(f"{said}; nothing was replaced")


LOCK = ".merge.lock"
ADVICE = ". Nothing was merged: do it when that has ended"
PICTURED = (".csv", ".md", ".png", ".svg")  # what is made of loaders.json
NAMED = 5  # runs that are told by name, of those that differ

Report = Callable[[str], None]


@dataclass(kw_only=True)
class Merged:
    """What came of it.

    Args:
        groups: By name, what was done with each run.
        left_out: Files that were left out, each told before: damaged ones, links.
    """

    groups: dict[str, list[United]] = field(default_factory=dict)
    left_out: int = 0

    @property
    def exit_code(self) -> int:
        """0 when all came in or was there, 1 when something was left out."""
        return int(self.left_out > 0)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A group of a source.

    Args:
        folder: Where it is.
        run_ids: Of its records.
        damaged: Its records that cannot be used, with the reason.
        kinds: What they are of, source and scale.
    """

    folder: Path
    run_ids: frozenset[str]
    damaged: Mapping[Path, str]
    kinds: frozenset[tuple[str, str]]


def merge(
    sources: Sequence[Path],
    out: Path,
    report: Report,
    refresh: Callable[[Store, Report], None],
) -> Merged:
    """Brings all groups of results folders into another.

    Args:
        sources: Results folders, or single groups.
        out: A results folder; made if need be.
        report: Gets a line for what must be known: what is left out, what is in use.
        refresh: Remakes what is derived from the records of a group that has changed.

    Raises:
        UsageError: A source is, holds, or lies in the folder that they are to go to, or groups of
            one name hold what no table may mix.
        StoreError: There is no such source, a newer version wrote a record, the folder is in use,
            or something cannot be read or written.
    """
    found = groups_of(sources, out)
    parts = {name: [_surveyed(folder) for folder in found[name]] for name in found}
    for name, of_name in parts.items():
        _refuse_mixture(name, [*of_name, _surveyed(out / name)])
    for folder in (source.folder for of_name in parts.values() for source in of_name):
        _tell_of_writers(folder, report)
    merged = Merged()
    with explained(f"make the folder {out}"):
        make_folder(out)
    with locks.held(out / LOCK, notice=report, advice=ADVICE), ExitStack() as held:
        for name, of_name in parts.items():
            store = Store(out / name)
            warning = store.check_writable(len({run for one in of_name for run in one.run_ids}))
            if warning:
                report(warning)
            held.enter_context(store.lock(notice=report, advice=ADVICE))
        for name, of_name in parts.items():
            _Group(
                store=Store(out / name),
                sources=of_name,
                merged=merged,
                report=report,
                refresh=refresh,
            ).merge()
    return merged


def groups_of(sources: Sequence[Path], out: Path) -> dict[str, list[Path]]:
    """The groups of all sources, by their name in `out`: "<group>" or "reference/<group>".

    Raises:
        UsageError: A source is, holds, or lies in `out`.
        StoreError: A source does not exist or has no group.
    """
    if (out / "records").is_dir():
        raise UsageError(f"{out} is one group: name the results folder that it is to be in")
    found: dict[str, list[Path]] = {}
    for source in sources:
        _refuse_overlap(source, out)
        below = result_folders(source)
        if not below:
            raise StoreError(f"there are no results under {source}: name what `bench run` wrote")
        for folder in below:
            name = name_of(folder)
            if (out / name).exists() and (out / name).samefile(folder):
                raise UsageError(f"{folder} is itself the group to merge into: name another --out")
            if not any(folder.samefile(other) for other in found.setdefault(name, [])):
                found[name].append(folder)
    return dict(sorted(found.items()))


def name_of(group: Path) -> str:
    """A group's name in a results folder: reference matrices stay apart from one's own."""
    place = group.resolve()
    return f"{REFERENCE}/{place.name}" if place.parent.name == REFERENCE else place.name


def _refuse_overlap(source: Path, out: Path) -> None:
    there, here = source.resolve(), out.resolve()
    if there == here:
        raise UsageError(f"{source} cannot be merged into itself: name another --out")
    if there in here.parents:
        raise UsageError(f"--out {out} lies inside of the source {source}: name one beside it")
    if here in there.parents:
        raise UsageError(f"the source {source} lies inside of --out {out}: name one beside it")


def _tell_of_writers(folder: Path, report: Report) -> None:
    holder = locks.current_holder(folder / ".lock")
    if holder:
        report(
            f"{folder} is being written ({holder}): its records so far are merged; merge again "
            "when that has ended"
        )


def _surveyed(folder: Path) -> Source:
    """What there is in a group.

    Raises:
        StoreError: A newer version of the suite wrote one of its records.
    """
    run_ids, damaged, kinds = set(), {}, set()
    for path in records_in(folder):
        try:
            record = read_record(RecordSummary, path)
        except RecordError as error:
            damaged[path] = str(error)
        else:
            if record is not None:
                run_ids.add(record.run_id)
                kinds.add((record.cell.source, record.cell.scale))
    return Source(
        folder=folder, run_ids=frozenset(run_ids), damaged=damaged, kinds=frozenset(kinds)
    )


def _refuse_mixture(name: str, parts: Sequence[Source]) -> None:
    """Groups that a person gave one name; those that the suite names differ."""
    kinds = frozenset[tuple[str, str]]().union(*(part.kinds for part in parts))
    if len(kinds) > 1:
        folders_ = ", ".join(str(part.folder) for part in parts if part.kinds)
        said = " and ".join(f"{source} at {scale} scale" for source, scale in sorted(kinds))
        raise UsageError(
            f"the group {name} would mix {said} ({folders_}): give each a group of its own"
        )


@dataclass(frozen=True, kw_only=True)
class _Group:
    """One group on its way; its lock is held."""

    store: Store
    sources: Sequence[Source]
    merged: Merged
    report: Report
    refresh: Callable[[Store, Report], None]

    def merge(self) -> None:
        for source in self.sources:
            for path, reason in source.damaged.items():
                self._leave_out(f"{path} is damaged and left out: {reason}")
        name = name_of(self.store.folder)
        done = self.merged.groups.setdefault(name, [])
        for run_id in sorted(frozenset().union(*(source.run_ids for source in self.sources))):
            incoming = list(self._incoming(run_id))
            united = unite(self.store.folder, incoming, self._leave_out)
            if united is not None:
                done.append(united)
        self._tell([run for run in done if run.different > 1 and run.changed])
        for source in self.sources:
            self._examples(source.folder)
            self._loaders(source.folder)
        self.refresh(self.store, self.report)

    def _incoming(self, run_id: str) -> Iterator[Found]:
        for source in self.sources:
            if run_id in source.run_ids:  # damaged ones have been told
                yield from found_in(source.folder, run_id, lambda path, reason: None)

    def _tell(self, differing: Sequence[United]) -> None:
        for run in differing[:NAMED]:
            self.report(
                f"{run.name} has {run.different} different records: the newest that ended well is "
                "kept as its record, the others as attempts"
            )
        if len(differing) > NAMED:
            self.report(f"so have {len(differing) - NAMED} runs more")

    def _leave_out(self, said: str) -> None:
        self.merged.left_out += 1
        self.report(said)

    def _examples(self, source: Path) -> None:
        for path in sorted((source / "examples").glob("*.png")):
            name = f"examples/{path.name}"
            if not (self.store.folder / name).exists() and is_plain(path):
                if png := picture(path):
                    self.store.write_derived(name, png)
                else:
                    self._leave_out(f"{path} is no whole picture and left out")

    def _loaders(self, source: Path) -> None:
        path, target = source / LOADERS, self.store.folder / LOADERS
        if not is_plain(path):
            return
        try:
            read_loaders(source)
            content = read_file(path, LARGEST_LOADERS)
        except (StoreError, StrangeFile, OSError) as error:
            self._leave_out(f"{path} is left out: {error}")
            return
        if not target.exists():
            for form in PICTURED:  # they need not be drawn anew
                if is_plain(path.with_suffix(form)):
                    beside = read_file(path.with_suffix(form), LARGEST_LOADERS)
                    self.store.write_derived(path.with_suffix(form).name, beside)
            self.store.write_derived(LOADERS, content)
        elif target.read_bytes() != content:
            self.report(f"{path} is left where it is: {target} has what was measured before")


def told(merged: Merged, out: Path) -> str:
    """What was done, a line for each group."""
    lines = []
    for name, runs in merged.groups.items():
        counts = {
            "new": sum(run.new for run in runs),
            "given a newer record": sum(run.replaced for run in runs),
            "given files that were lacking": sum(run.filled for run in runs),
            "identical in several folders": sum(run.identical for run in runs),
        }
        said = [f"{number} {word}" for word, number in counts.items() if number]
        attempts = sum(run.attempts + run.replaced for run in runs)
        said += [f"{attempts} kept as attempts"] if attempts else []
        runs_told = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
        lines.append(f"{out / name}: {', '.join([runs_told, *said])}")
    return "".join(f"{line}\n" for line in lines)
