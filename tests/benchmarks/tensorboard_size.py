"""TensorBoard with 100 cells of 5 seeds: size of the event files, loading time, time of each tab.

    python -m tests.benchmarks.tensorboard_size [CELLS] [SEEDS]

The records are made: ten classes, twenty epochs. Their event files are written as by
`bench tensorboard --rebuild`, and shown by the command itself. The browser needs Chromium; without
it its part is null.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from bench.record import Memory
from bench.store.store import Store
from bench.tensorboard.view import rebuild, select_runs
from tests.benchmarks.common import CLASSES, ROOT, chromium, conditions, full_record, print_figures

NETS = tuple(f"net{number}" for number in range(10))
OPTIMIZERS = ("sgd", "adamw", "muon", "lion", "lamb")
AUGMENTATIONS = ("none", "flip_crop")
PIPELINES = ("native", "kornia", "dali")
FIELDS: dict[str, Any] = {
    "memory": Memory(host_gib=3.0, torch_gib=4.0, device_gib=7.0),
    "energy_j": 4000.0,
    "environment": {f"setting{number}": f"value {number}" for number in range(20)},
}
PATIENCE_S = 300


def fill(root: Path, cells: int, seeds: int) -> Path:
    """Writes a group of made records and their event files."""
    store = Store(root / "made_shapes_cpu")
    thresholds = np.linspace(0, 1, 51)
    true, false = 1000 * (1 - 0.3 * thresholds**3), 9000 * np.exp(-9 * thresholds)
    positives = np.stack([np.stack([true, false])] * len(CLASSES)).astype(int)
    axes = islice(product(AUGMENTATIONS, PIPELINES, OPTIMIZERS, NETS), cells)
    for (augmentation, pipeline, optimizer, net), seed in product(axes, range(seeds)):
        made = full_record(
            seed, record=FIELDS, augmentation=augmentation, pipeline=pipeline,
            optimizer=optimizer, architecture=net, epochs=20,
        )  # fmt: skip
        record = store.write(made)
        store.save_predictions(record.run_id, [0], [0], positives=positives)
    noise = np.random.default_rng(0).integers(0, 256, (64, 1024, 3), dtype=np.uint8)
    for policy, pipeline in product(AUGMENTATIONS, PIPELINES):
        strip = BytesIO()
        Image.fromarray(noise).save(strip, "PNG")
        store.write_derived(f"examples/{policy}__{pipeline}.png", strip.getvalue())
    rebuild(select_runs(root, ""), lambda text: None)
    return store.tensorboard_folder()


@contextmanager
def served(root: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Address of the view, and process of the command that serves it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "tensorboard", str(root), "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process.stdout.readline().split(" at ")[1].split()[0], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate()


def wait_for_all(address: str, runs: int) -> None:
    """Waits until the server has read what each run wrote last."""
    server = address.partition("#")[0]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with urllib.request.urlopen(f"{server}data/plugin/pr_curves/tags") as answer:
            found = json.load(answer)
        if sum(len(tags) == len(CLASSES) for tags in found.values()) == runs:
            return
        assert time.monotonic() < deadline, f"{len(found)} of {runs} runs"
        time.sleep(0.2)


def memory_mb(process: psutil.Process) -> float:
    """Proportional set size of a process and its children."""
    family = (process, *process.children(recursive=True))
    return round(sum(member.memory_full_info().pss for member in family) / 1e6, 1)


def opened(address: str, runs: int) -> dict[str, Any] | None:
    """Seconds until each tab shows its content: the address, then one click each."""
    with chromium() as browser:
        if browser is None:
            return None
        page = browser.new_page(viewport={"width": 1400, "height": 1800})
        page.set_default_timeout(1000 * PATIENCE_S)

        def seen_s(act: Callable[[], object], *waited_for: tuple[str, int]) -> list[float]:
            """Seconds until each selector has so many elements."""
            start, times = time.perf_counter(), []
            act()
            for selector, count in waited_for:
                page.locator(selector).nth(count - 1).wait_for(state="attached")
                times.append(round(time.perf_counter() - start, 2))
            page.wait_for_timeout(3000)  # what goes on after the first sight
            return times

        shown = min(runs, 10)
        lines = "tf-custom-scalar-multi-line-chart-card path.line[d*=L]"
        first_s, all_s = seen_s(lambda: page.goto(address), (lines, shown), (lines, 4 * shown))
        tabs = {"custom_scalars": {"first_chart_s": first_s, "seen_s": all_s}}
        for name, label, selector, count in (
            ("scalars", "Scalars", "tf-scalar-card path.line[d*=L]", shown),
            ("images", "Images", "tf-image-loader img", shown),
            ("text", "Text", "tf-text-loader table", shown),
            ("pr_curves", "PR Curves", "tf-pr-curve-card path.line[d*=L]", shown),
            ("hparams_table", "HParams", "vaadin-grid tr", 1),
            ("time_series", "Time Series", "scalar-card", 1),
        ):
            tab = page.get_by_role("tab", name=label).first
            (time_s,) = seen_s(tab.click, (selector, count))
            tabs[name] = {"seen_s": time_s}
        return {"tabs": tabs}


def main(cells: int = 100, seeds: int = 5) -> None:
    """Measures and prints."""
    before = conditions()
    with tempfile.TemporaryDirectory() as name:
        root, runs = Path(name), cells * seeds
        start = time.perf_counter()
        folder = fill(root, cells, seeds)
        write_s = time.perf_counter() - start
        files = [path for path in folder.rglob("*") if path.is_file()]
        start = time.perf_counter()
        with served(root) as (address, process):
            listening_s = time.perf_counter() - start
            wait_for_all(address, runs)
            loaded_s = time.perf_counter() - start
            figures = {
                "cells": cells,
                "seeds": seeds,
                "write_s": round(write_s, 1),
                "files": len(files),
                "size_mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
                "listening_s": round(listening_s, 2),
                "loaded_s": round(loaded_s, 2),
                "browser": opened(address, runs),
                "server_mb": memory_mb(process),
            }
    print_figures(before, figures)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
