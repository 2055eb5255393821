"""A merge that dies at any point, and a record whose run id is a path."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.check.derived import refresh
from bench.store.codec import encode
from bench.store.merge import merge
from tests.faults.crash_disk import Died, Disk
from tests.made_groups import at, everything, group, keep, marks, merge_records

MEMORY = Path("/dev/shm")  # `Disk` counts what is synced, so the disk may be a fast one
BESIDE = ("predictions", "profiles")


@pytest.fixture
def root() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    yield place
    shutil.rmtree(place)


def lay(root: Path) -> tuple[list[Path], Path]:
    """Two sources and an existing folder, with five different records of one run."""
    a, b, out = root / "a", root / "b", root / "before"
    keep(group(out), at(1, status="crashed"), "logs")
    keep(group(out), at(2), *BESIDE)
    keep(group(a), at(5), "predictions", "logs")
    keep(group(b), at(3, status="oom"), "logs")
    keep(group(b), at(4), *BESIDE)
    keep(group(b), at(6, 1), *BESIDE)
    return [a, b], out


def artifacts(root: Path) -> set[str]:
    """Contents of all artifacts, wherever they are."""
    return {
        content.decode()
        for name, content in everything(root).items()
        if name.endswith((".npz", ".log", ".txt"))
    }


def test_a_merge_that_dies_at_any_system_call_can_be_repeated(root: Path) -> None:
    """Nothing is lost. At every third call the power fails as well."""
    sources, before = lay(root)
    untouched = [everything(source) for source in sources]
    records, beside = marks(before), artifacts(before)
    shutil.copytree(before, root / "whole")
    merge_records(sources, root / "whole")
    expected = everything(root / "whole")
    assert len([name for name in expected if "/.attempts/" in name]) == 4 + 2 * 3
    calls, ended = 0, False
    while not ended:
        out = root / "out"
        shutil.copytree(before, out)
        disk = Disk(out, left=calls)
        with disk.watched():
            try:
                merge_records(sources, out)
                ended = True
            except Died:
                pass
        if calls % 3 == 0:
            disk.cut_power(kept=calls % 2, share=0.5)
        assert records <= marks(out), f"a record is lost after {calls} calls"
        assert beside <= artifacts(out), f"an artifact is lost after {calls} calls"
        with group(out).lock(notice=lambda text: None):
            merge_records(sources, out)
        assert everything(out) == expected, f"a different result after {calls} calls"
        shutil.rmtree(out)
        calls += 1
    assert calls > 100
    assert [everything(source) for source in sources] == untouched


def test_a_run_id_that_is_a_path_is_refused(root: Path) -> None:
    """Artifacts are found by the run id that a record states."""
    store = group(root / "a")
    keep(store, at(1))
    odd = at(1, run_id="../../../escaped")
    (store.folder / "records" / "....json").write_bytes(encode(odd))
    messages: list[str] = []
    assert merge([root / "a"], root / "out", messages.append, refresh).exit_code == 1
    assert "is damaged and left out: it holds the record of another run" in messages[0]
    assert not list(root.rglob("escaped*"))
