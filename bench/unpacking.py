"""`bench import`: what `bench export` packed, checked from end to end and then merged.

Nothing in a file is trusted. Names are those of results and no others, so none leads out of the
folder; links and devices are refused; what a file would unpack to is bounded; every sum is checked.
It is unpacked into a folder of its own, and only what is whole there is merged.
"""

import hashlib
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.bundle_names import FORMAT, MANIFEST, VERSION, fits
from bench.store.artifacts import LARGEST_ARTIFACT, is_plain
from bench.store.files import StoreError, explained
from bench.store.merge import Merged, merge

MOST_FILES = 1_000_000
LARGEST_MANIFEST = 2**28  # bytes: of a million files
UNSUSPICIOUS = 2**30  # bytes that any file may unpack to
MOST_TIMES = 100  # as large as it is packed; real results take a tenth of it
SPARE = 2**26  # bytes that stay free
CHUNK = 2**20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1
AGAIN = "get it again from where it was made"
# What the archive's reader raises at damaged bytes.
DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
)

Report = Callable[[str], None]


class _File(msgspec.Struct, frozen=True):
    """A file in the manifest."""

    bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    """What says which files there are."""

    format: str
    version: int
    files: dict[str, _File]


def import_file(file: Path, out: Path, report: Report) -> Merged:
    """Brings the results in a file into a folder.

    Args:
        file: As `bench export` writes it.
        out: A results folder; made if need be.
        report: Gets a line for what must be known.

    Raises:
        StoreError: The file is cut, changed, or no such file; or the folder cannot be written.
            Nothing was written then.
        UsageError: The folder is one group.
    """
    if not is_plain(file.resolve()):
        raise StoreError(f"there is no file {file}: name one that `bench export` has written")
    with (
        explained("make a folder to unpack to"),
        tempfile.TemporaryDirectory(prefix="pipeline-bench-import-") as place,
    ):

        def named(said: str) -> str:
            return said.replace(place, str(file))

        with _refused(file), zipfile.ZipFile(file) as archive:
            unpack(archive, file, Path(place))
        try:
            return merge([Path(place)], out, lambda said: report(named(said)))
        except StoreError as error:
            raise StoreError(named(str(error))) from error


@contextmanager
def _refused(file: Path) -> Iterator[None]:
    """Turns whatever the reader of archives says of a file into one sentence."""
    try:
        yield
    except StoreError:
        raise
    except DAMAGES as error:
        raise StoreError(
            f"{file} cannot be imported: it was cut or changed, or is no archive of results "
            f"({error!s:.200}); {AGAIN}"
        ) from error


def unpack(archive: zipfile.ZipFile, file: Path, place: Path) -> None:
    """Writes all files of an archive below an empty folder, each when its sum is known to fit.

    Raises:
        StoreError: Something in it is not as it should be.
        Exception: One of `DAMAGES`: its bytes are damaged.
    """
    entries = {entry.filename: entry for entry in archive.infolist()}
    problem = _problem(archive.infolist()) or _too_large(archive.infolist(), file, place)
    if problem:
        raise StoreError(f"{file} cannot be imported: {problem}")
    files = _manifest(archive, file)
    if entries.keys() - {MANIFEST} != files.keys():
        raise StoreError(f"{file} cannot be imported: its files are not those it lists; {AGAIN}")
    for name, listed in files.items():
        if entries[name].file_size != listed.bytes:
            raise _changed(file, name)
        _extract(archive, entries[name], place / name, file, listed.sha256)


def _problem(entries: list[zipfile.ZipInfo]) -> str:
    """What is wrong with the entries, in a few words; "" for nothing."""
    names = {entry.filename for entry in entries}
    if MANIFEST not in names:
        return "it is no archive of `bench export`"
    if len(entries) > MOST_FILES:
        return f"it has more than {MOST_FILES:,} files"
    if len(names) < len(entries):
        return "it names a file twice"
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if entry.filename != MANIFEST and not fits(entry.filename):
            return f"it has a file that is none of results: {entry.filename!r:.100}"
        if kind not in (0, stat.S_IFREG) or entry.is_dir():
            return f"{entry.filename} in it is no plain file"
        if entry.compress_type not in METHODS or entry.flag_bits & ENCRYPTED:
            return f"{entry.filename} in it is packed in a way that `bench export` does not use"
        most = LARGEST_MANIFEST if entry.filename == MANIFEST else LARGEST_ARTIFACT
        if entry.file_size > most:
            return f"{entry.filename} in it has {entry.file_size:,} bytes, more than {most:,}"
    return ""


def _too_large(entries: list[zipfile.ZipInfo], file: Path, place: Path) -> str:
    """Why it will not be unpacked; "" where it may be."""
    unpacked, packed = sum(entry.file_size for entry in entries), file.stat().st_size
    if unpacked > max(UNSUSPICIOUS, MOST_TIMES * packed):
        return f"its {packed:,} bytes would unpack to {unpacked:,}, as no results do"
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    if unpacked + SPARE > free:
        return (
            f"it unpacks to {unpacked:,} bytes and {place.parent} has {free:,} free: make room, "
            "or set TMPDIR to a folder that has it"
        )
    return ""


def _manifest(archive: zipfile.ZipFile, file: Path) -> dict[str, _File]:
    found = msgspec.json.decode(archive.read(MANIFEST), type=_Manifest)
    if found.format != FORMAT:
        raise StoreError(f"{file} cannot be imported: it is no archive of `bench export`")
    if found.version > VERSION:
        raise StoreError(
            f"{file} was written in version {found.version} of the format, but this version of "
            f"pipeline-bench knows {VERSION}: upgrade it"
        )
    return found.files


def _extract(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, file: Path, sha256: str
) -> None:
    found = hashlib.sha256()
    with explained(f"write {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        written = target.open("xb")
    with written, archive.open(entry) as packed:
        while chunk := packed.read(CHUNK):
            found.update(chunk)
            with explained(f"write {target}"):
                written.write(chunk)
    if found.hexdigest() != sha256:
        raise _changed(file, entry.filename)


def _changed(file: Path, name: str) -> StoreError:
    return StoreError(f"{file} cannot be imported: {name} in it was changed; {AGAIN}")
