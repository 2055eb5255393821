"""A real grid on a disk of a few MiB that fills up; a program that runs in mounts of its own.

`unshare --mount python -m tests.faults.full_disk FOLDER` prints as JSON what happened.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.store.files import StoreError
from bench.store.store import Store

RUN = [
    *("run", "--source", "shapes", "--device", "cpu", "--no-compile", "--epochs", "1"),
    *("--pipeline", "native[eager]", "-k", "cnn4/sgd/flip_crop/native[eager]"),
]
RESULTS = "räksmörgås results 🍤"


def main(folder: Path) -> None:
    """Does everything and prints it."""
    disk = mounted(folder / "disk", "size=80m")
    found = {"said": said_before(folder), "full": filled_while_it_runs(disk)}
    print(json.dumps(found))


def mounted(place: Path, options: str) -> Path:
    """A file system in memory."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=True)
    return place


def filled_while_it_runs(disk: Path) -> dict[str, Any]:
    """The disk fills when the first of three runs is kept and the second begins."""
    out = disk / RESULTS
    command = [*RUN, "--seeds", "3", "--out", str(out), "--progress", "json"]
    grid = subprocess.Popen(
        [sys.executable, "-m", "bench", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert grid.stdout is not None
    events = []
    for line in grid.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "started" and events[-1]["position"] == 2:
            fill(disk / "filler")
    _, errors = grid.communicate()
    (group,) = out.glob("*_shapes_cpu")
    return {
        "code": grid.returncode,
        "events": events,
        "errors": errors,
        "records": kept(group),
        "files": {
            str(path.relative_to(group)): path.stat().st_size
            for path in group.rglob("*")
            if path.is_file()
        },
    }


def fill(path: Path) -> None:
    """Writes until nothing more fits."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 4096):
        try:
            while True:
                os.write(descriptor, b"\0" * size)
        except OSError:
            continue
    os.close(descriptor)


def kept(group: Path) -> dict[int, str]:
    """Seed to status of all records; none may be damaged."""

    def never(text: str) -> None:
        raise AssertionError(text)

    return {record.seed: record.status for record in Store(group).records(never)}


def said_before(folder: Path) -> dict[str, str]:
    """What is said of disks before anything is trained there."""
    large = Store(mounted(folder / "large", "size=100m") / "group")
    said = {"for many": large.check_writable(runs=1000), "for few": large.check_writable(runs=10)}
    for name, options in (("small", "size=8m"), ("read-only", "size=100m,ro")):
        try:
            Store(mounted(folder / name, options) / "group").check_writable()
        except StoreError as error:
            said[name] = str(error)
    return said


if __name__ == "__main__":
    main(Path(sys.argv[1]))
