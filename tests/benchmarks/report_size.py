"""Seconds to make a report of 300 cells with 3 seeds, its size, and seconds until it is open.

    python tests/benchmarks/report_size.py [CELLS] [SEEDS] [SCREENSHOTS]

Made records of ten classes and twenty epochs; whole processes; prints JSON. The browser part needs
Chromium and is null without it. SCREENSHOTS is a folder that gets the page at two widths, in light
and dark, and printed.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

from bench.record import (
    PerClass,
    Record,
)
from bench.store.codec import encode
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

NETS = [f"net{number}" for number in range(10)]
OPTIMIZERS = [f"optimizer{number}" for number in range(5)]
AUGMENTATIONS = ("none", "flip_crop", "flip_crop_cutout", "cutmix", "randaugment", "mixup")
PIPELINES = ("native", "kornia", "dali", "torchvision[workers=2]")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def made(cell: tuple[str, str, str, str], seed: int) -> Record:
    """A record with scores of its own."""
    net, optimizer, augmentation, pipeline = cell
    chance = random.Random(f"{cell}{seed}")
    accuracy = 0.5 + 0.04 * NETS.index(net) + chance.uniform(-0.02, 0.02)
    metrics = replace(
        made_metrics(accuracy, chance.uniform(2.0, 15.0)),
        confusion=tuple(tuple(chance.randint(0, 1000) for _ in CLASSES) for _ in CLASSES),
        per_class=tuple(
            PerClass(
                name=name,
                precision=chance.random(),
                recall=chance.random(),
                f1=chance.random(),
                support=1000,
            )
            for name in CLASSES
        ),
    )
    return made_record(
        seed,
        accuracy=accuracy,
        images_per_s=chance.uniform(500.0, 1900.0),
        record={"metrics": metrics},
        architecture=net,
        optimizer=optimizer,
        augmentation=augmentation,
        pipeline=pipeline,
        epochs=20,
    )


def fill(folder: Path, cells: int, seeds: int) -> Path:
    """A group folder of made records."""
    records = folder / "made_shapes_cpu" / "records"
    records.mkdir(parents=True)
    axes = product(AUGMENTATIONS, PIPELINES, OPTIMIZERS, NETS)
    for augmentation, pipeline, optimizer, net in islice(axes, cells):
        for seed in range(seeds):
            record = made((net, optimizer, augmentation, pipeline), seed)
            (records / f"{record.run_id}.json").write_bytes(encode(record))
    return records.parent


def opening(page: Path, shots: Path | None) -> dict[str, Any] | None:
    """Seconds from the call to the load event, in a browser that runs already."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        times = []
        for _ in range(5):
            start = time.perf_counter()
            tab.goto(page.as_uri())
            times.append(round(time.perf_counter() - start, 3))
        button = tab.locator('.matrix th[data-name="accuracy"] button')
        start = time.perf_counter()
        button.click()
        sort_s = round(time.perf_counter() - start, 3)
        for width, scheme in product((1280, 390), ("light", "dark")) if shots else ():
            assert shots is not None
            view = browser.new_page(
                viewport={"width": width, "height": 900},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            view.goto(page.as_uri())
            view.screenshot(path=shots / f"{width}-{scheme}.png", full_page=True)
        if shots:
            tab.pdf(path=shots / "page.pdf", prefer_css_page_size=True)
        browser.close()
    return {"open_s": sorted(times), "sort_s": sort_s}


def main() -> None:
    """Measures and prints."""
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    shots = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    loaded = conditions()
    with tempfile.TemporaryDirectory() as name:
        folder = fill(Path(name), cells, seeds)
        before = os.times()
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "bench", "report", str(folder)],
            cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        made_s = time.perf_counter() - start
        after = os.times()
        page = folder / "report.html"
        figures = {
            "cells": cells,
            "seeds": seeds,
            "make_s": round(made_s, 2),
            "make_cpu_s": round(
                after.children_user + after.children_system
                - before.children_user - before.children_system, 2,
            ),
            "size_mb": round(page.stat().st_size / 1e6, 2),
            "pictures": len(list((folder / "report").glob("*.svg"))),
            "browser": opening(page, shots),
        }  # fmt: skip
    told(loaded, figures)


if __name__ == "__main__":
    main()
