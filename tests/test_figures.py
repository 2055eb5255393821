"""The pictures as files: there, alike each time, safe to put into one page."""

import random
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from io import BytesIO
from xml.etree import ElementTree

import pytest
from PIL import Image

from bench.record import Record
from bench.report import figures
from bench.report.figures import Picture, draw
from bench.report.figures.style import PALETTE
from bench.report.figures.svg import FOREGROUND, tidy
from tests.made import made_failure, made_record
from tests.made_loaders import MIXED, made_loaders, made_series

EVERY = {
    "time_to_accuracy",
    "profile_optimizer",
    "profile_augmentation",
    "profile_pipeline",
    "accuracy_images_per_s",
    "accuracy_train_s",
    *(
        f"{measure}_architecture_{other}"
        for measure in ("accuracy", "macro_f1", "images_per_s", "time_to_accuracy_s")
        for other in ("optimizer", "augmentation")
    ),
    *(
        f"curves_{quantity}_{against}"
        for quantity in ("accuracy", "validation_loss", "training_loss")
        for against in ("epochs", "seconds")
    ),
    "pipelines_throughput",
    "pipelines_curves_accuracy",
    "stall_architecture_pipeline",
    "where_the_time_went",
    "confusion_best",
    "confusion_quickest",
    "class_f1_architecture",
    "class_f1_spread",
    "pipelines_alone",
}
NETS = ("cnn4", "timm:<b>&\"'$x$</svg>")
OPTIMIZERS = ("_sgd", "$\\frac{1}{0}$ fill: #010203")
AUGMENTATIONS = ("none", "a" * 90, "two\nlines\x00\u202e")


def group() -> list[Record]:
    """Two nets, two optimizers, three policies, two seeds; a failure, a miss, two pipelines.

    Some names try to be markup, mathematics, hidden, endless or not printable.
    """
    records: list[Record] = []
    for place, (net, optimizer, policy) in enumerate(
        (net, optimizer, policy)
        for net in NETS
        for optimizer in OPTIMIZERS
        for policy in AUGMENTATIONS
    ):
        axes = {"architecture": net, "optimizer": optimizer, "augmentation": policy}
        if place == 1:
            records.append(made_failure(status="oom", **axes))
            continue
        records += [
            made_record(
                seed,
                accuracy=0.5 + place / 50 + seed / 100,
                time_to_accuracy_s=None if place == 2 else 15.0 - place + seed,
                images_per_s=500.0 + 10 * place,
                **axes,
            )
            for seed in range(2)
        ]
        records.append(made_record(pipeline="<i>dali</i>", time_to_accuracy_s=4.0, **axes))
    return records


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return draw(group(), MIXED)


def texts(svg: str) -> list[str]:
    """The texts of a picture, as people read them."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter()]


def test_every_picture_is_drawn(pictures: Sequence[Picture]) -> None:
    names = [picture.name for picture in pictures]
    assert set(names) == EVERY
    assert len(names) == len(EVERY)


def test_the_same_records_in_any_order_give_the_same_bytes(pictures: Sequence[Picture]) -> None:
    shuffled = group()
    random.Random(1).shuffle(shuffled)
    assert draw(shuffled, MIXED) == list(pictures)


def test_captions_say_machine_scale_cells_and_seeds(pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        assert "AMD EPYC, 2 cores" in picture.caption
        assert "cpu scale" in picture.caption
        if picture.name != "pipelines_alone":
            assert re.search(r"1 cell, \d+ seeds?\.|\d+ cells, .*seeds? each", picture.caption)
        assert picture.title


def test_pngs_are_white_and_sharp(pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        image = Image.open(BytesIO(picture.png))
        corners = [(0, 0), (image.width - 1, 0), (0, image.height - 1)]
        assert {image.convert("RGB").getpixel(corner) for corner in corners} == {(255, 255, 255)}
        assert round(float(image.info["dpi"][0])) == 150


def test_svgs_scale_and_take_the_colour_of_the_page(pictures: Sequence[Picture]) -> None:
    for picture in pictures:
        root = ElementTree.fromstring(picture.svg)
        assert not {"width", "height"} & set(root.attrib)
        _, top, width, height = map(float, root.attrib["viewBox"].split())
        assert min(top, width, height) > 0
        styles = " ".join(
            value for e in root.iter() for name, value in e.attrib.items() if name != "aria-label"
        )
        assert "currentColor" in styles
        assert FOREGROUND not in styles
        assert not re.search("fill: (#000000|black|#ffffff|white)(?!.*font)", root.get("style", ""))


def test_no_two_pictures_of_a_page_share_an_id(pictures: Sequence[Picture]) -> None:
    others = draw([made_record(optimizer=name) for name in "ab"], None)
    ids: list[str] = []
    for picture in [*pictures, *others]:
        own = re.findall(r'\bid="([^"]+)"', picture.svg)
        ids += own
        used = re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', picture.svg)
        assert {first or second for first, second in used} == set(own)
    assert len(ids) == len(set(ids))


class Tags(HTMLParser):
    """The elements that a browser's parser would make."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)


def test_hostile_names_stay_names(pictures: Sequence[Picture]) -> None:
    heat_map = next(p for p in pictures if p.name == "accuracy_architecture_optimizer")
    assert NETS[1] in texts(heat_map.svg)
    assert set(OPTIMIZERS) <= set(texts(heat_map.svg))
    for picture in pictures:
        parser = Tags()
        parser.feed(picture.svg)
        assert parser.found <= {
            "svg", "g", "path", "text", "tspan", "use", "defs", "style", "clippath", "rect",
            "image",
        }  # fmt: skip
        assert all(character.isprintable() or character == "\n" for character in picture.svg)


def test_what_was_missed_and_what_failed_is_written_in_the_pictures(
    pictures: Sequence[Picture],
) -> None:
    by_name = {picture.name: picture for picture in pictures}
    bars = texts(by_name["time_to_accuracy"].svg)
    assert any(text.startswith("not reached (test") for text in bars)
    assert "oom" in bars
    tiles = texts(by_name["time_to_accuracy_s_architecture_optimizer"].svg)
    assert any(re.fullmatch(r"\d of \d", text) for text in tiles)


def test_nothing_is_drawn_of_nothing() -> None:
    assert draw([], None) == []


def test_of_one_cell_only_what_one_cell_shows_is_drawn() -> None:
    names = {picture.name for picture in draw([made_record()], None)}
    assert {"confusion_best", "where_the_time_went", "curves_accuracy_epochs"} <= names
    assert not any(name.startswith(("profile", "accuracy", "time", "class", "pipelines", "stall"))
                   for name in names)  # fmt: skip


def test_of_failures_alone_nothing_is_drawn() -> None:
    assert draw([made_failure(optimizer=name) for name in "ab"], None) == []


def test_speed_runs_have_no_time_to_accuracy() -> None:
    records = [
        made_record(optimizer=name, protocol="speedrun", time_to_accuracy_s=None) for name in "ab"
    ]
    names = {picture.name for picture in draw(records, None)}
    assert "accuracy_architecture_optimizer" in names
    assert not any("time_to_accuracy" in name or "profile" in name for name in names)


def test_pipelines_alone_need_no_records() -> None:
    found = draw([], made_loaders(made_series("native", 900.0, 1000.0, 1100.0)))
    assert [picture.name for picture in found] == ["pipelines_alone"]
    assert "1,000" in texts(found[0].svg)


def test_what_has_no_figures_is_told_in_the_caption(pictures: Sequence[Picture]) -> None:
    (alone,) = (picture for picture in pictures if picture.name == "pipelines_alone")
    assert "Without figures: dali at 512 (skipped), zoo at 512 (crashed)." in alone.caption


def test_tidying_touches_no_text_and_keeps_references() -> None:
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        b'viewBox="0 0 72 72" width="72pt" height="72pt"><metadata>when</metadata>'
        b'<defs><path id="m1" d="M 1.23456 -0.001"/></defs><g id="axes_1" clip-path="url(#m1)">'
        b'<use xlink:href="#m1" style="fill: #010203"/><text>fill: #010203 url(#m1)</text>'
        b"</g></svg>"
    )
    found = tidy(svg, prefix="name", label='a "label"', cut_top=12.0)
    assert 'viewBox="0 12 72 60"' in found
    assert 'd="M 1.23 -0"' in found
    assert 'id="name-m1"' in found
    assert 'clip-path="url(#name-m1)"' in found
    assert 'xlink:href="#name-m1"' in found
    assert "axes_1" not in found
    assert "when" not in found
    assert "<text>fill: #010203 url(#m1)</text>" in found
    assert 'style="fill: currentColor"' in found


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
def test_every_colour_stands_out_from_light_and_dark_pages(page: str) -> None:
    for colour in PALETTE:
        lighter, darker = sorted((luminance(colour), luminance(page)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 2.0, colour


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = (
        "import sys, bench.report.figures as f; print({'matplotlib', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_processes_that_share_the_work_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [made_record(seed, architecture=net) for net in ("cnn4", "cnn6") for seed in (0, 1)]
    alone = figures.draw(records)
    monkeypatch.setattr(figures, "MANY", 1)
    monkeypatch.setattr(figures, "usable_cores", lambda: 2)
    assert figures.draw(records) == alone
