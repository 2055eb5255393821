"""The pictures of the README, made from the committed records: SVG, light and dark.

    python -m tests.benchmarks.pictures                     # the charts
    python -m tests.benchmarks.pictures screenshot [GROUP]  # the report's first screen, as PNG

They go to `docs/pictures`.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from bench.report.figures.pipelines import bars
from bench.report.figures.style import ACCENT, GREY, THEMES, Sketch, settings, themed
from bench.report.loaders import rows
from bench.report.page.writing import write_report
from bench.report.render import Row
from bench.store.loaders_record import LoadersRecord, read_loaders
from tests.benchmarks.common import ROOT

PICTURES = ROOT / "docs" / "pictures"
REFERENCE = ROOT / "results" / "reference"
SCREEN: Any = {"width": 1280, "height": 800}
TIMES = "\N{MULTIPLICATION SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"
BASELINE = "torchvision"
LABELS = {BASELINE: "DataLoader", "dali": "DALI"}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of what `bench loaders` measured."""

    group: str  # folder of the record
    title: str
    images: str
    row_in: float


CHARTS = {
    "loaders_memory": Chart(
        group="amd-epyc-2-cores_cifar10_cpu",
        title="images in memory",
        images="CIFAR-10 at {size}",
        row_in=0.36,
    ),
    "loaders_jpeg": Chart(
        group="amd-epyc-2-cores_folder-jpegs-size-224-decode-270188f2_cpu",
        title="JPEG files",
        images="decoded to {size}",
        row_in=0.2,
    ),
}


def fastest(record: LoadersRecord) -> list[Row]:
    """The fastest variant of each pipeline that does equal work, the fastest first.

    All are ranked and of the batch size at which the fastest was measured; none reads an array if
    others decode files.
    """
    ranked = [row for row in rows(record) if row["rank"]]
    alike = [row for row in ranked if row["reads"] == ranked[0]["reads"]]
    by_speed = sorted(alike, key=lambda row: -row["images_per_s"])
    found: dict[str, Row] = {}
    for row in by_speed:
        if row["batch_size"] == by_speed[0]["batch_size"]:
            found.setdefault(row["pipeline"].partition("[")[0], row)
    return list(found.values())


def charts() -> Iterator[tuple[str, str]]:
    """Names of files and their contents."""
    for name, chart in CHARTS.items():
        record = read_loaders(REFERENCE / chart.group)
        assert record is not None
        with settings():
            sketch, conditions = draw(name, chart, record)
            for theme, svg in themed(sketch, group=conditions).items():
                yield f"{name}_{theme}.svg", svg + "\n"


def draw(name: str, chart: Chart, record: LoadersRecord) -> tuple[Sketch, str]:
    found = fastest(record)
    speeds = {row["pipeline"].partition("[")[0]: row["images_per_s"] for row in found}
    ratio = speeds["native"] / speeds[BASELINE]
    labelled = [row | {"pipeline": label(row["pipeline"])} for row in found]
    colours = {row["pipeline"]: GREY for row in labelled} | {"native": ACCENT}
    height, width = record.image_size
    cores = record.environment["cores"]
    conditions = [
        chart.images.format(size=f"{width} {TIMES} {height}"),
        record.augmentation,
        f"batches of {found[0]['batch_size']:,}",
        f"{record.environment['cpu']}, {cores} cores, no GPU",
    ]
    sketch = Sketch(
        name=name,
        title=f"{ratio:.{0 if ratio >= 10 else 1}f}{TIMES} a DataLoader: {chart.title}",
        caption="",
        figure=bars(labelled, colours, {}, width_in=3.4, row_in=chart.row_in),
    )
    return sketch, ", ".join(part.replace(" ", NO_BREAK) for part in conditions)


def label(pipeline: str) -> str:
    base, _, workers = pipeline.rstrip("]").partition("[workers=")
    name = LABELS.get(base, base)
    return f"{name}, {workers} workers" if base == BASELINE else name


def screenshot(group: Path) -> None:
    """The first screen of the report of a group, light and dark, with a palette."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("a screenshot needs Chromium on the PATH: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        page = write_report(group, print, out=Path(name) / "report.html")[0]
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in THEMES:
            tab = browser.new_page(viewport=SCREEN, color_scheme=theme)
            tab.goto(page.as_uri())
            shot = Image.open(BytesIO(tab.screenshot())).convert("RGB")
            path = PICTURES / f"report_{theme}.png"
            palette = shot.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            palette.save(path, optimize=True)
            print(path)


def main(what: str = "charts", group: str = CHARTS["loaders_memory"].group) -> None:
    PICTURES.mkdir(exist_ok=True)
    if what == "screenshot":
        screenshot(REFERENCE / group)
        return
    for name, svg in charts():
        (PICTURES / name).write_text(svg, encoding="utf-8")
        print(PICTURES / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
