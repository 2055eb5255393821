"""A real grid on a small disk that fills up, run in mounts of its own.

`unshare --mount python -m tests.faults.full_disk FOLDER` prints what happened as JSON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.store.store import Store

COMMAND = [
    *(sys.executable, "-m", "bench", "run", "--source", "shapes", "--device", "cpu"),
    *("--no-compile", "--epochs", "1", "--pipeline", "native[eager]"),
    *("-k", "cnn4/sgd/flip_crop/native[eager]", "--seeds", "3", "--progress", "json"),
]
RESULTS = "räksmörgås results 🍤"


def main(folder: Path) -> None:
    """Fills the disk when the first of three runs is recorded and the second begins."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", disk], check=True)
    out = disk / RESULTS
    grid = subprocess.Popen(
        [*COMMAND, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert grid.stdout is not None
    events = []
    for line in grid.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "started" and events[-1]["position"] == 2:
            fill(disk / "filler")
    _, errors = grid.communicate()
    (group,) = out.glob("*_shapes_cpu")
    files = [path for path in group.rglob("*") if path.is_file()]
    warnings: list[str] = []
    records = {record.seed: record.status for record in Store(group).records(warnings.append)}
    assert not warnings, warnings
    found = {
        "code": grid.returncode,
        "events": events,
        "errors": errors,
        "records": records,
        "files": {str(path.relative_to(group)): path.stat().st_size for path in files},
    }
    print(json.dumps(found))


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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
