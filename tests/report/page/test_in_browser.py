"""The page in a real browser: it draws, sorts, filters and fits, and asks nothing of a network."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.record import Record
from bench.report.figures import draw
from bench.report.page.contents import Mistake, Mistakes
from bench.report.page.page import render
from tests.conftest import OpenPage
from tests.made import made_failure, made_record
from tests.made_page import HOSTILE, hostile_record, made_content

if TYPE_CHECKING:
    from playwright.sync_api import Page

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da63640000000600023081d02f0000000049454e44ae426082"
)
NETS = ("cnn4", "resnet18", "vit_tiny")


def made_records() -> list[Record]:
    """Two seeds of nets and optimizers, one that missed its target, one failed, one hostile."""
    records = [
        made_record(
            seed,
            architecture=net,
            optimizer=optimizer,
            accuracy=0.5 + 0.1 * place + 0.02 * seed + 0.01 * (optimizer == "adamw"),
            time_to_accuracy_s=None if net == "vit_tiny" else 3.0 + place + seed / 10,
            images_per_s=1000.0 / (1 + place),
        )
        for place, net in enumerate(NETS)
        for optimizer in ("sgd", "adamw")
        for seed in (0, 1)
    ]
    return [*records, made_failure(0, architecture="vgg11_bn", status="oom"), hostile_record()]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all of its parts, drawn by the suite itself."""
    records = made_records()
    image = Mistake(place=3, label=0, answers=((1, 2),), index=77, picture=PIXEL)
    content = made_content(
        tuple(records),
        pictures=draw(records[:2], None),
        mistakes=Mistakes(classes=(HOSTILE, "dog"), runs=2, test_images=9, images=(image,)),
        examples={("flip_crop", "kornia"): PIXEL},
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render([content]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page(open_page: OpenPage, path: Path) -> "Iterator[Page]":
    """The page at full width, shared by the tests; it must cause no problem in any of them."""
    page, problems = open_page(path)
    yield page
    assert problems == []


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> None:
    """Every test of the shared page begins with it as it opens."""
    if "page" in request.fixturenames:
        request.getfixturevalue("page").reload()


def column(page: "Page", name: str) -> list[str]:
    """Texts of a column of the matrix, of the rows that are shown."""
    place = page.evaluate(
        "name => [...document.querySelectorAll('.matrix th')]"
        ".findIndex(head => head.dataset.name === name)",
        name,
    )
    cells = page.locator(f".matrix tbody tr:not([hidden]) td:nth-child({place + 1})")
    return list(cells.all_text_contents())


def head(page: "Page", name: str) -> "Page":
    return page.locator(f'.matrix th[data-name="{name}"]')  # type: ignore[return-value]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_without_an_error_and_fits_the_screen(
    open_page: OpenPage, path: Path, width: int, scheme: str
) -> None:
    page, problems = open_page(path, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    back, ink = page.evaluate(
        "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
    )
    assert (sum(map(int, back[4:-1].split(","))) < 384) == (scheme == "dark")
    assert (sum(map(int, ink[4:-1].split(","))) > 384) == (scheme == "dark")
    assert problems == []


def test_every_figure_is_drawn(page: "Page") -> None:
    sizes = page.evaluate(
        "[...document.querySelectorAll('.plot svg')].map(svg => {"
        " const box = svg.getBoundingClientRect();"
        " return [box.width, box.height, svg.querySelectorAll('path, rect, use').length]; })"
    )
    assert len(sizes) > 5
    assert all(width > 100 and height > 50 and marks > 5 for width, height, marks in sizes)


def test_a_click_sorts_best_first_and_another_turns_it_round(page: "Page") -> None:
    button = head(page, "accuracy").locator("button")
    button.click()
    assert head(page, "accuracy").get_attribute("aria-sort") == "descending"
    shown = column(page, "accuracy")
    figures = [float(text.split()[0]) for text in shown if text != "-"]
    assert figures == sorted(figures, reverse=True)
    assert len(set(figures)) > 3
    assert shown[-2:] == ["-", "-"], "rows without the figure stay at the end"
    button.click()
    assert head(page, "accuracy").get_attribute("aria-sort") == "ascending"
    assert page.locator(".matrix th[aria-sort]").count() == 1
    shown = column(page, "accuracy")
    assert [float(text.split()[0]) for text in shown[:-2]] == sorted(figures)
    assert shown[-2:] == ["-", "-"]


def test_a_time_that_was_missed_sorts_after_every_other(page: "Page") -> None:
    for _ in range(2):
        head(page, "time_to_accuracy_s").locator("button").click()
        assert set(column(page, "time_to_accuracy_s")[-4:]) == {"not reached", "-"}


def test_words_and_choices_filter(page: "Page") -> None:
    words = page.locator('[data-filter="words"]')
    words.fill("RESNET18 adamw")
    assert column(page, "architecture") == ["resnet18"]
    assert page.locator(".controls output").text_content() == "1 of 8 cells"
    words.fill("")
    page.locator('[data-filter="status"]').select_option("oom")
    assert column(page, "architecture") == ["vgg11_bn"]
    assert column(page, "notes") == ["oom: RuntimeError: it broke"]
    page.locator("[data-reset]").click()
    assert len(column(page, "architecture")) == 8
    page.locator('[data-filter="architecture"]').select_option(HOSTILE)
    assert column(page, "architecture") == [HOSTILE]


def test_columns_can_be_chosen(page: "Page") -> None:
    page.locator(".controls summary").click()
    assert not head(page, "status").is_visible()
    page.locator('[data-column="status"]').check()
    assert head(page, "status").is_visible()
    assert page.locator(".matrix tbody tr").first.locator("td:visible").count() == (
        page.locator(".matrix th:visible").count()
    )
    page.locator('[data-column="accuracy"]').uncheck()
    assert not head(page, "accuracy").is_visible()


def test_a_cell_can_be_looked_at_closely(page: "Page") -> None:
    page.locator('.matrix tbody tr[data-architecture="resnet18"][data-optimizer="adamw"] a').click()
    closer = page.locator(".cell")
    assert closer.locator("h4").first.text_content() == ("resnet18/adamw/flip_crop/kornia, seed 0")
    assert closer.locator(".confusion td").all_text_contents() == ["40", "10", "5", "45"]
    assert closer.locator(".classes tbody th").all_text_contents() == ["cat", "dog"]
    assert closer.locator(".runs tbody tr").count() == 2
    page.locator('[data-pick="seed"]').select_option("1")
    assert closer.locator("h4").first.text_content() == ("resnet18/adamw/flip_crop/kornia, seed 1")
    first_class = closer.locator(".classes tbody tr").first.locator("td").all_text_contents()
    assert first_class == ["63.00", "63.00", "63.00", "50"]


def test_a_failed_cell_says_why(page: "Page") -> None:
    page.locator('.matrix tbody tr[data-status="oom"] a').click()
    said = page.locator(".cell").text_content() or ""
    assert "oom: this run has no scores." in said
    assert "RuntimeError: it broke" in said


def test_all_of_it_is_printed(open_page: OpenPage, path: Path) -> None:
    page, problems = open_page(path)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1032, "height": 700})  # A4 across, without its margins
    assert page.locator("#reasons details:not([open])").count() == 0
    cut = page.evaluate(
        "[...document.querySelectorAll('.box')].filter(box =>"
        " getComputedStyle(box).overflowX !== 'visible' || box.scrollWidth > 1032).length"
    )
    assert cut == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1032
    assert not page.locator(".controls").first.is_visible()
    boxes = page.evaluate(
        "[...document.querySelectorAll('thead button')].map(one => getComputedStyle(one).display)"
    )
    assert set(boxes) == {"contents"}, "Chromium omits buttons from a table head that it repeats"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("#reasons details[open]").count() == 0
    assert problems == []
