"""`bench merge`: results folders brought together in one, by group; sources are only read.

Everything is looked at before anything is written. What a process that dies leaves undone, the same
command does when it is given again; see `bench.uniting` on the records of one run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import locks
from bench.belongings import is_plain
from bench.check import folders
from bench.checking import derived, mending
from bench.errors import UsageError
from bench.examples import picture
from bench.files import StoreError, StrangeFile, explained, make_folder, read_file
from bench.groups import REFERENCE
from bench.record import Glance
from bench.record_files import read_record
from bench.record_text import RecordError
from bench.report.loaders_reading import FILE as LOADERS
from bench.report.loaders_reading import LARGEST as LARGEST_LOADERS
from bench.report.loaders_reading import read as read_loaders
from bench.store import Store
from bench.uniting import Found, United, found_in, records_in, unite

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


def merge(sources: Sequence[Path], out: Path, report: Report) -> Merged:
    """Brings all groups of results folders into another.

    Args:
        sources: Results folders, or single groups.
        out: A results folder; made if need be.
        report: Gets a line for what must be known: what is left out, what is in use.

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
            _Group(store=Store(out / name), sources=of_name, merged=merged, report=report).merge()
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
        below = folders(source)
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
    running, holder = locks.look(folder / ".lock")
    if running:
        who = f" ({holder})" if holder else ""
        report(
            f"{folder} is being written{who}: what it has recorded so far is taken; do the same "
            "again when that has ended"
        )


def _surveyed(folder: Path) -> Source:
    """What there is in a group.

    Raises:
        StoreError: A newer version of the suite wrote one of its records.
    """
    run_ids, damaged, kinds = set(), {}, set()
    for path in records_in(folder):
        try:
            record = read_record(Glance, path)
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
        self._derive()

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

    def _derive(self) -> None:
        """Makes anew what is derived of the records, as `bench check` does."""
        store = self.store
        records = store.records(self.report)
        found = [
            *derived.in_tables(store, records),
            *derived.in_page(store, records),
        ]
        if store.tensorboard_folder().is_dir():  # else its libraries need not be imported
            from bench.checking.events import in_events

            found += in_events(store, records)
        stale = [one for one in found if one.level == "stale"]
        mending.mend(store, stale, None, self.report)


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


__all__ = ["LOCK", "Merged", "groups_of", "merge", "name_of", "told"]
