"""Folders that others made: of images, of event files, of results.

Whatever lies in them is used, left out, or told in one sentence; nothing outside is written, no
program is started, nothing is unpickled, memory and time stay within bounds.
"""

import io
import os
import pickle
import socket
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
from bench.report.page.contents import find_mistakes
from bench.store.artifacts import kept_examples
from bench.store.files import StoreError
from bench.store.groups import groups
from bench.store.predictions import read_predictions
from bench.store.store import Store
from bench.tensorboard.events import DamagedEvents, summaries
from bench.tensorboard.overview import write_overview
from bench.tensorboard.run_log import write_run
from bench.tensorboard.view import View, rebuild, select_runs
from pipelines.sources.decode import decode_tree, read_listed
from pipelines.sources.errors import SourceError
from pipelines.sources.folder import MOST_CLASSES, scan
from tests.faults.fuzzing import GIB, TIMES, run_isolated
from tests.faults.mutations import ODD_TEXTS, changed_bytes
from tests.made_sound import keep, sound_record

FORMS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "ICO", "TGA")
NAMES = (
    "\u732b", "\u0643\u0644\u0628", "\u05db\u05dc\u05d1", "pi\u00f1ata", "e\u0301", "\U0001f408",
    "a b", "new\nline", "tab\t", "-rf", "$(reboot)", "`id`", "'", '"', "\\", "%s", "#", "con",
    "\x1b[2J", "\u202egpj", "a|b", "<b>", "=1", "caf\udce9", "x" * 120, "~", "*", "?", "[size=8]",
)  # fmt: skip


def refusal(error: type[Exception], work: Callable[[], object]) -> str:
    """What is said about it; "" when it is done."""
    try:
        work()
    except error as said:
        return str(said)
    return ""


def image_bytes(form: str, size: tuple[int, int] = (9, 7), seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def png(width: int, height: int, colour: int = 0, depth: int = 1, body: bytes = b"") -> bytes:
    """A PNG that claims a size, with as much or as little data as it is given."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", body or zlib.compress(b"\0" * 99))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


def bomb(width: int, height: int) -> bytes:
    """A whole PNG of so many black pixels in a few kilobytes."""
    row = b"\0" * (1 + -(-width // 8))
    packer = zlib.compressobj(9)
    return png(
        width,
        height,
        body=b"".join(packer.compress(row) for _ in range(height)) + packer.flush(),
    )


def text_bomb() -> bytes:
    """A PNG with a comment that unpacks to 300 MB."""
    comment = b"zTXt" + b"k\0\0" + zlib.compress(b"\0" * 300_000_000, 9)
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))
    whole = image_bytes("PNG")
    return whole[:33] + chunk + whole[33:]


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A TIFF of one directory, which points back to itself."""
    body = struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 8)


ODD_IMAGES: dict[str, bytes] = {
    "empty": b"",
    "cut png": image_bytes("PNG")[:60],
    "cut jpeg": image_bytes("JPEG")[:200],
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
    "html": b"<!doctype html><title>not found</title>",
    "pickle": pickle.dumps(print),
    "zip": b"PK\3\4" + b"\0" * 99,
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
            for _ in range(900 * TIMES):
                read_or_refused(tmp_path, changed_bytes(random, random.choice(good)))

    run_isolated(work, writes=[tmp_path], more_memory=GIB)


def made_tree(root: Path, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for which in ("train", "test"):
        for name in classes:
            (root / which / name).mkdir(parents=True)
            (root / which / name / "1.png").write_bytes(image_bytes("PNG"))
    return root


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "2.png")


def a_socket(folder: Path) -> None:
    os.chdir(folder)  # its path may be short only
    socket.socket(socket.AF_UNIX).bind("2.png")
    os.chdir("/")


def a_loop(folder: Path) -> None:
    (folder / "2.png").symlink_to("2.png")


ODD_FILES: tuple[tuple[Callable[[Path], object], bool], ...] = (
    (a_pipe, False),
    (a_socket, False),
    (a_loop, False),
    (lambda folder: (folder / "2.png").symlink_to("/dev/zero"), False),
    (lambda folder: (folder / "2.png").symlink_to("/nowhere"), False),
    (lambda folder: (folder / "2.png").write_bytes(b""), False),
    (lambda folder: (folder / "notes.txt").write_text("x"), False),
    (lambda folder: (folder / "2.png").mkdir(), True),
    (lambda folder: (folder / "up").symlink_to(".."), True),
    (lambda folder: (folder / "here").symlink_to("."), True),
    (lambda folder: (folder / "Thumbs.db").write_text("x"), True),
    (lambda folder: (folder / ".hidden").write_text("x"), True),
)


@pytest.mark.parametrize("number", range(len(ODD_FILES)))
def test_odd_things_in_a_tree_are_left_out_or_told(tmp_path: Path, number: int) -> None:
    make, fine = ODD_FILES[number]
    root = made_tree(tmp_path / "tree")
    make(root / "train" / "cat")

    def work() -> None:
        reason = refusal(SourceError, lambda: decode_tree(scan(root), 32, tmp_path, print))
        assert (reason == "") is fine
        assert "\n" not in reason

    run_isolated(work, writes=[tmp_path], seconds=60.0)


@pytest.mark.slow
def test_trees_of_any_names_and_any_number_of_classes(tmp_path: Path) -> None:
    names = made_tree(tmp_path / "names", NAMES)
    many = made_tree(tmp_path / "many", tuple(f"c{number}" for number in range(MOST_CLASSES + 1)))
    one = made_tree(tmp_path / "one", ("cat",))

    def work() -> None:
        tree = scan(names)
        assert len(tree.classes) == len(NAMES)
        for name in tree.classes:
            name.encode()  # every class is text that files and terminals take
        decode_tree(tree, 32, tmp_path, lambda said: None)
        with pytest.raises(SourceError, match=r"3,001 classes; at most 3,000"):
            scan(many)
        with pytest.raises(SourceError, match="only the class 'cat'"):
            scan(one)

    run_isolated(work, writes=[tmp_path])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_what_may_not_be_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        root = made_tree(Path(place) / "tree")
        (root / "train" / "dog" / "1.png").chmod(0)

        def work() -> None:
            os.setuid(65_534)
            with pytest.raises(SourceError, match="cannot be read: Permission denied; repair"):
                read_listed(root, root / "train" / "dog" / "1.png", 32)
            assert scan(root).classes == ("cat", "dog")

        run_isolated(work)
        (root / "train" / "dog").chmod(0)

        def look() -> None:
            os.setuid(65_534)
            with pytest.raises(SourceError, match=r"train/dog in .* cannot be read: Permission"):
                scan(root)

        run_isolated(look)


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.file,)


def bad_predictions(random: Random, good: bytes, canary: Path) -> Iterator[bytes]:
    planted = np.array([Canary(canary)], dtype=object)
    for arrays in ({"labels": planted, "predictions": planted}, {"labels": planted}):
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        yield stream.getvalue()
    yield pickle.dumps(Canary(canary))
    stream = io.BytesIO()
    np.save(stream, np.arange(3))
    yield stream.getvalue()
    with zipfile.ZipFile(stream := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", pickle.dumps(Canary(canary)))  # as torch.save has it
    yield stream.getvalue()
    for shape in ("(1000000000000,)", "(2, 2)", "(-1,)", "(3,) + (1,)", "()"):
        head = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        array = b"\x93NUMPY\1\0" + struct.pack("<H", 118) + head.encode() + b"\0" * 24
        with zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
            archive.writestr("labels.npy", array)
            archive.writestr("predictions.npy", array)
        yield stream.getvalue()
    for _ in range(500 * TIMES):
        yield changed_bytes(random, good)


def archive_bomb() -> bytes:
    """600 MB of zeros as whole arrays in 600 KB."""
    head = b"{'descr': '|i1', 'fortran_order': False, 'shape': (300000000,), }".ljust(117) + b"\n"
    array = b"\x93NUMPY\1\0" + struct.pack("<H", 118) + head + bytes(300_000_000)
    with zipfile.ZipFile(stream := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", array)
        archive.writestr("predictions.npy", array)
    return stream.getvalue()


def test_predictions_of_any_content_are_read_or_refused_and_nothing_is_unpickled(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "a_b_c")
    record = keep(store, sound_record())
    path, canary = store.folder / "predictions" / f"{record.run_id}.npz", tmp_path / "canary"
    good = path.read_bytes()
    bad = list(bad_predictions(Random(6), good, canary))

    def work() -> None:
        path.write_bytes(archive_bomb())
        assert "would unpack to 600,000,256 bytes" in refusal(
            StoreError, lambda: read_predictions(path)
        )
        read = 0
        for content in bad:
            path.write_bytes(content)
            reason = refusal(StoreError, lambda: read_predictions(path))
            read += not reason
            assert not reason or "cannot be read" in reason or "does not hold predictions" in reason
            find_mistakes(store, [record], tmp_path / "no data")
        assert read < len(bad) // 2

    run_isolated(work, writes=[tmp_path])
    assert not canary.exists()


def test_event_folders_of_others_are_left_or_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "results" / "a_b_c")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "events.out.tfevents.mine").write_text("mine")
    records = [keep(store, sound_record(seed)) for seed in range(4)]
    folders = [store.tensorboard_path(record.run) for record in records]
    write_run(folders[0], records[0], None, on_error=pytest.fail)
    write_overview(store, records, on_error=pytest.fail)
    (events,) = folders[0].iterdir()
    good, random = events.read_bytes(), Random(8)
    folders[1].symlink_to(outside)
    (store.tensorboard_folder() / "file").write_text("x")
    (store.tensorboard_folder() / "strange\x1b[2J").mkdir()
    (store.folder / "examples").mkdir()
    (store.folder / "examples" / "zero.png").symlink_to("/dev/zero")
    (store.folder / "examples" / "passwd.png").symlink_to("/etc/passwd")

    def work() -> None:
        for content in (
            b"", b"\0" * 999, struct.pack("<QI", 2**62, 0), os.urandom(99), good[:-1],
            *(changed_bytes(random, good) for _ in range(400 * TIMES)),
        ):  # fmt: skip
            events.write_bytes(content)
            reason = refusal(DamagedEvents, lambda: summaries(folders[0]))
            assert not reason or reason.startswith("events.out.tfevents.")
        assert kept_examples(store) == {}
        check(store.folder, dry_run=True, data_dir=None, report=pytest.fail)
        chosen = select_runs(tmp_path / "results", "")
        (tmp_path / "view").mkdir()
        View(tmp_path / "view", chosen).page()
        with pytest.raises(UsageError, match="it is a link and not a folder"):
            rebuild(chosen, lambda said: None)
        folders[1].unlink()
        (folders[2] / "events.out.tfevents.folder").mkdir(parents=True, exist_ok=True)
        with pytest.raises(UsageError, match="Is a directory"):
            rebuild(chosen, lambda said: None)
        (folders[2] / "events.out.tfevents.folder").rmdir()
        rebuild(chosen, lambda said: None)
        summaries(folders[0])

    run_isolated(
        work, writes=[tmp_path / "results", tmp_path / "view", Path(tempfile.gettempdir())]
    )
    assert (outside / "events.out.tfevents.mine").read_text() == "mine"


def test_locks_and_derived_files_that_are_links_lead_nowhere(tmp_path: Path) -> None:
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
        check(store.folder, dry_run=False, data_dir=None, report=lambda said: None)

    run_isolated(work, writes=[tmp_path / "results", Path(tempfile.gettempdir())])
    assert precious.read_text() == "precious"
    assert (store.folder / "matrix.md").read_text() == "new"


def test_results_folders_full_of_anything_are_walked_to_an_end(tmp_path: Path) -> None:
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
            Store(group.folder).records(lambda said: None)
        check(results, dry_run=True, data_dir=None, report=pytest.fail)

    run_isolated(work, writes=[results, Path(tempfile.gettempdir())], seconds=120.0)
