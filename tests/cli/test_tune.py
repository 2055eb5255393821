"""`bench tune --save`: a file of recipes is replaced as a whole or stays as it was."""

import errno
import os
from pathlib import Path

import pytest

from bench.executors import tune as tuning
from bench.grid.recipe_files import Entry, read, render
from bench.recipe import Recipe
from bench.store import files
from tests.cli.conftest import Bench


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("disk_is_full", [False, True])
def test_a_full_disk_leaves_the_recipes_as_they_were(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, disk_is_full: bool
) -> None:
    entry = Entry(architecture="cnn4", optimizer="sgd", batch_size=64, recipe=Recipe(lr=0.1))
    path = Path("mine.json")
    path.write_text(render([entry]))
    path.write_text(before := render(read(path)))
    write = files._write

    def write_or_fail(temporary: Path, content: bytes) -> None:
        if disk_is_full and temporary.name.startswith(path.name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))
        write(temporary, content)

    monkeypatch.setattr(files, "_write", write_or_fail)
    monkeypatch.setattr(tuning, "tune", lambda *args, **kwargs: [])
    done = bench("tune", "--source", "shapes", "--device", "cpu", "--save", str(path))
    assert done.exit_code == (2 if disk_is_full else 0), done.output
    assert ("No space left on device" in done.stderr) is disk_is_full
    assert path.read_text() == before
    assert list(Path().glob("*.tmp")) == []
