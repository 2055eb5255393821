"""The pictures of the README match their records and can be read on GitHub's pages."""

import re
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageColor

from tests.benchmarks import pictures
from tests.benchmarks.pictures import THEMES
from tests.checkout import ROOT
from tests.made import made_failure, made_record
from tests.made_loaders import decoding, disturbed, made_loaders, made_series

BACKGROUNDS = {"light": "#ffffff", "dark": "#0d1117"}  # GitHub's


@pytest.fixture(scope="module")
def charts() -> dict[str, str]:
    return dict(pictures.charts())


def drawn(svg: str) -> tuple[list[str], list[float]]:
    """Texts, and coordinates of shapes."""
    elements = list(ElementTree.fromstring(svg).iter())
    texts = [text for element in elements if (text := (element.text or "").strip())]
    shapes = " ".join(element.get("d", "") for element in elements)
    return texts, [float(number) for number in re.findall(r"-?[\d.]+", shapes)]


def test_the_committed_charts_are_made_from_the_committed_records(charts: dict[str, str]) -> None:
    hint = "out of date: run `python -m tests.benchmarks.pictures`"
    assert {path.name for path in pictures.PICTURES.glob("*.svg")} == set(charts), hint
    for name, made in charts.items():
        written = (pictures.PICTURES / name).read_text(encoding="utf-8")
        texts, shapes = drawn(made)
        assert drawn(written)[0] == texts, f"{name} is {hint}"
        assert drawn(written)[1] == pytest.approx(shapes, abs=0.5), f"{name} is {hint}"
        assert len(written) < 60_000
        colours = set(re.findall(r"(?:fill|stroke): (#\w+)", written))
        assert colours <= set(THEMES[name.rpartition("_")[2].removesuffix(".svg")].values())


def luminance(colour: str) -> float:
    shares = [part / 255 for part in ImageColor.getrgb(colour)]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
    return sum(w * one for w, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", THEMES)
def test_colours_stand_out_from_the_background(theme: str) -> None:
    back = luminance(BACKGROUNDS[theme])
    for colour in THEMES[theme].values():
        dark, light = sorted((luminance(colour), back))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


@pytest.mark.parametrize("theme", THEMES)
def test_screenshots_are_small_and_of_one_screen(theme: str) -> None:
    path = pictures.PICTURES / f"report_{theme}.png"
    assert path.stat().st_size < 150_000
    assert Image.open(path).size == tuple(pictures.SCREEN.values())


def test_a_chart_has_the_fastest_variant_of_each_pipeline_of_equal_work() -> None:
    series = [
        decoding(made_series(name, *[speed] * 3, batch_size=size), 1.0, 1.0, 1.0)
        for name, size, speed in (
            ("a", 64, 300.0),
            ("a", 128, 400.0),
            ("a[eager]", 128, 500.0),
            ("b[workers=2]", 128, 200.0),
            ("b[workers=0]", 128, 100.0),
            ("b[workers=2]", 64, 450.0),
            ("busy", 128, 900.0),
        )
    ]
    own = made_series("own", *[800.0] * 3, batch_size=128, reads="files", differs={"Crop": "other"})
    array = made_series("array", *[9000.0] * 3, batch_size=128)
    record = made_loaders(*series[:-1], disturbed(series[-1]), own, array)
    fastest = [(row["pipeline"], row["batch_size"]) for row in pictures.fastest(record)]
    assert fastest == [("a[eager]", 128), ("b[workers=2]", 64)]
    assert pictures.batches(record) == "best of batches of 64, 128"


def test_the_chart_of_the_first_experiment_has_means_over_seeds_and_the_published_accuracy() -> (
    None
):
    made = [
        made_record(
            seed, accuracy=accuracy, epochs=epochs, architecture="cnn4", optimizer=optimizer,
            augmentation="none", pipeline="native", width=0.5,
        )
        for optimizer, epochs, seed, accuracy in (
            ("sgd", 5, 0, 0.60), ("sgd", 5, 1, 0.64), ("adam", 5, 0, 0.55),
            ("sgd", 25, 0, 0.9), ("lion", 5, 0, 0.99),
        )
    ]  # fmt: skip
    runs = pictures.seed_runs([*made, made_failure(architecture="cnn4", epochs=5)], 5)
    sketch, conditions = pictures.seed_chart(runs, 5)
    assert sketch.title == "62.0 % in 5 epochs, published 54 %"
    assert conditions[1] == "1 to 2 seeds"
    (axes,) = sketch.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cnn4, width 1/2"]
    places = [float(line.get_xdata()[0]) for line in axes.lines]
    assert places == pytest.approx([62.0, 55.0, 54.0])


def test_pictures_that_pages_show_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r'(?:src|srcset)="([^":]+)"', page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} shows {target}"
