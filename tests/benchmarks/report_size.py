"""Time to make a report of 300 cells with 3 seeds, its size, and time to open it.

    python -m tests.benchmarks.report_size [CELLS] [SEEDS]

Its part that opens the page is null where there is no Chromium.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice, product
from pathlib import Path
from typing import Any

from tests.benchmarks.common import ROOT, conditions, full_record, print_figures
from tests.made import write_records

NETS = [f"net{number}" for number in range(10)]
OPTIMIZERS = [f"optimizer{number}" for number in range(5)]
AUGMENTATIONS = ("none", "flip_crop", "flip_crop_cutout", "cutmix", "randaugment", "mixup")
PIPELINES = ("native", "kornia", "dali", "torchvision[workers=2]")


def fill(folder: Path, cells: int, seeds: int) -> Path:
    axes = islice(product(AUGMENTATIONS, PIPELINES, OPTIMIZERS, NETS), cells)
    records = (
        full_record(
            seed, augmentation=augmentation, pipeline=pipeline, optimizer=optimizer,
            architecture=net, epochs=20,
        )
        for augmentation, pipeline, optimizer, net in axes
        for seed in range(seeds)
    )  # fmt: skip
    return write_records(folder / "made_shapes_cpu", records)


def opened(page: Path) -> dict[str, Any] | None:
    """Seconds until the page has loaded, in a running browser, and to sort its table."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        times = []
        for _ in range(5):
            start = time.perf_counter()
            tab.goto(page.as_uri())
            times.append(round(time.perf_counter() - start, 3))
        button = tab.locator('.matrix th[data-name="accuracy"] button')
        start = time.perf_counter()
        button.click()
        return {"open_s": sorted(times), "sort_s": round(time.perf_counter() - start, 3)}


def main(cells: int = 300, seeds: int = 3) -> None:
    before = conditions()
    with tempfile.TemporaryDirectory() as name:
        folder = fill(Path(name), cells, seeds)
        used, start = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "bench", "report", str(folder)],
            cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        make_s, after = time.perf_counter() - start, os.times()
        cpu_s = sum(after[2:4]) - sum(used[2:4])  # user and system time of children
        page = folder / "report.html"
        figures = {
            "cells": cells,
            "seeds": seeds,
            "make_s": round(make_s, 2),
            "make_cpu_s": round(cpu_s, 2),
            "size_mb": round(page.stat().st_size / 1e6, 2),
            "pictures": len(list((folder / "report").glob("*.svg"))),
            "browser": opened(page),
        }
    print_figures(before, figures)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
