"""Merges that are killed at any point, two at once, and sources that change meanwhile."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.check.derived import refresh
from bench.store.codec import encode
from bench.store.merge import merge, merge_run, stored_records
from tests.checkout import ROOT
from tests.faults.crash_disk import Died, Disk
from tests.made_groups import GROUP, at, everything, group, keep, marks

MEMORY = Path("/dev/shm")  # what is settled is kept count of, so the disk need not be a slow one
BESIDE = ("predictions", "profiles")
RUN = at(1).run_id
ENOUGH_S = 60.0


@pytest.fixture
def root() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    yield place
    shutil.rmtree(place)


def lay(root: Path) -> tuple[list[Path], Path]:
    """Two sources and a folder that exists, in which one run has five different records."""
    a, b, out = root / "a", root / "b", root / "before"
    keep(group(out), at(1, status="crashed"), "logs")
    keep(group(out), at(2), *BESIDE)
    keep(group(a), at(5), "predictions", "logs")
    keep(group(b), at(3, status="oom"), "logs")
    keep(group(b), at(4), *BESIDE)
    keep(group(b), at(6, 1), *BESIDE)
    return [a, b], out


def brought(sources: list[Path], out: Path) -> None:
    """The records of that run brought in, without what is derived of them."""
    incoming = [
        one
        for source in sources
        for one in stored_records(source / GROUP, RUN, lambda path, why: pytest.fail(why))
    ]
    merge_run(out / GROUP, incoming, pytest.fail)


def again(sources: list[Path], out: Path) -> None:
    """Likewise, as another process that first takes the folder."""
    with group(out).lock(notice=lambda said: None):
        brought(sources, out)


def kept(root: Path) -> set[str]:
    """The hours of all files beside records, wherever they are now."""
    return {
        content.decode()
        for name, content in everything(root).items()
        if name.endswith((".npz", ".log", ".txt"))
    }


def test_a_merge_that_ends_before_any_system_call_has_the_same_end_when_it_is_repeated(
    root: Path,
) -> None:
    """At each of them: nothing that was there is lost; done again it is as never interrupted.

    At every third the power goes too, and takes back what was not settled. A file takes eight
    calls, so that either comes between any two of them.
    """
    sources, before = lay(root)
    untouched = [everything(source) for source in sources]
    there, beside = marks(before), kept(before)
    shutil.copytree(before, root / "whole")
    brought(sources, root / "whole")
    wanted = everything(root / "whole")
    assert len([name for name in wanted if "/.attempts/" in name]) == 4 + 2 * 3  # files beside two
    calls, ended = 0, False
    while not ended:
        out = root / "out"
        shutil.copytree(before, out)
        disk = Disk(out, left=calls)
        with disk.watched():
            try:
                brought(sources, out)
                ended = True
            except Died:
                pass
        if calls % 3 == 0:
            disk.cut_power(kept=calls % 2, share=0.5)
        assert there <= marks(out), f"a record is lost after {calls} calls"
        assert beside <= kept(out), f"what belongs to a record is lost after {calls} calls"
        again(sources, out)
        assert everything(out) == wanted, f"another end after {calls} calls"
        shutil.rmtree(out)
        calls += 1
    assert calls > 100
    assert [everything(source) for source in sources] == untouched


def test_a_whole_merge_with_its_tables_has_the_same_end_too(root: Path) -> None:
    """At every tenth call or so, from the first lock to the last table."""
    sources, before = lay(root)
    shutil.copytree(before, root / "whole")
    merge(sources, root / "whole", lambda said: None, refresh)
    wanted = everything(root / "whole")
    assert f"{GROUP}/matrix.md" in wanted
    calls, ended = 0, False
    while not ended:
        out = root / "out"
        shutil.copytree(before, out)
        with Disk(out, left=calls).watched():
            try:
                merge(sources, out, lambda said: None, refresh)
                ended = True
            except Died:
                pass
        merge(sources, out, lambda said: None, refresh)
        assert everything(out) == wanted, f"another end after {calls} calls"
        shutil.rmtree(out)
        calls += 31
    assert calls > 200


KILLED = """
import os, signal, sys
from pathlib import Path
from bench.store import files
from bench.store.merge import merge
left, write = int(sys.argv[1]), files.write_atomically
from bench.check.derived import refresh
from bench.store import merge as merging
def counted(path, content):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)
merging.write_atomically = counted
merge([Path(sys.argv[2]), Path(sys.argv[3])], Path(sys.argv[4]), print, refresh)
"""


def test_a_process_that_is_killed_leaves_a_lock_that_the_next_takes_over(root: Path) -> None:
    sources, before = lay(root)
    shutil.copytree(before, root / "whole")
    merge(sources, root / "whole", lambda said: None, refresh)
    shutil.copytree(before, root / "out")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "2", *map(str, [*sources, root / "out"])],
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert everything(root / "out") not in (everything(before), everything(root / "whole"))
    said: list[str] = []
    merge(sources, root / "out", said.append, refresh)
    assert sum("which is gone: taken over" in line for line in said) == 2  # of merges, of the group
    assert everything(root / "out") == everything(root / "whole")


HOLDING = """
import sys, time
from pathlib import Path
from bench.store import merge as merging
def slow(*arguments):
    print("merging", flush=True)
    time.sleep(60)
merging._merge_group = slow
merging.merge([Path(sys.argv[1])], Path(sys.argv[2]), lambda said: None, lambda store, report: None)
"""


def test_of_two_merges_at_once_the_second_is_told_who_is_first(root: Path) -> None:
    sources, out = lay(root)
    before = everything(out)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(sources[0]), str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "merging\n"
        second = subprocess.run(
            [sys.executable, "-m", "bench", "merge", str(sources[1]), "--out", str(out)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=ENOUGH_S,
        )
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert f"is in use: already running (pid {first.pid} " in line
    assert everything(out) == before


WRITING = """
import sys
from pathlib import Path
from tests.made_groups import at, group, keep
store = group(Path(sys.argv[1]))
hour = 0
while True:
    hour = hour % 23 + 1
    for seed in range(3):
        keep(store, at(hour, seed, status="ok" if hour % 2 else "crashed"), "logs")
    print(hour, flush=True)
"""


def test_a_source_that_is_written_without_pause_is_taken_whole_at_some_moment(root: Path) -> None:
    """No record is half: each is one that the writer has written, as it wrote it."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(root / "a")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "1\n"
        for number in range(3):
            done = merge([root / "a"], root / f"out{number}", said.append, refresh)
            assert done.exit_code == 0, said
            found = group(root / f"out{number}").records(pytest.fail)
            assert {record.seed for record in found} == {0, 1, 2}
    finally:
        writer.kill()
        writer.communicate()
    merge([root / "a"], root / "out0", said.append, refresh)
    assert marks(root / "a") <= marks(root / "out0")


def test_what_a_folder_of_somebody_else_says_it_is_called_leads_nowhere(root: Path) -> None:
    """A record names its run; files are looked for by that name, so it must be that of its file."""
    store = group(root / "a")
    keep(store, at(1))
    odd = at(1, run_id="../../../escaped")
    (store.folder / "records" / "....json").write_bytes(encode(odd))
    said: list[str] = []
    assert merge([root / "a"], root / "out", said.append, refresh).exit_code == 1
    assert "is damaged and left out: it holds the record of another run" in said[0]
    assert not list(root.rglob("escaped*"))
