"""`bench export`: results in one file, a ZIP archive with a sum of each file in it.

The same content gives the same bytes, on one version of zlib: files stand in the order of their
names, without times, rights or owners. Derived files are left out: they can be made anew.
"""

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from bench.bundle_names import FORMAT, MANIFEST, VERSION, fits
from bench.check import folders
from bench.errors import UsageError
from bench.record import Record
from bench.selection import select as select_cells
from bench.store import locks
from bench.store.artifacts import KINDS, LARGEST_ARTIFACT, artifacts, example_name, is_plain
from bench.store.codec import LARGEST_FILE, RecordError, read_record
from bench.store.files import StoreError, StrangeFile, explained, read_file, settle
from bench.store.loaders_record import FILE as LOADERS
from bench.store.merge import PICTURED, name_of, records_in
from pipelines.catalog import unknown_name

ENDING = ".zip"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the least time that the format knows
LEVEL = 6
PLAIN_FILE = 0o100644 << 16
PARTS = (*KINDS, "examples")

Report = Callable[[str], None]


@dataclass(kw_only=True)
class Exported:
    """What a file holds.

    Args:
        records: How many present records.
        sizes: Bytes of each kind of files, before they were packed.
        skipped: Bytes of each kind that was not wanted.
        left_out: Files that were left out, each told before.
        packed: Bytes of the file.
    """

    records: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    packed: int = 0

    @property
    def exit_code(self) -> int:
        """0 when all that was wanted is in it, else 1."""
        return int(self.left_out > 0)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A file to pack: its name in the archive, where it is, and of which kind."""

    name: str
    path: Path
    kind: str
    most: int = LARGEST_ARTIFACT


def export(
    results: Path, file: Path, *, select: str, without: Sequence[str], report: Report
) -> Exported:
    """Packs the groups at or below a results folder.

    Args:
        results: The folder.
        file: Where to; what is there is replaced when all is packed.
        select: Which cells, in the language of -k.
        without: Kinds of files beside the records that are not wanted.
        report: Gets a line for what is left out.

    Raises:
        UsageError: An unknown kind, another ending, or words that fit no cell.
        StoreError: There are no results, a newer version wrote one, or it cannot be written.
    """
    for kind in without:
        if kind not in PARTS:
            raise UsageError(unknown_name("value of --without", kind, list(PARTS)))
    if file.suffix != ENDING:
        raise UsageError(f"{file} does not end in {ENDING}: that is how results are packed")
    if file.is_dir():
        raise UsageError(f"{file} is a folder: name a file in it")
    exported = Exported()

    def leave_out(said: str) -> None:
        exported.left_out += 1
        report(said)

    entries = _entries(results, select, leave_out, report)
    exported.records = sum(entry.kind == "records" for entry in entries)
    wanted = [entry for entry in entries if entry.kind not in without]
    for entry in entries:
        if entry.kind in without:
            with suppress(OSError):
                exported.skipped[entry.kind] += entry.path.stat().st_size
    exported.sizes = _pack(wanted, file, leave_out)
    exported.packed = file.stat().st_size
    return exported


def _entries(results: Path, select: str, leave_out: Report, report: Report) -> list[_Entry]:
    """All files to pack, in the order of their names."""
    found = folders(results)
    if not found:
        raise StoreError(f"there are no results under {results}: `bench run` makes some")
    records = {group: _records(group, leave_out, report) for group in found}
    cells = [one.cell for of_group in records.values() for one in of_group.values()]
    chosen = set(select_cells(cells, select)) if cells or select else set()
    names: dict[str, Path] = {}
    entries: list[_Entry] = []
    for group, of_group in records.items():
        name = name_of(group)
        if names.setdefault(name, group) != group:
            raise UsageError(
                f"{names[name]} and {group} are of one name: merge them first, or export each"
            )
        ours = {path: record for path, record in of_group.items() if record.cell in chosen}
        for path, record in ours.items():
            entries += _of_record(group, name, path, record)
        entries += _examples(group, name, {example_name(one.cell) for one in ours.values()})
        if is_plain(group / LOADERS) and not select:
            entries += _loaders(group, name)
    for entry in entries:
        if not fits(entry.name):
            leave_out(f"{entry.path} is left out: no results are called so")
    return sorted((entry for entry in entries if fits(entry.name)), key=lambda entry: entry.name)


def _records(group: Path, leave_out: Report, report: Report) -> dict[Path, Record]:
    running, holder = locks.look(group / ".lock")
    if running:
        report(f"{group} is being written ({holder}): what it has recorded so far is packed")
    found = {}
    for path in records_in(group):
        try:
            record = read_record(Record, path)
        except RecordError as error:
            leave_out(f"{path} is damaged and left out: {error}")
        else:
            if record is not None:
                found[path] = record
    return found


def _of_record(group: Path, name: str, path: Path, record: Record) -> Iterator[_Entry]:
    present = path.parent.name != ".attempts"
    base = group if present else path.with_suffix("")
    yield _Entry(
        name=f"{name}/{path.relative_to(group)}",
        path=path,
        kind="records" if present else "attempts",
        most=LARGEST_FILE,
    )
    for relative, beside in artifacts(base, record).items():
        yield _Entry(
            name=f"{name}/{base.relative_to(group) / relative}",
            path=beside,
            kind=relative.partition("/")[0],
        )


def _examples(group: Path, name: str, wanted: Collection[str]) -> Iterator[_Entry]:
    for path in sorted((group / "examples").glob("*.png")):
        if is_plain(path) and path.stem in wanted:
            yield _Entry(name=f"{name}/examples/{path.name}", path=path, kind="examples")


def _loaders(group: Path, name: str) -> Iterator[_Entry]:
    for form in (".json", *PICTURED):
        path = (group / LOADERS).with_suffix(form)
        if is_plain(path):
            yield _Entry(name=f"{name}/{path.name}", path=path, kind="loaders")


def _pack(entries: Sequence[_Entry], file: Path, leave_out: Report) -> Counter[str]:
    sizes: Counter[str] = Counter()
    sums: dict[str, dict[str, str | int]] = {}
    with _whole(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for entry in entries:
            try:
                content = read_file(entry.path, entry.most)
            except (OSError, StrangeFile) as error:
                leave_out(f"{entry.path} is left out: {error}")
                continue
            sizes[entry.kind] += len(content)
            sums[entry.name] = {
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            _add(archive, entry.name, content)
        manifest = {"format": FORMAT, "version": VERSION, "files": sums}
        _add(archive, MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return sizes


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=EPOCH)
    entry.external_attr = PLAIN_FILE
    entry.create_system = 3
    archive.writestr(entry, content, zipfile.ZIP_DEFLATED, LEVEL)


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A file to write aside; it takes its name when all is in it and on the disk."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}-{token_hex(4)}.tmp")
    with explained(f"write {file}"):
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(file)
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)
            raise
        settle(file.absolute().parent)


def told(exported: Exported, file: Path) -> str:
    """What is in the file and what it weighs, and what is not."""
    records = "1 record" if exported.records == 1 else f"{exported.records} records"
    lines = [f"{file}: {records}, {_mib(exported.packed)}"]
    for word, sizes in (("holds", exported.sizes), ("leaves out", exported.skipped)):
        said = ", ".join(f"{kind} {_mib(size)}" for kind, size in sorted(sizes.items()))
        lines += [f"{word} {said}"] if said else []
    return "".join(f"{line}\n" for line in lines)


def _mib(size: int) -> str:
    return f"{size / 2**20:.2f} MiB"
