"""The cache: whole or not at all, whoever writes it, and never trained on when damaged."""

import errno
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.sources import cache, disk, measures
from pipelines.sources.arrays import Arrays, Cached
from pipelines.sources.errors import SourceError
from tests import checkout
from tests.made_sources import made_arrays, made_set

KEY = "made"


def obtain(folder: Path, seed: int = 0, key: str = KEY) -> tuple[Cached, list[str]]:
    """The cache, made of `seed` if it has to be made, and what was reported."""
    messages: list[str] = []
    return cache.obtain(folder, key, lambda scratch: made_arrays(seed), messages.append), messages


def holds(found: Cached, seed: int) -> bool:
    expected = made_arrays(seed)
    return all(
        np.array_equal(found.sets[name].images, part.images)
        and np.array_equal(found.sets[name].labels, part.labels)
        for name, part in expected.sets.items()
    )


def file_of(folder: Path, name: str = "train_images") -> Path:
    (path,) = folder.glob(f"data-*/{name}.npy")
    return path


def contents(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def test_a_made_cache_is_used_again(tmp_path: Path) -> None:
    first, messages = obtain(tmp_path / "deep" / "folder")
    again, _ = obtain(tmp_path / "deep" / "folder", seed=1)
    assert messages == []
    assert holds(first, 0)
    assert holds(again, 0)
    assert again.classes == made_arrays().classes
    assert (again.mean, again.std) == (first.mean, first.std)
    assert contents(tmp_path / "deep" / "folder") == [".lock", "data", "source.json"]


def test_writing_to_an_array_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    found, _ = obtain(tmp_path)
    for name, array in (
        ("train_images", found.sets["train"].images), ("train_labels", found.sets["train"].labels),
    ):  # fmt: skip
        before = file_of(tmp_path, name).read_bytes()
        array[:] = 0
        assert file_of(tmp_path, name).read_bytes() == before


def test_another_key_replaces_the_cache_under_arrays_that_stay_valid(tmp_path: Path) -> None:
    old, _ = obtain(tmp_path)
    new, messages = obtain(tmp_path, seed=1, key="another")
    assert messages == []
    assert holds(new, 1)
    assert holds(old, 0)
    assert not cache.present(tmp_path, KEY)
    assert contents(tmp_path) == [".lock", "data", "source.json"]


def change_a_byte(folder: Path) -> None:
    with file_of(folder, "test_labels").open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\x0b")


def change_the_header(folder: Path) -> None:
    path = file_of(folder)
    path.write_bytes(path.read_bytes().replace(b"|u1", b"|i1"))


def point_elsewhere(folder: Path) -> None:
    note = json.loads((folder / "source.json").read_text())
    note["folder"] = "data-/../../elsewhere"
    (folder / "source.json").write_text(json.dumps(note))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a file is shorter": lambda folder: os.truncate(file_of(folder), 100),
    "a file is lost": lambda folder: file_of(folder, "test_images").unlink(),
    "a byte is another": change_a_byte,
    "a header is another": change_the_header,
    "no note": lambda folder: (folder / "source.json").write_text("{"),
    "a note that points elsewhere": point_elsewhere,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    obtain(tmp_path)
    DAMAGES[damage](tmp_path)
    assert not cache.present(tmp_path, KEY)
    cached, (message,) = obtain(tmp_path, seed=1)
    assert "damaged" in message
    assert holds(cached, 1)
    assert contents(tmp_path) == [".lock", "data", "source.json"]


def rot(path: Path) -> None:
    """Changes a byte near the end of a file; size and time of modification stay."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size - 8)
        (value,) = file.read(1)
        file.seek(before.st_size - 8)
        file.write(bytes([value ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forgets which caches were compared, as a new process would."""

    def forget() -> None:
        monkeypatch.setattr(disk, "_compared", {})

    forget()
    return forget


ARRAYS = [f"{which}_{part}" for which in ("train", "test") for part in ("images", "labels")]


@pytest.mark.parametrize("name", ARRAYS)
def test_bit_rot_is_found_by_the_next_process(
    tmp_path: Path, name: str, new_process: Callable[[], None]
) -> None:
    obtain(tmp_path)
    rot(file_of(tmp_path, name))
    new_process()
    assert cache.present(tmp_path, KEY), "without reading images"
    found, (message,) = obtain(tmp_path)
    assert holds(found, 0)
    assert f"the bytes of {name.partition('_')[0]}_images.npy" in message
    assert obtain(tmp_path)[1] == []


@pytest.mark.parametrize("name", ARRAYS)
def test_bit_rot_is_found_while_a_cache_is_in_use(
    tmp_path: Path, name: str, new_process: Callable[[], None]
) -> None:
    obtain(tmp_path / "other")
    obtain(tmp_path / "one")
    cache.compare_again()
    rot(file_of(tmp_path / "one", name))
    with pytest.raises(SourceError, match="changed while they were in use") as found:
        cache.compare_again()
    assert str(file_of(tmp_path / "one", name).parent) in str(found.value)
    assert "the next run makes the cache anew" in str(found.value)
    again, (message,) = obtain(tmp_path / "one")
    assert "damaged" in message
    assert holds(again, 0)
    cache.compare_again()


def test_a_cache_that_was_replaced_in_use_is_no_damage(
    tmp_path: Path, new_process: Callable[[], None]
) -> None:
    obtain(tmp_path)
    obtain(tmp_path, seed=1, key="another")
    cache.compare_again()


def test_bytes_are_compared_once_in_a_process(
    tmp_path: Path, new_process: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    obtain(tmp_path)
    new_process()
    compared: list[object] = []
    compare = disk._compare
    monkeypatch.setattr(disk, "_compare", lambda *what: (compared.append(what), compare(*what)))
    for _ in range(3):
        obtain(tmp_path)
    assert len(compared) == 1


def test_a_description_of_another_format_is_no_cache(tmp_path: Path) -> None:
    obtain(tmp_path)
    text = (tmp_path / "source.json").read_text().replace('"format": 1', '"format": 2')
    (tmp_path / "source.json").write_text(text)
    assert not cache.present(tmp_path, KEY)
    cached, messages = obtain(tmp_path, seed=1)
    assert (messages, holds(cached, 1)) == ([], True)


def test_a_copied_cache_is_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obtain(tmp_path)
    os.utime(file_of(tmp_path), (1, 1))
    assert holds(obtain(tmp_path, seed=1)[0], 0)
    monkeypatch.setattr(disk, "fingerprint", lambda *args: pytest.fail("hashed"))
    assert holds(obtain(tmp_path, seed=1)[0], 0)


def test_a_read_only_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obtain(tmp_path)
    os.utime(file_of(tmp_path), (1, 1))

    def refuse(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(disk, "_write_note", refuse)
    assert holds(obtain(tmp_path, seed=1)[0], 0)


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(scratch: Path) -> Arrays:
        (scratch / "half").touch()
        raise SourceError("no")

    with pytest.raises(SourceError, match="no"):
        cache.obtain(tmp_path, KEY, fail, print)
    assert contents(tmp_path) == [".lock"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "_save", refuse)
    with pytest.raises(SourceError, match=r"No space left on device.*--data-dir"):
        obtain(tmp_path)
    assert contents(tmp_path) == [".lock"]


def test_a_channel_of_one_value_can_be_normalised(tmp_path: Path) -> None:
    sets = {"train": made_set(4, 0), "test": made_set(4, 1)}
    sets["train"].images[..., 1] = 51
    found = cache.obtain(tmp_path, KEY, lambda _: Arrays(sets=sets, classes=("a", "b")), print)
    assert found.mean[1] == pytest.approx(0.2)
    assert found.std[1] == 1.0
    assert 0 < found.std[0] < 1


CRASH = """
import os, sys
from pathlib import Path
from pipelines.sources import cache, disk
from tests.made_sources import made_arrays

def make(scratch):
    (scratch / "half").touch()
    if sys.argv[2] == "making":
        os._exit(9)
    return made_arrays()

if sys.argv[2] == "writing":
    disk._write_note = lambda *args: os._exit(9)
cache.obtain(Path(sys.argv[1]), "made", make, print)
"""


@pytest.mark.parametrize("moment", ["making", "writing"])
def test_a_crash_leaves_nothing_that_is_taken_for_a_cache(tmp_path: Path, moment: str) -> None:
    assert checkout.python(CRASH, str(tmp_path), moment).returncode == 9
    assert len(contents(tmp_path)) == 2
    assert not cache.present(tmp_path, KEY)
    cached, messages = obtain(tmp_path)
    assert (messages, holds(cached, 0)) == ([], True)
    assert contents(tmp_path) == [".lock", "data", "source.json"]


TOGETHER = """
import sys, time
from pathlib import Path
from pipelines.sources import cache
from tests.made_sources import made_arrays

folder = Path(sys.argv[1])

def make(scratch):
    with (folder / "made").open("a") as file:
        file.write("x")
    deadline = time.monotonic() + 20
    while not list(folder.glob("waiting")) and time.monotonic() < deadline:
        time.sleep(0.01)
    return made_arrays()

found = cache.obtain(folder / "cache", "made", make, lambda text: (folder / "waiting").touch())
print(found.fingerprints["train"])
"""


def test_of_two_processes_at_once_one_makes_and_the_other_waits(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(checkout.python, [TOGETHER] * 2, [str(tmp_path)] * 2))
    assert [done.returncode for done in both] == [0, 0]
    train = made_arrays().sets["train"]
    fingerprint = measures.fingerprint(train.images, train.labels, "abcdefghij")
    assert {done.stdout for done in both} == {f"{fingerprint}\n"}
    assert (tmp_path / "made").read_text() == "x"


def test_a_file_system_without_locks_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(cache.fcntl, "flock", refuse)
    assert holds(obtain(tmp_path)[0], 0)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_description_can_be_read(tmp_path_factory: pytest.TempPathFactory, note: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "source.json").write_bytes(note)
    assert not cache.present(folder, KEY)


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    ),
    st.integers(1, 100),
)
def test_statistics_are_numpys(images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
                               chunk: int) -> None:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "CHUNK_BYTES", chunk)
        mean, std = measures.mean_and_std(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), atol=1e-7)


def test_the_fingerprint_tells_apart_all_it_should() -> None:
    part = made_set(4, 0, size=4)
    print_of = measures.fingerprint
    same = print_of(part.images, part.labels, ("a", "b"))
    assert same == print_of(part.images.copy(), part.labels.copy(), ["a", "b"])
    others = [
        print_of(part.images[::-1], part.labels, ("a", "b")),
        print_of(part.images, part.labels[::-1], ("a", "b")),
        print_of(part.images, part.labels, ("a", "c")),
        print_of(part.images, part.labels, ("ab",)),
        print_of(part.images.reshape(4, 8, 2, 3), part.labels, ("a", "b")),
    ]
    assert len({same, *others}) == 6
    strided = np.asfortranarray(part.images)
    assert print_of(strided, part.labels, ("a", "b")) == same
