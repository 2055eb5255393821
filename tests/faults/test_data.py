"""Images that are missing, damaged or hostile, even with correct checksums."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from pipelines import sources
from pipelines.sources import cifar, download
from pipelines.sources.errors import SourceError
from tests.cli.conftest import Bench
from tests.faults.permissions import as_ordinary_user
from tests.made_sources import MadeCifar, lay_out

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"


def load(cifar10: MadeCifar, data_dir: Path) -> None:
    """Loads CIFAR-10 and compares it with what was made."""
    data = sources.load("cifar10", data_dir)
    np.testing.assert_array_equal(data.train.images.numpy(), cifar10.train.images)
    assert data.test.labels.tolist() == cifar10.test.labels.tolist()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def tar_of(cifar10: MadeCifar, *first: tuple[tarfile.TarInfo, bytes], without: str = "") -> bytes:
    """The archive with additional members at its start."""
    stream = io.BytesIO()
    good = [(member(f"{FOLDER}/{n}"), data) for n, data in cifar10.files.items() if n != without]
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for info, data in (*first, *good):
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def put(archive: bytes, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes an archive into the data folder and makes its checksum the expected one."""
    data_dir.mkdir(exist_ok=True)
    path = data_dir / ARCHIVE
    path.write_bytes(archive)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", download.md5_of(path))


HOSTILE: dict[str, Callable[[Path], tuple[tarfile.TarInfo, ...]]] = {
    "absolute path": lambda away: (member(str(away / "planted")),),
    "path upwards": lambda away: (member(f"{FOLDER}/../../../../{away.name}/planted"),),
    "link to a folder": lambda away: (
        member(FOLDER, tarfile.SYMTYPE, str(away)),
        member(f"{FOLDER}/planted"),
    ),
    "link to a file": lambda away: (
        member(f"{FOLDER}/test_batch", tarfile.SYMTYPE, str(away / "victim")),
    ),
    "hard link": lambda away: (
        member(f"{FOLDER}/data_batch_1", tarfile.LNKTYPE, str(away / "victim")),
    ),
    "device": lambda away: (member(f"{FOLDER}/data_batch_2", tarfile.CHRTYPE),),
    "pipe": lambda away: (member(f"{FOLDER}/data_batch_3", tarfile.FIFOTYPE),),
    "folder": lambda away: (member(f"{FOLDER}/data_batch_4", tarfile.DIRTYPE),),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_members_of_an_archive_write_nothing_outside(
    cifar10: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    away = tmp_path / "away"
    away.mkdir()
    (away / "victim").write_bytes(b"as it was")
    hostile = [(info, b"planted" if info.isreg() else b"") for info in HOSTILE[case](away)]
    put(tar_of(cifar10, *hostile), tmp_path / "data", monkeypatch)
    load(cifar10, tmp_path / "data")
    assert [path.name for path in away.iterdir()] == ["victim"]
    assert (away / "victim").read_bytes() == b"as it was"
    assert not list(tmp_path.rglob("planted"))


def terabyte(cifar10: MadeCifar) -> bytes:
    info = member(f"{FOLDER}/data_batch_1")
    info.size = 1 << 40
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


BROKEN: dict[str, tuple[Callable[[MadeCifar], bytes], str]] = {
    "bomb": (lambda made: tar_of(made, (member("zeros"), bytes(4 << 20))), "unpacks to more than"),
    "terabyte": (terabyte, "unpacks to more than 1048576 bytes"),
    "cut": (lambda made: made.archive[:-200], "is not a complete tar archive"),
    "empty": (lambda made: b"", "is not a complete tar archive"),
    "page": (lambda made: b"<html>we moved</html>" * 100, "is not a complete tar archive"),
    "lacking": (lambda made: tar_of(made, without="test_batch"), f"lacks {FOLDER}/test_batch"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_archive_gives_one_sentence_and_no_cache(
    cifar10: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    make, reason = BROKEN[case]
    monkeypatch.setattr(cifar, "UNPACKED_BYTES", 1 << 20)
    put(make(cifar10), tmp_path, monkeypatch)
    with pytest.raises(SourceError, match=reason) as failure:
        sources.load("cifar10", tmp_path)
    assert "\n" not in str(failure.value)
    assert not sources.is_cached("cifar10", tmp_path)


def test_a_read_only_folder_gets_its_cache_elsewhere(cifar10: MadeCifar, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    lay_out(cifar10.files, shared)
    shared.chmod(0o555)
    with as_ordinary_user():
        load(cifar10, shared)
        assert sources.is_cached("cifar10", shared)
    assert (tmp_path / "usual" / "cache" / "cifar10").is_dir()
    assert {path.name for path in shared.iterdir()} == {FOLDER}


def test_no_writable_folder_is_an_error(bench: Bench, cifar10: MadeCifar, tmp_path: Path) -> None:
    lay_out(cifar10.files, tmp_path / "shared")
    (tmp_path / "usual").mkdir()
    for name in ("shared", "usual"):
        (tmp_path / name).chmod(0o555)
    with as_ordinary_user():
        done = bench("data", "cifar10", "--data-dir", str(tmp_path / "shared"))
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert "Permission denied" in line
    assert "--data-dir" in line
