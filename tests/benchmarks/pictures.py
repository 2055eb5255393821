"""The pictures of the README, made from the committed records: SVG, light and dark.

    python -m tests.benchmarks.pictures                     # the charts
    python -m tests.benchmarks.pictures screenshot [GROUP]  # the report's first screen, as PNG

They go to `docs/pictures`.
"""

import re
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from bench.grid.grids import SEED_NETS
from bench.record import Record
from bench.report.figures import style
from bench.report.figures.pipelines import bars
from bench.report.figures.style import FOREGROUND, GREY, SCALE, Sketch, settings
from bench.report.loaders import rows
from bench.report.page.writing import write_report
from bench.report.render import Row
from bench.store.loaders_record import LoadersRecord, read_loaders
from bench.store.store import Store
from bench.text import count
from tests.benchmarks import first_experiment
from tests.benchmarks.common import ROOT
from tests.benchmarks.first_experiment import (
    ADAM,
    MUON_AUGMENTED,
    PUBLISHED,
    SGD,
    Setting,
    setting_of,
)

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
        title="in memory",
        images="CIFAR-10 at {size}",
        row_in=0.36,
    ),
    "loaders_jpeg": Chart(
        group="amd-epyc-2-cores_folder-jpegs-size-224-decode-b900433f_cpu",
        title="JPEG files",
        images="Decoded to {size}",
        row_in=0.2,
    ),
}

ACCENT = style.PALETTE[1]
THEMES = {  # contrasts are 4.5 or more to GitHub's backgrounds
    "light": {"currentColor": "#1f2328", ACCENT.lower(): "#0868b9", GREY.lower(): "#6b747e"},
    "dark": {"currentColor": "#e6edf3", ACCENT.lower(): "#56b4e9", GREY.lower(): "#848d97"},
}
SIZE = re.compile(r'style="width: 100%[^"]*"( data-wide="")?')  # of a picture on the page
DOT: dict[str, Any] = {"linestyle": "none", "markersize": 5.5}
LOOKS = {
    SGD: DOT | {"marker": "o", "color": GREY},
    ADAM: DOT | {"marker": "s", "color": GREY, "markerfacecolor": "none"},
    MUON_AUGMENTED: DOT | {"marker": "D", "color": ACCENT},
}
LINE: dict[str, Any] = {"linestyle": "--", "color": FOREGROUND, "linewidth": 1}


def fastest(record: LoadersRecord) -> list[Row]:
    """Each pipeline's fastest variant that does equal work, at its best batch size.

    All are ranked; none reads an array if others decode files.
    """
    ranked = [row for row in rows(record) if row["rank"]]
    alike = [row for row in ranked if row["reads"] == ranked[0]["reads"]]
    found: dict[str, Row] = {}
    for row in sorted(alike, key=lambda row: -row["images_per_s"]):
        found.setdefault(row["pipeline"].partition("[")[0], row)
    return list(found.values())


def charts() -> Iterator[tuple[str, str]]:
    """Names of files and their contents."""
    with settings():
        for sketch, conditions in sketches():
            shown = ", ".join(part.replace(" ", NO_BREAK) for part in conditions)
            for theme, svg in themed(sketch, group=shown).items():
                yield f"{sketch.name}_{theme}.svg", svg + "\n"


def themed(sketch: Sketch, *, group: str) -> dict[str, str]:
    """A sketch with its header as an SVG file for each theme, always as the same bytes."""
    style.lay_out(sketch, group)
    svg = style.vector(sketch, "themed")
    width, height = (f"{SCALE * points:.0f}" for points in sketch.figure.get_size_inches() * 72)
    svg = SIZE.sub(f'width="{width}" height="{height}"', svg)
    found = {}
    for theme, colours in THEMES.items():
        found[theme] = svg
        for colour, shown in colours.items():
            found[theme] = found[theme].replace(colour, shown)
    return found


def sketches() -> Iterator[tuple[Sketch, list[str]]]:
    """Charts with their conditions; those of the grid `seed` once its records are committed."""
    for name, chart in CHARTS.items():
        record = read_loaders(REFERENCE / chart.group)
        assert record is not None
        yield loaders_chart(name, chart, record)
    if first_experiment.REFERENCE.exists():
        records = Store(first_experiment.REFERENCE).records()
        for epochs in PUBLISHED:
            if runs := seed_runs(records, epochs):
                yield seed_chart(runs, epochs)


def loaders_chart(name: str, chart: Chart, record: LoadersRecord) -> tuple[Sketch, list[str]]:
    found = fastest(record)
    speeds = {row["pipeline"].partition("[")[0]: row["images_per_s"] for row in found}
    ratio = speeds["native"] / speeds[BASELINE]
    labelled = [row | {"pipeline": label(row["pipeline"])} for row in found]
    colours = {row["pipeline"]: GREY for row in labelled} | {"native": ACCENT}
    height, width = record.image_size
    conditions = [
        chart.images.format(size=f"{width} {TIMES} {height}"),
        record.augmentation,
        batches(record),
        machine(record.environment),
    ]
    figure = bars(labelled, colours, {})
    figure.set_size_inches(3.4, 0.35 + chart.row_in * len(found))
    sketch = Sketch(
        name=name,
        title=f"native: {ratio:.{0 if ratio >= 10 else 1}f}{TIMES} a DataLoader ({chart.title})",
        caption="",
        figure=figure,
    )
    return sketch, conditions


def batches(record: LoadersRecord) -> str:
    """The measured batch sizes."""
    sizes = [f"{size:,}" for size in sorted({each.batch_size for each in record.series})]
    return f"batches of {sizes[0]}" if len(sizes) == 1 else f"best of batches of {', '.join(sizes)}"


def machine(environment: Mapping[str, Any]) -> str:
    return environment["gpu"] or f"{environment['cpu']}, {environment['cores']} cores, no GPU"


def label(pipeline: str) -> str:
    base, _, workers = pipeline.rstrip("]").partition("[workers=")
    name = LABELS.get(base, base)
    return f"{name}, {workers} workers" if base == BASELINE else name


def seed_runs(records: Iterable[Record], epochs: int) -> list[Record]:
    """The runs of the grid `seed`, and those with the best changes to it."""
    return [run for run in records if run.cell.epochs == epochs and setting_of(run) in LOOKS]


def seed_chart(runs: Sequence[Record], epochs: int) -> tuple[Sketch, list[str]]:
    """Test accuracy of each net: mean, lowest and highest over seeds, and the published one."""
    found: dict[tuple[str, Setting], list[float]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: SEED_NETS.index(run.cell.architecture)):
        setting = setting_of(run)
        assert run.metrics is not None
        assert setting is not None
        net = f"{run.cell.architecture}, width {Fraction(run.cell.width).limit_denominator(64)}"
        found[net, setting].append(100 * run.metrics.accuracy)
    nets = list(dict.fromkeys(net for net, _ in found))
    figure, (axes,) = style.canvas(3.4, 0.5 + 0.26 * len(nets))
    for (net, setting), values in found.items():
        row = nets.index(net)
        axes.hlines(row, min(values), max(values), color=style.FOREGROUND, linewidth=1)
        axes.plot([fmean(values)], [row], **LOOKS[setting])
    axes.axvline(PUBLISHED[epochs], **LINE)
    best = [max(fmean(values) for (one, _), values in found.items() if one == net) for net in nets]
    style.rows(axes, nets, [f"{value:.1f}" for value in best], [""] * len(nets))
    axes.set_xlim(min(40, *map(min, found.values())), 100)
    axes.set_xlabel(style.toward_better("test accuracy (%)", higher=True), loc="left")
    names = {f"{one.optimizer}, {one.augmentation}": look for one, look in LOOKS.items()}
    looks = {**names, f"published: {PUBLISHED[epochs]:g} %": LINE}
    sketch = Sketch(
        name=f"seed_{epochs}",
        title=f"{max(best):.1f} % in {epochs} epochs, published {PUBLISHED[epochs]:g} %",
        caption="",
        figure=figure,
        sections=(style.Section(title="optimizer, augmentation", looks=looks, gids={}),),
    )
    fewest, most = (count(end(map(len, found.values())), "seed") for end in (min, max))
    seeds = most if fewest == most else f"{fewest.split()[0]} to {most}"
    precisions = " and ".join(sorted({run.cell.precision for run in runs}))
    return sketch, ["CIFAR-10", seeds, precisions, machine(runs[0].environment)]


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
    if what not in ("charts", "screenshot"):
        sys.exit(f"expected charts or screenshot, not {what}")
    if what == "screenshot":
        screenshot(REFERENCE / group)
        return
    for name, svg in charts():
        (PICTURES / name).write_text(svg, encoding="utf-8")
        print(PICTURES / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
