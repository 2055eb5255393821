"""What TensorBoard makes of 100 cells with 5 seeds: size, seconds until seen, memory.

    python tests/benchmarks/tensorboard_size.py [CELLS] [SEEDS] [SCREENSHOTS]

Made records of ten classes and twenty epochs, their event files as `bench tensorboard --rebuild`
writes them, the command itself, and its tabs in a browser; prints JSON. The browser part needs
Chromium and is null without it. SCREENSHOTS is a folder that gets a picture of each tab.
"""

import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.recipe import Recipe
from bench.record import (
    Memory,
    PerClass,
    Point,
    Record,
    Throughput,
    Timings,
)
from bench.store.store import Store
from bench.tensorboard.view import (
    rebuild,
    select_runs,
)
from tests.benchmarks.side_by_side import (
    conditions,
    told,
)
from tests.made import (
    made_metrics,
    made_record,
)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

NETS = tuple(f"net{number}" for number in range(10))
OPTIMIZERS = ("sgd", "adamw", "muon", "lion", "lamb")
AUGMENTATIONS = ("none", "flip_crop")
PIPELINES = ("native", "kornia", "dali")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EPOCHS, IMAGES, PER_CLASS, THRESHOLDS = 20, 45_000, 1000, 51
TARGET = 0.85
FIRST_RUN = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = {f"setting{number}": f"value {number}" for number in range(20)}  # as many as a machine's
PATIENCE_S = 300
PAGE = 100  # runs that TensorBoard's hparams show at once
LONGEST = """() => { window.longest = 0; new PerformanceObserver(list => {
  for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
}).observe({type: "longtask", buffered: true}); }"""


def curve(chance: random.Random, final: float, speed: float) -> tuple[Point, ...]:
    """A noisy rise to `final` at `speed` images a second."""
    points = []
    for epoch in range(1, EPOCHS + 1):
        images, share = epoch * IMAGES, epoch / EPOCHS
        accuracy = final * (1 - math.exp(-4 * share)) + chance.uniform(-0.01, 0.01)
        points.append(
            Point(
                epoch=epoch,
                images=images,
                train_s=images / speed,
                train_loss=2.3 * math.exp(-3 * share) + chance.uniform(0, 0.05),
                learning_rate=0.1 * (1 - share),
                images_per_s=speed * chance.uniform(0.97, 1.03),
                step_ms=512_000 / speed,
                validation_loss=2.3 * math.exp(-2.5 * share) + chance.uniform(0, 0.08),
                validation_accuracy=accuracy,
                validation_macro_f1=accuracy - 0.005,
            )
        )
    return tuple(points)


def made(levels: tuple[str, str, str, str], seed: int, place: int) -> Record:
    """A record with a curve, scores and a time of its own."""
    augmentation, pipeline, optimizer, net = levels
    chance = random.Random(f"{levels}{seed}")
    final = 0.80 + 0.014 * NETS.index(net) + chance.uniform(-0.01, 0.01)
    speed = chance.uniform(4_000, 30_000)
    ceiling = speed * chance.uniform(1.02, 1.4)
    points = curve(chance, final, speed)
    reached = (p.train_s for p in points if (p.validation_accuracy or 0.0) >= TARGET)
    right = round(PER_CLASS * final)
    wrong = np.full((len(CLASSES), len(CLASSES)), (PER_CLASS - right) // (len(CLASSES) - 1))
    np.fill_diagonal(wrong, right)
    scores = tuple(
        PerClass(name=name, precision=final, recall=final, f1=final, support=PER_CLASS)
        for name in CLASSES
    )
    metrics = replace(
        made_metrics(final, next(reached, None)),
        confusion=tuple(map(tuple, wrong.tolist())),
        per_class=scores,
    )
    started = FIRST_RUN + timedelta(minutes=5 * place)
    train_s = points[-1].train_s
    fields = {
        "curve": points,
        "metrics": metrics,
        "timings": Timings(train_s=train_s, total_s=train_s + 20),
        "throughput": Throughput(
            median=speed, p5=0.95 * speed, p95=1.02 * speed, ceiling=ceiling,
            stall_pct=100 * (1 - speed / ceiling), step_ms=512_000 / speed,
        ),
        "memory": Memory(host_gib=3.0, torch_gib=chance.uniform(1, 6), device_gib=7.0),
        "energy_j": chance.uniform(2_000, 9_000),
        "environment": SETTINGS,
        "started": started.isoformat(),
        "finished": (started + timedelta(seconds=train_s + 20)).isoformat(),
    }  # fmt: skip
    return made_record(
        seed, record=fields, architecture=net, optimizer=optimizer, augmentation=augmentation,
        pipeline=pipeline, epochs=EPOCHS, train_images=IMAGES, batch_size=512,
        target_accuracy=TARGET, recipe=Recipe(lr=0.1 / (1 + OPTIMIZERS.index(optimizer))),
    )  # fmt: skip


def positives(accuracy: float) -> np.ndarray:
    """True and false positives of each class at each threshold."""
    thresholds = np.linspace(0, 1, THRESHOLDS)
    true = PER_CLASS * np.clip(1 - (1.2 - accuracy) * thresholds**3, 0, 1)
    false = PER_CLASS * (len(CLASSES) - 1) * np.exp(-9 * thresholds)
    return np.stack([np.stack([true, false])] * len(CLASSES)).astype(int)


def fill(root: Path, cells: int, seeds: int) -> Path:
    """A group of made records, and the event files that they give."""
    store = Store(root / "made_shapes_cpu")
    axes = product(AUGMENTATIONS, PIPELINES, OPTIMIZERS, NETS)
    runs = product(islice(axes, cells), range(seeds))
    for place, (levels, seed) in enumerate(runs):
        record = store.write(made(levels, seed, place))
        curves = positives(record.metrics.accuracy if record.metrics else 0.0)
        store.save_predictions(record.run_id, [0], [0], positives=curves)
    noise = np.random.default_rng(0).integers(0, 256, (64, 1024, 3), dtype=np.uint8)
    for policy, pipeline in product(AUGMENTATIONS, PIPELINES):
        strip = BytesIO()
        Image.fromarray(noise).save(strip, "PNG")
        store.write_derived(f"examples/{policy}__{pipeline}.png", strip.getvalue())
    rebuild(select_runs(root, ""), lambda text: None)
    return store.tensorboard_folder()


@contextmanager
def served(root: Path) -> Iterator[tuple[str, int]]:
    """Address of the view, and process of the command that serves it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "tensorboard", str(root), "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split(" at ")[1].split()[0], process.pid
    finally:
        process.terminate()
        process.communicate()


def wait_for_all(address: str, runs: int) -> None:
    """Returns when the server has read what each run wrote last."""
    server = address.partition("#")[0]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with urllib.request.urlopen(f"{server}data/plugin/pr_curves/tags") as answer:
            found = json.load(answer)
        if sum(len(tags) == len(CLASSES) for tags in found.values()) == runs:
            return
        assert time.monotonic() < deadline, f"{len(found)} of {runs} runs"
        time.sleep(0.2)


def memory_mb(process: int) -> float:
    """Resident memory of a process and its children, shared pages counted once."""
    total = 0
    for name in (process, *_children(process)):
        lines = Path(f"/proc/{name}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return round(total * 1024 / 1e6, 1)


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task").glob("*/children")
    return [int(name) for path in listed for name in path.read_text().split()]


class Tabs:
    """TensorBoard's tabs, opened as a person does: the address, then one click each."""

    def __init__(self, page: Any, shots: Path | None) -> None:
        self.page = page
        self.shots = shots
        self.found: dict[str, dict[str, float]] = {}

    def timed(self, name: str, act: Any, selector: str, least: int = 1) -> None:
        """Seconds until there are so many of what is waited for, and the longest standstill."""
        self.page.evaluate("() => { window.longest = 0; }")
        start = time.perf_counter()
        act()
        self.page.locator(selector).nth(least - 1).wait_for(state="attached")
        seen_s = time.perf_counter() - start
        self.page.wait_for_timeout(3000)  # what goes on after the first sight
        longest = self.page.evaluate("() => window.longest") or 0
        self.found[name] = {
            **self.found.get(name, {}),
            "seen_s": round(seen_s, 2),
            "longest_task_s": round(longest / 1000, 2),
        }
        if self.shots:
            self.page.screenshot(path=self.shots / f"{name}.png")

    def first_chart(self, address: str, lines: str, count: int) -> Any:
        """What opens the first tab and notes when its first chart is whole."""

        def act() -> None:
            start = time.perf_counter()
            self.page.goto(address)
            self.page.locator(lines).nth(count - 1).wait_for(state="attached")
            seen_s = time.perf_counter() - start
            self.found["custom_scalars"] = {"first_chart_s": round(seen_s, 2)}

        return act

    def click(self, tab: str) -> Any:
        """What opens a tab."""
        return lambda: self.page.get_by_role("tab", name=tab).first.click()


def opened(address: str, runs: int, shots: Path | None) -> dict[str, Any] | None:
    """What each tab took, and how much the browser holds then."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1800})
        page.set_default_timeout(1000 * PATIENCE_S)
        page.add_init_script(f"({LONGEST})()")
        tabs = Tabs(page, shots)
        ticked = min(runs, 10)
        lines = "tf-custom-scalar-multi-line-chart-card path.line[d*=L]"
        first = tabs.first_chart(address, lines, ticked)
        tabs.timed("custom_scalars", first, lines, 4 * ticked)
        area = "tf-custom-scalar-margin-chart-card path.area[d*=L]"
        page.locator(area).first.wait_for(state="attached")
        tabs.timed("scalars", tabs.click("Scalars"), "tf-scalar-card path.line[d*=L]", ticked)
        tabs.timed("images", tabs.click("Images"), "tf-image-loader img", ticked)
        tabs.timed("text", tabs.click("Text"), "tf-text-loader table", ticked)
        tabs.timed("pr_curves", tabs.click("PR Curves"), "tf-pr-curve-card path.line[d*=L]", ticked)
        tabs.timed("hparams_table", tabs.click("HParams"), "vaadin-grid tr")
        parallel = page.get_by_text("PARALLEL COORDINATES VIEW")
        plot = "tf-hparams-parallel-coords-plot path"
        tabs.timed("parallel_coordinates", parallel.click, plot, 2 * min(runs, PAGE))
        middle = page.locator("tf-hparams-parallel-coords-plot svg").bounding_box()
        move = (middle["x"] + 0.75 * middle["width"], middle["y"] + 0.5 * middle["height"])
        hovered = "tf-hparams-session-group-values vaadin-grid"
        tabs.timed("parallel_hover", lambda: page.mouse.move(*move), hovered)
        tabs.timed("time_series", tabs.click("Time Series"), "scalar-card")
        heap = page.evaluate("() => performance.memory.usedJSHeapSize")
        browser.close()
    return {"tabs": tabs.found, "heap_mb": round(heap / 1e6)}


def main() -> None:
    """Measures and prints."""
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    shots = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    before = conditions()  # other work on the machine makes all of it slower
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
            browser = opened(address, runs, shots)
            figures = {
                "cells": cells,
                "seeds": seeds,
                "write_s": round(write_s, 1),
                "files": len(files),
                "size_mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
                "listening_s": round(listening_s, 2),
                "loaded_s": round(loaded_s, 2),
                "server_mb": memory_mb(process),
                "browser": browser,
            }
    told(before, figures)


if __name__ == "__main__":
    main()
