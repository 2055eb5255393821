"""Any content of folders of images, event files and results is used, skipped or refused."""

import io
import os
import pickle
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from bench.check import check
from bench.errors import UsageError
from bench.store import predictions
from bench.store.artifacts import kept_examples
from bench.store.files import StoreError
from bench.store.groups import groups
from bench.store.predictions import read_predictions
from bench.store.store import Store
from bench.tensorboard.overview import write_overview
from bench.tensorboard.run_log import write_run
from bench.tensorboard.view import View, rebuild, select_runs
from pipelines.sources import folder as sources_folder
from pipelines.sources.decode import read_listed
from pipelines.sources.errors import SourceError
from pipelines.sources.folder import scan
from tests.faults.fuzzing import GIB, TIMES, run_isolated
from tests.faults.mutations import ODD_TEXTS, changed_bytes
from tests.made_sound import keep, sound_record

FORMS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "ICO", "TGA")
NAMES = (
    "\u732b", "\u0643\u0644\u0628", "e\u0301", "a b", "new\nline", "-rf", "$(reboot)", "'", "\\",
    "%s", "\x1b[2J", "\u202egpj", "<b>", "caf\udce9", "x" * 120, "~", "*", "[size=8]",
)  # fmt: skip


TEMP = Path(tempfile.gettempdir())


def refusal(error: type[Exception], work: Callable[[], object]) -> str:
    """The message of the error that `work` raises, or ""."""
    try:
        work()
    except error as raised:
        return str(raised)
    return ""


def image_bytes(form: str, size: tuple[int, int] = (9, 7), seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A black and white PNG with the given size in its header and these compressed pixels."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", body or zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


def bomb(width: int, height: int) -> bytes:
    """A valid PNG of black pixels in a few kilobytes."""
    return png(width, height, zlib.compress(b"\0" * ((1 + -(-width // 8)) * height), 9))


def text_bomb() -> bytes:
    """A PNG with a comment that unpacks to 300 MB."""
    whole = image_bytes("PNG")
    comment = b"k\0\0" + zlib.compress(b"\0" * 300_000_000, 9)
    return whole[:33] + chunk(b"zTXt", comment) + whole[33:]


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A TIFF with one directory that points to itself."""
    body = struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 8)


ODD_IMAGES: dict[str, bytes] = {
    "huge png": png(2**31 - 1, 2**31 - 1),
    "wide png": png(2**31 - 1, 1),
    "nothing wide": png(0, 5),
    "bomb": bomb(10_000, 10_000),
    "text bomb": text_bomb(),
    "tiff bomb": tiff((256, 4, 1, 2**31), (257, 4, 1, 2**31), (262, 3, 1, 1), (273, 4, 1, 8)),
    "tiff loop": tiff((330, 4, 1, 8), (256, 4, 1, 4), (257, 4, 1, 4)),
    "tiff strips": tiff((256, 4, 1, 9), (257, 4, 1, 9), (273, 4, 2**30, 8), (279, 4, 2**30, 8)),
    "gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0,",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run quit\n%%EOF\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "pickle": pickle.dumps(print),
    "ppm": b"P6 99999999 99999999 255\n",
    "bmp": b"BM" + struct.pack("<IHHIIiiHHI", 99, 0, 0, 54, 40, 2**30, -(2**30), 1, 24, 0),
    "ico": b"\0\0\1\0\xff\xff" + b"\0" * 99,
}


def read_or_refused(root: Path, content: bytes) -> bool:
    path = root / "one.png"
    path.write_bytes(content)
    reason = refusal(SourceError, lambda: read_listed(root, path, 32))
    assert not reason or reason.startswith("one.png in ")
    return not reason


def test_images_broken_in_any_way_are_read_or_refused(tmp_path: Path) -> None:
    good = [image_bytes(form, seed=number) for number, form in enumerate(FORMS)]

    def work() -> None:
        random = Random(3)
        for content in good:
            assert read_or_refused(tmp_path, content)
        for name, content in ODD_IMAGES.items():
            assert not read_or_refused(tmp_path, content), name
        for size in ((1, 1), (1, 30_000), (30_000, 1)):
            assert read_or_refused(tmp_path, image_bytes("PNG", size))
        assert read_or_refused(tmp_path, bomb(9_000, 9_000))  # as large as may be
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Pillow's, about damaged metadata
            for _ in range(300 * TIMES):
                read_or_refused(tmp_path, changed_bytes(random, random.choice(good)))

    run_isolated(work, writes=[tmp_path], more_memory=GIB)


def test_too_many_classes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_folder, "MAX_CLASSES", 2)
    for name in "abc":
        for which in ("train", "test"):
            (tmp_path / which / name).mkdir(parents=True)
            (tmp_path / which / name / "1.png").touch()
    with pytest.raises(SourceError, match="3 classes; at most 2"):
        scan(tmp_path)


def npy(shape: str, kind: str, content: bytes) -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", 118) + head.encode() + content


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def twice(array: bytes) -> bytes:
    return zipped({"labels.npy": array, "predictions.npy": array})


def bad_predictions(random: Random, good: bytes) -> Iterator[bytes]:
    pickled = pickle.dumps(print)
    stream = io.BytesIO()
    np.savez(stream, labels=np.array([print], dtype=object))
    yield from (stream.getvalue(), pickled, zipped({"data.pkl": pickled}))  # as torch.save writes
    yield twice(stream.getvalue())
    for shape in ("(1000000000000,)", "(2, 2)", "(-1,)", "(3,) + (1,)", "()"):
        yield twice(npy(shape, "<i8", bytes(24)))
    for _ in range(500 * TIMES):
        yield changed_bytes(random, good)


def test_predictions_of_any_content_are_read_or_refused_and_nothing_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run_isolated` fails where something is unpickled."""
    store = Store(tmp_path / "a_b_c")
    record = keep(store, sound_record())
    path = store.folder / "predictions" / f"{record.run_id}.npz"
    bad = list(bad_predictions(Random(6), path.read_bytes()))
    monkeypatch.setattr(predictions, "LARGEST", 10**6)

    def work() -> None:
        path.write_bytes(twice(npy("(600000,)", "|i1", bytes(600_000))))
        reason = refusal(StoreError, lambda: read_predictions(path))
        assert "would unpack to 1,200,256 bytes" in reason
        read = 0
        for content in bad:
            path.write_bytes(content)
            reason = refusal(StoreError, lambda: read_predictions(path))
            read += not reason
            assert not reason or "cannot be read" in reason or "does not hold predictions" in reason
        assert read < len(bad) // 2

    run_isolated(work, writes=[tmp_path])


def test_foreign_event_folders_are_left_alone_or_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path / "results" / "a_b_c")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "events.out.tfevents.mine").write_text("mine")
    records = [keep(store, sound_record(seed)) for seed in range(4)]
    folders = [store.tensorboard_path(record.run) for record in records]
    write_run(folders[0], records[0], None, on_error=pytest.fail)
    write_overview(store, records, on_error=pytest.fail)
    folders[1].symlink_to(outside)
    (store.tensorboard_folder() / "file").write_text("x")
    (store.tensorboard_folder() / "strange\x1b[2J").mkdir()
    (store.folder / "examples").mkdir()
    (store.folder / "examples" / "zero.png").symlink_to("/dev/zero")
    (store.folder / "examples" / "passwd.png").symlink_to("/etc/passwd")

    def work() -> None:
        assert kept_examples(store) == {}
        check(store.folder, dry_run=True, report=pytest.fail)
        chosen = select_runs(tmp_path / "results", "")
        (tmp_path / "view").mkdir()
        View(tmp_path / "view", chosen).page()
        with pytest.raises(UsageError, match="it is a link and not a folder"):
            rebuild(chosen, lambda text: None)
        folders[1].unlink()
        (folders[2] / "events.out.tfevents.folder").mkdir(parents=True, exist_ok=True)
        with pytest.raises(UsageError, match="Is a directory"):
            rebuild(chosen, lambda text: None)
        (folders[2] / "events.out.tfevents.folder").rmdir()
        rebuild(chosen, lambda text: None)

    run_isolated(work, writes=[tmp_path / "results", tmp_path / "view", TEMP])
    assert (outside / "events.out.tfevents.mine").read_text() == "mine"


def test_links_in_place_of_locks_and_derived_files_are_not_followed(tmp_path: Path) -> None:
    store = Store(tmp_path / "results" / "a_b_c")
    keep(store, sound_record())
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in (".lock", "matrix.md", "matrix.csv", "report.html", "records/.lock"):
        path = store.folder / name
        path.unlink(missing_ok=True)
        path.symlink_to(precious)

    def work() -> None:
        with pytest.raises(StoreError, match=r"cannot lock .*\.lock"), store.lock():
            pass
        store.write_derived("matrix.md", "new")
        check(store.folder, dry_run=False, report=lambda text: None)

    run_isolated(work, writes=[tmp_path / "results", TEMP])
    assert precious.read_text() == "precious"
    assert (store.folder / "matrix.md").read_text() == "new"


def test_any_results_folder_can_be_searched(tmp_path: Path) -> None:
    random = Random(9)
    results = tmp_path / "results"
    keep(Store(results / "good_b_c"), sound_record())
    folders = [results]
    for number in range(120):
        parent = random.choice(folders)
        name = random.choice((*NAMES, "records", "tensorboard", f"d{number}")).replace("/", "_")
        path = parent / name
        if path.exists() or path.is_symlink() or path == results / "records":
            continue
        match random.randrange(6):
            case 0:
                path.symlink_to(random.choice(("..", ".", "/", "/proc", "/nowhere", name)))
            case 1:
                path.write_bytes(random.choice(ODD_TEXTS).encode())
            case 2:
                os.mkfifo(path)
            case _:
                path.mkdir()
                folders.append(path)

    def work() -> None:
        found = groups(results)
        assert results / "good_b_c" in {group.folder for group in found}
        for group in found:
            Store(group.folder).records(lambda text: None)
        check(results, dry_run=True, report=pytest.fail)

    run_isolated(work, writes=[results, TEMP], seconds=120.0)
