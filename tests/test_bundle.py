"""`bench export` and `bench import`: one file that holds all, and nothing else gets in by it."""

import hashlib
import json
import os
import shutil
import signal
import stat
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import unpacking
from bench.bundle_names import fits
from bench.cli import app
from bench.store.codec import encode
from tests.made import made_record
from tests.made_travel import GROUP, at, everything, group, keep, name_of, put, tried

BESIDE = ("predictions", "logs", "profiles")
PNG = b"\x89PNG\r\n\x1a\n" + b"IEND\xaeB`\x82"
RUN = at(1).run_id
Entries = dict[str, bytes]


def bench(*words: object) -> Any:
    return CliRunner().invoke(app.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`results`: a run that was tried twice and one more, and another group; `all.zip` of them."""
    place = tmp_path_factory.mktemp("made")
    root = place / "results"
    keep(group(root), at(1, status="crashed"), "logs")
    keep(group(root), at(2), *BESIDE)
    keep(group(root), at(3, 1))
    put(root / GROUP / "examples" / "flip_crop__kornia.png", PNG)
    keep(group(root, "h100_cifar10_full"), at(4, 2), "logs")
    done = bench("export", root, place / "all.zip")
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "results", tmp_path / "results"))


@pytest.fixture
def file(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made / "all.zip", tmp_path))


def entries(file: Path) -> Entries:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def listed(files: Entries) -> Entries:
    """The files with a manifest that fits them."""
    sums = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
        if name != "manifest.json"
    }
    manifest = {"format": "pipeline-bench results", "version": 1, "files": sums}
    return files | {"manifest.json": json.dumps(manifest).encode()}


def packed(path: Path, files: Entries) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(file: Path, out: Path) -> str:
    """The one sentence that an import ends with; nothing is written."""
    done = bench("import", file, "--out", out)
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert not out.exists()
    assert line.startswith("bench: ")
    return str(line)


def test_what_is_exported_and_imported_is_what_was_there(
    results: Path, file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = bench("import", file, "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"{out / GROUP}: 2 runs, 2 new, 1 kept as attempts",
        f"{out / 'h100_cifar10_full'}: 1 run, 1 new",
    ]
    found = everything(out)
    for name, content in everything(results).items():
        assert found.pop(name) == content, name
    assert {Path(name).name for name in found} == {"matrix.csv", "matrix.md"}
    assert tried(group(out), RUN) == {1: "01"}


def test_the_same_content_gives_the_same_bytes(results: Path, file: Path, tmp_path: Path) -> None:
    bench("import", file, "--out", tmp_path / "out")
    for path in results.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    for number, folder in enumerate((results, tmp_path / "out")):
        again = tmp_path / f"{number}.zip"
        assert bench("export", folder, again).exit_code == 0
        assert again.read_bytes() == file.read_bytes()


def test_attempts_and_what_belongs_to_them_travel_on(results: Path, tmp_path: Path) -> None:
    """What a merge has put beside an attempt is in the file, and comes out of it."""
    keep(group(tmp_path / "other"), at(5), "predictions")
    assert bench("merge", tmp_path / "other", "--out", results).exit_code == 0
    file, out = tmp_path / "x.zip", tmp_path / "out"
    assert bench("export", results, file).exit_code == 0
    assert bench("import", file, "--out", out).exit_code == 0
    assert everything(out / GROUP / "records") == everything(results / GROUP / "records")
    beside = out / GROUP / "records" / ".attempts" / f"{RUN}.2" / name_of("predictions", at(2))
    assert b"02:00" in beside.read_bytes()


def test_cells_are_chosen_and_kinds_left_out_and_sizes_said(results: Path, tmp_path: Path) -> None:
    keep(group(results), at(1, 9))
    file = tmp_path / "part.zip"
    done = bench("export", results, file, "--without", "predictions", "--without", "logs")
    assert done.exit_code == 0, done.output
    head, holds, leaves = done.stdout.splitlines()
    assert head.startswith(f"{file}: 4 records, 0.0")
    assert holds.startswith("holds attempts 0.00 MiB, examples 0.00 MiB, profiles 0.00 MiB, ")
    assert leaves == "leaves out logs 0.00 MiB, predictions 0.00 MiB"
    assert not [name for name in entries(file) if name.endswith((".npz", ".log"))]
    assert sum("/records/" in name for name in entries(file)) == 5


def test_a_selection_takes_the_records_attempts_and_strips_of_its_cells(tmp_path: Path) -> None:
    store = group(tmp_path / "results")
    keep(store, at(1), *BESIDE)
    other = replace(made_record(optimizer="adamw", augmentation="cut"), finished=at(2).finished)
    keep(store, other, *BESIDE)
    for strip in ("flip_crop__kornia", "cut__kornia"):
        put(store.folder / "examples" / f"{strip}.png", PNG)
    file = tmp_path / "x.zip"
    assert bench("export", tmp_path / "results", file, "-k", "adamw").exit_code == 0
    names = {name for name in entries(file) if name != "manifest.json"}
    own = {f"records/{other.run_id}.json", *(name_of(kind, other) for kind in BESIDE)}
    assert names == {f"{GROUP}/{name}" for name in (*own, "examples/cut__kornia.png")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["results", "x.tar"], "x.tar does not end in .zip"),
        (["results", "folder.zip"], "folder.zip is a folder"),
        (
            ["results", "x.zip", "--without", "log"],
            "unknown value of --without 'log': did you mean",
        ),
        (["results", "x.zip", "-k", "resnt"], "-k: no cell has 'resnt': did you mean resnet18"),
        (["gone", "x.zip"], "there is no results folder gone"),
        (["folder.zip", "x.zip"], "there are no results under folder.zip"),
        (["results", "gone/x.zip"], "cannot write gone/x.zip: No such file or directory"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    results: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(results.parent)
    Path("folder.zip").mkdir()
    done = bench("export", *words)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bench: {said}")
    assert not Path("x.zip").exists()


def test_an_export_that_fails_leaves_the_file_of_before(
    results: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def full(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    done = bench("export", results, file)
    assert done.exit_code == 2
    assert "No space left on device; make room" in done.stderr
    assert file.read_bytes() == before
    assert not list(file.parent.glob("*.tmp"))


def test_damaged_records_are_named_and_not_packed(results: Path, tmp_path: Path) -> None:
    path = put(results / GROUP / "records" / f"{at(1, 7).run_id}.json", b"{")
    done = bench("export", results, tmp_path / "x.zip")
    assert done.exit_code == 1
    assert f"{path} is damaged and left out: not JSON" in done.stderr
    assert not [name for name in entries(tmp_path / "x.zip") if at(1, 7).run_id in name]
    assert path.exists()


def test_links_are_not_packed(results: Path, tmp_path: Path) -> None:
    secret = put(tmp_path / "secret", b"mine")
    log = results / GROUP / name_of("logs", at(3, 1))
    log.symlink_to(secret)
    assert bench("export", results, tmp_path / "x.zip").exit_code == 0
    assert b"mine" not in entries(tmp_path / "x.zip").values()


def test_a_file_that_was_cut_or_changed_is_refused_and_nothing_is_written(
    file: Path, tmp_path: Path
) -> None:
    """Wherever it was: cut at many places, one byte changed at many places."""
    whole, random, out = file.read_bytes(), Random(8), tmp_path / "out"
    assert bench("import", file, "--out", tmp_path / "unharmed").exit_code == 0
    unharmed = everything(tmp_path / "unharmed")
    bad = tmp_path / "bad.zip"
    places = sorted(random.sample(range(len(whole)), 25))
    changed = 0
    for place in places:
        bad.write_bytes(whole[:place])
        assert "bad.zip cannot be imported" in refused(bad, out)
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        done = bench("import", bad, "--out", out)
        if done.exit_code == 0:  # a byte that means nothing, as a rights bit: all came in as it was
            assert everything(out) == unharmed
            for path in sorted(out.rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            out.rmdir()
            continue
        changed += 1
        assert done.exit_code == 2, (place, done.output, done.exception)
        assert len(done.stderr.splitlines()) == 1
        assert not out.exists()
    assert changed > 15


@pytest.mark.parametrize(
    "name",
    [
        "../escaped.json",
        "/tmp/escaped.json",
        f"{GROUP}/../../escaped.json",
        f"../{GROUP}/records/{RUN}.json",
        f"{GROUP}/records/../../../x.json",
        f"{GROUP}\\records\\{RUN}.json",
        f"{GROUP}/matrix.csv",
        f"{GROUP}/records/{RUN}.json/x",
        f"{GROUP}/.lock",
        f"{GROUP}/records/x.py",
        f".{GROUP}/records/{RUN}.json",
        f"a/b/{GROUP}/records/{RUN}.json",
        f"{GROUP}/tensorboard/../x/y",
        f"{GROUP}/tensorboard/a/b/c",
        f"{GROUP}/tensorboard/a/..",
        f"{GROUP}/examples/a\nb.png",
        f"{GROUP}/records/.attempts/{RUN}.0.json",
        f"{GROUP}/records/.attempts/../../../{RUN}.json",
        f"{'g' * 300}/records/{RUN}.json",
        "x" * 5000,
    ],
)
def test_a_name_that_is_none_of_results_is_refused(file: Path, tmp_path: Path, name: str) -> None:
    assert not fits(name)
    before = everything(tmp_path)
    bad = packed(tmp_path / "bad.zip", listed(entries(file) | {name: b"x"}))
    said = refused(bad, tmp_path / "out")
    assert "it has a file that is none of results" in said
    bad.unlink()
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("LNK", "is no plain file"),
        ("CHR", "is no plain file"),
        ("BLK", "is no plain file"),
        ("IFO", "is no plain file"),
        ("DIR", "is no plain file"),
        ("SOCK", "is no plain file"),
        ("encrypted", "packed in a way that `bench export` does not use"),
        ("bzip2", "packed in a way that `bench export` does not use"),
    ],
)
def test_what_is_no_plain_file_is_refused(file: Path, tmp_path: Path, kind: str, said: str) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        for name, content in entries(file).items():
            entry = zipfile.ZipInfo(name)
            if name.endswith(".npz") and kind == "bzip2":
                entry.compress_type = zipfile.ZIP_BZIP2
            elif name.endswith(".npz") and kind != "encrypted":
                entry.external_attr = (getattr(stat, f"S_IF{kind}") | 0o777) << 16
            archive.writestr(entry, content)
    if kind == "encrypted":
        whole = bytearray(bad.read_bytes())
        whole[whole.index(b"PK\x01\x02") + 8] |= 1  # the flags of its first file
        bad.write_bytes(whole)
    assert said in refused(bad, tmp_path / "out")


def test_a_name_twice_is_refused(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        for name, content in entries(file).items():
            archive.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(name, content)
    assert "it names a file twice" in refused(bad, tmp_path / "out")


def test_a_file_that_would_unpack_to_far_more_is_refused_before_it_is(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "UNSUSPICIOUS", 2**20)
    monkeypatch.setattr(unpacking, "_extract", lambda *words: pytest.fail("it was unpacked"))
    bomb = {f"{GROUP}/logs/{RUN}.log": bytes(2**25)}
    bad = packed(tmp_path / "bad.zip", listed(entries(file) | bomb))
    assert bad.stat().st_size < 2**17
    assert "bytes would unpack to 33," in refused(bad, tmp_path / "out")


def test_a_file_that_lies_about_its_sizes_is_unpacked_no_further(
    file: Path, tmp_path: Path
) -> None:
    """The sizes of the list are what was judged: not a byte more is written."""
    name = f"{GROUP}/logs/{RUN}.log"
    bad = packed(tmp_path / "bad.zip", listed(entries(file) | {name: bytes(2**22)}))
    whole = bytearray(bad.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = whole.index(mark)
        while name.encode() not in whole[place : place + 46 + len(name)]:
            place = whole.index(mark, place + 1)
        whole[place + offset : place + offset + 4] = (9).to_bytes(4, "little")
    bad.write_bytes(whole)
    refused(bad, tmp_path / "out")


def test_a_disk_without_room_to_unpack_is_said(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "SPARE", 2**60)
    assert "make room, or set TMPDIR" in refused(file, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: {"x.txt": b"hello"}, "it is no archive of `bench export`"),
        (lambda files: files | {"manifest.json": b"{"}, "cut or changed, or is no archive"),
        (lambda files: files | {"manifest.json": b'{"format": 3}'}, "cut or changed, or is no"),
        (
            lambda files: (
                files
                | {"manifest.json": files["manifest.json"].replace(b"pipeline-bench", b"other")}
            ),
            "it is no archive of `bench export`",
        ),
        (
            lambda files: (
                files
                | {
                    "manifest.json": files["manifest.json"].replace(
                        b'"version": 1', b'"version": 2'
                    )
                }
            ),
            "was written in version 2 of the format, but this version of pipeline-bench knows 1",
        ),
        (
            lambda files: {n: c for n, c in files.items() if not n.endswith(".npz")},
            "its files are not those it lists",
        ),
        (
            lambda files: files | {f"{GROUP}/logs/{'0' * 16}.log": b"one more"},
            "its files are not those it lists",
        ),
        (
            lambda files: {n: c[:-1] + b"!" if n.endswith(".npz") else c for n, c in files.items()},
            ".npz in it was changed",
        ),
    ],
)
def test_a_file_that_is_not_as_it_says_is_refused(
    file: Path, tmp_path: Path, change: Callable[[Entries], Entries], said: str
) -> None:
    bad = packed(tmp_path / "bad.zip", change(entries(file)))
    assert said in refused(bad, tmp_path / "out")


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "empty", "text"])
def test_what_is_no_archive_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.zip"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "nothing":
        path.write_text("" if kind == "empty" else "not a zip " * 99)
    said = refused(path, tmp_path / "out")
    assert f"there is no file {path}" in said or f"{path} cannot be imported" in said


def test_a_record_that_is_damaged_under_a_fitting_sum_is_named_by_the_file(
    file: Path, tmp_path: Path
) -> None:
    name = f"{GROUP}/records/{at(1, 7).run_id}.json"
    bad = packed(tmp_path / "bad.zip", listed(entries(file) | {name: b"{"}))
    done = bench("import", bad, "--out", tmp_path / "out")
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith(f"{bad}/{name} is damaged and left out: not JSON")


def test_a_newer_record_in_a_file_is_refused(file: Path, tmp_path: Path) -> None:
    newer = at(1, 7, schema_version=99)
    name = f"{GROUP}/records/{newer.run_id}.json"
    bad = packed(tmp_path / "bad.zip", listed(entries(file) | {name: encode(newer)}))
    said = refused(bad, tmp_path / "out")
    assert f"{bad}/{name} was written with schema 99" in said


def test_nothing_is_left_of_what_was_unpacked(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    assert bench("import", file, "--out", tmp_path / "out").exit_code == 0
    refused(packed(tmp_path / "bad.zip", entries(file) | {"x": b""}), tmp_path / "other")
    assert list(aside.iterdir()) == []


def test_an_import_that_is_stopped_leaves_nothing_of_what_was_unpacked(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    seen: list[Path] = []

    def stopped(sources: list[Path], *more: object) -> None:
        seen.extend(sources)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(unpacking, "merge", stopped)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        done = bench("import", file, "--out", tmp_path / "out")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 130
    assert [path.parent for path in seen] == [aside]
    assert list(aside.iterdir()) == []
