"""The page in a browser: it filters, explains, opens rows, copies, fits, and needs no network."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import UsageError
from bench.report.answers import answers
from bench.report.figures import draw
from bench.report.page.page import render
from bench.selection import MAX_DEPTH, select
from tests.conftest import OpenPage
from tests.made import made_record
from tests.made_page import RECORDS, hostile_record, made_content

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SUSPECT = "another process used the CPU"
RUNS = (
    *RECORDS,
    made_record(optimizer="muon_sgd", architecture="cnn4", accuracy=0.6, time_to_accuracy_s=2.0),
    made_record(architecture="cnn6", pipeline="dali", record={"timing_suspect": (SUSPECT,)}),
    hostile_record(),
)
CONTRASTS = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const linear = (value) => (value <= 10 ? value / 3294 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const light = (colour) => [0.2126, 0.7152, 0.0722]
        .reduce((sum, weight, at) => sum + weight * linear(parts(colour)[at]), 0.05);
    const back = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return parts(colour)[3] === 0 ? back(element.parentElement) : colour;
    };
    const low = (element) => {
        const lights = [getComputedStyle(element).color, back(element)].map(light);
        return Math.max(...lights) / Math.min(...lights) < 4.5;
    };
    const texts = [...document.querySelectorAll("body *")].filter((element) =>
        !element.closest("svg, script, [hidden], .confusion") &&
        [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
    return texts.filter(low).map((element) => element.outerHTML.slice(0, 80));
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all of its parts, drawn by the suite itself."""
    content = made_content(
        RUNS,
        answers=answers(RUNS),
        pictures=draw(RUNS[:6], None),
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render([content]), encoding="utf-8")
    return path


@pytest.fixture
def page(open_page: OpenPage, path: Path) -> "Iterator[Page]":
    """The page at full width as it opens; it must cause no problem in any test."""
    page, problems = open_page(path)
    yield page
    assert problems == []


def rows(page: "Page", name: str = "cell") -> list[str]:
    """Names of the rows that are shown, or their texts in another column."""
    place = page.locator(f'.matrix th[data-name="{name}"]').evaluate("head => head.cellIndex")
    texts = page.locator(f"tr[data-cell]:not([hidden]) > :nth-child({place + 1})")
    return [text.split(" ")[0] for text in texts.all_text_contents()]


def head(page: "Page", name: str) -> "Locator":
    return page.locator(f'.matrix th[data-name="{name}"]')


def name_button(page: "Page", text: str) -> "Locator":
    return page.locator(".matrix .name", has_text=text)


def open_figure(page: "Page", name: str) -> "Locator":
    figure = page.locator(f"#g0-figure-{name}")
    figure.locator("summary").click()
    return figure


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_with_contrast(open_page: OpenPage, path: Path, width: int, scheme: str) -> None:
    page, problems = open_page(path, width=width, scheme=scheme)
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < {1280: 2200, 390: 4000}[width], "answers first, the rest is folded"
    name_button(page, "cnn4/sgd").click()
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRASTS) == []
    assert problems == []


def test_the_first_screen_has_answers_and_the_best_cells(page: "Page") -> None:
    for shown in (".tiles li >> nth=3", ".best tbody tr >> nth=4"):
        assert page.locator(shown).evaluate("one => one.getBoundingClientRect().bottom") < 800
    page.locator(".best .name").first.click()
    assert page.locator(".opened").is_visible()
    assert name_button(page, "cnn4/sgd").get_attribute("aria-expanded") == "true"


def test_a_click_sorts_best_first_and_another_turns_it_round(page: "Page") -> None:
    for name, missing in (("accuracy", ["-", "-"]), ("time_to_accuracy_s", ["-", "-"])):
        for direction in ("descending", "ascending")[:: 1 if name == "accuracy" else -1]:
            head(page, name).locator("button").click()
            assert head(page, name).get_attribute("aria-sort") == direction
            shown = rows(page, name)
            values = [float(text) for text in shown if text[0].isdigit()]
            assert values == sorted(values, reverse=direction == "descending")
            assert len(values) > 2
            assert shown[-2:] == missing, "rows without a value stay at the end"
    assert page.locator(".matrix th[aria-sort]").count() == 1


EXPRESSIONS = (
    "", "  ", "cnn4", "not kornia", "not dali", "resnet18 or vit_tiny", "cnn4 and muon", "sgd",
    "not not cnn4", "not (cnn4 or resnet18)", "cnn4 or resnet18 and muon_sgd", "(cnn4)or(cnn6)",
    "(cnn4 or resnet18) and not muon_sgd", "not cnn4 and not vit", "/sgd/", "cnn4 and resnet18",
    "4/sgd/flip_crop/kor", "onerror=alert", "(cnn4", "cnn4)", "()", "and", "not", "cnn4 and",
    "or cnn4", "cnn4 resnet18", "CNN4", "cnn4 AND sgd", "kornai", "nothing", "not and",
    "\tcnn4\nor  vit", "(" * (MAX_DEPTH - 1) + "cnn4" + ")" * (MAX_DEPTH - 1),
    "4 epochs", "not '4 epochs' or sgd", "sgd (4 epochs)", "5 epochs", "/sgd (5 epochs)", "sgd (",
    "sgd ()", "cnn6/sgd/flip_crop/dali (4 epochs, width 0.25)", "cnn4 4 epochs",
    "(" * MAX_DEPTH + "cnn4" + ")" * MAX_DEPTH, "not " * MAX_DEPTH + "cnn4",
)  # fmt: skip


def selected(expression: str) -> tuple[set[str], str]:
    """Names that `-k` selects, and the error; of a malformed expression every name."""
    cells = list({record.cell: None for record in RUNS})
    try:
        return {cell.name for cell in select(cells, expression)}, ""
    except UsageError as error:
        nothing = "matches none" in str(error)
        return (set(), "") if nothing else ({cell.name for cell in cells}, str(error))


def test_the_filter_has_the_grammar_of_the_command_line(page: "Page") -> None:
    field, problem = page.locator("[data-filter]"), page.locator("[data-problem]")
    for expression in EXPRESSIONS:
        wanted, error = selected(expression)
        field.fill("")
        field.fill(expression)
        shown = page.locator("tr[data-cell]:not([hidden]) .name").all_text_contents()
        said = (problem.text_content() or "").partition(":")[0]
        assert ({*shown}, bool(said)) == (wanted, bool(error)), expression
        assert said in error, expression
        assert (field.get_attribute("aria-invalid") == "true") == bool(said)
    field.fill("not kornia")
    assert rows(page) == ["cnn6/sgd/flip_crop/dali"]
    assert page.locator("output").text_content() == "1 of 7 cells"


def test_the_filter_and_the_key_drive_table_and_figures(page: "Page") -> None:
    figure = open_figure(page, "time_to_accuracy")
    assert figure.locator("[data-cells].out").count() == 0
    key = figure.locator('[data-level="sgd"][role=button]')
    key.click()
    field = page.locator("[data-filter]")
    assert field.input_value() == "not (sgd and not muon_sgd)"
    assert key.get_attribute("aria-pressed") == "false"
    assert not [name for name in rows(page) if "/sgd/" in name]
    assert 0 < figure.locator("[data-cells].out").count() < figure.locator("[data-cells]").count()
    figure.locator('[data-level="muon_sgd"][role=button]').press("Enter")
    assert field.input_value() == "not (sgd and not muon_sgd) and not muon_sgd"
    key.press(" ")
    assert field.input_value() == "not muon_sgd"
    field.fill("cnn4 or resnet18")
    key.click()
    assert field.input_value() == "(cnn4 or resnet18) and not (sgd and not muon_sgd)"


def test_marks_and_reasons_are_explained_on_demand(page: "Page") -> None:
    figure, tip = open_figure(page, "time_to_accuracy"), page.locator(".tip")
    figure.locator("path[data-cells], [data-cells] path").first.hover()
    text = tip.text_content() or ""
    assert text.startswith("cnn4/sgd/flip_crop/kornia")
    assert "accuracy % 50.00 \u00b7 time to accuracy s 1.00 \u00b7 images/s 300" in text
    assert page.locator("tr.at").count() == 1
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    figure.locator(".plot").press("ArrowRight")
    first = tip.text_content()
    assert tip.is_visible()
    figure.locator(".plot").press("ArrowLeft")
    assert tip.text_content() != first
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    name_button(page, "cnn4/sgd").hover()
    assert figure.locator("[data-cells].at").count() > 0
    page.locator("tr[data-cell]", has_text="cnn6").locator(".why").focus()
    assert tip.text_content() == f"timing suspect: {SUSPECT}"
    assert page.locator("tr.failed .why").all_text_contents() == ["crashed", "oom"]


def test_a_row_opens_in_place(page: "Page") -> None:
    name_button(page, "resnet18").click()
    closer = page.locator("tr[data-cell]:has([aria-expanded=true]) + .opened")
    commands = closer.locator("pre").text_content() or ""
    assert [record.run_id in commands for record in RECORDS[:4]] == [False, True, True, False]
    assert closer.locator(".confusion td").all_text_contents() == ["80", "20", "10", "90"]
    assert "summed over 2 runs" in (closer.text_content() or "")
    assert closer.locator(".classes tr >> nth=1 >> css=th, td").all_text_contents() == [
        "cat", "85.00", "85.00", "85.00", "50",
    ]  # fmt: skip
    assert closer.locator(".runs tbody tr").count() == 2
    assert closer.locator("svg path:not(.axes)").count() == 2
    name_button(page, "resnet18").press("Enter")
    assert page.locator(".opened").count() == 0
    name_button(page, "vgg11_bn").click()
    page.set_viewport_size({"width": 390, "height": 800})
    note = page.locator(".opened p", has_text="oom: RuntimeError: it broke")
    assert note.evaluate("one => one.getBoundingClientRect().right") <= 390, "notes are wrapped"


def test_the_address_holds_filter_order_and_opened_row(page: "Page", path: Path) -> None:
    page.locator("[data-filter]").fill("cnn4 or resnet18")
    head(page, "accuracy").locator("button").click()
    name_button(page, "cnn4/sgd").click()
    address = page.url
    assert "cnn4+or+resnet18" in address
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("[data-filter]").input_value() == "cnn4 or resnet18"
    assert [name.split("/kornia")[0] for name in rows(page)] == [
        "resnet18/sgd/flip_crop", "cnn4/muon_sgd/flip_crop", "cnn4/sgd/flip_crop",
    ]  # fmt: skip
    assert head(page, "accuracy").get_attribute("aria-sort") == "descending"
    assert name_button(page, "cnn4/sgd").get_attribute("aria-expanded") == "true"
    page.goto("about:blank")
    page.goto(f"{path.as_uri()}#g0-figure-accuracy_train_s")
    assert page.locator("#g0-figure-accuracy_train_s .plot").is_visible()


def test_the_table_is_copied_and_saved_as_csv(page: "Page") -> None:
    page.locator("[data-filter]").fill("vgg11_bn or cnn4")
    page.locator(".choice summary").click()
    page.locator('[data-column="status"]').check()
    assert head(page, "status").is_visible()
    page.locator('[data-column="time_to_accuracy_s"]').uncheck()
    with page.expect_download() as saved:
        page.get_by_text("Download CSV").click()
    first, *lines = csv.reader(saved.value.path().read_text().splitlines())
    assert first[:4] == ["cell", "accuracy", "images_per_s", "seeds"]
    assert [row[0].split(" ")[0] for row in lines] == rows(page)
    assert [float(row[1]) for row in lines[:2]] == [0.5, 0.6]
    assert lines[-1][first.index("status")] == "oom"
    assert lines[-1][-1] == "oom: RuntimeError: it broke"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("Copy as CSV").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == saved.value.path().read_text()
    assert page.evaluate("['=1+1', '-1.5', 'a,b'].map(csvField)") == ["'=1+1", "-1.5", '"a,b"']


def test_on_a_telephone_names_stay_and_a_cue_shows_more(open_page: OpenPage, path: Path) -> None:
    page, problems = open_page(path, width=390)
    last = page.locator(".best td:last-child").first
    assert last.evaluate("one => one.getBoundingClientRect().right") <= 390
    table = page.locator(".tall")
    table.scroll_into_view_if_needed()
    assert "more" in (table.get_attribute("class") or "")
    table.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    page.locator(".tall:not(.more)").wait_for()
    left = name_button(page, "cnn4/sgd").evaluate("one => one.getBoundingClientRect().left")
    assert 0 <= left < 40
    assert problems == []


def test_all_of_it_is_printed(open_page: OpenPage, path: Path) -> None:
    page, problems = open_page(path)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1032})  # A4 without its margins
    folded: Any = page.locator("#g0-conclusions li, #reasons dt, .figures figcaption")
    assert all(one.bounding_box()["height"] > 5 for one in folded.all())
    cut = "[...document.querySelectorAll('.box')].filter(box => box.scrollWidth > 703).length"
    assert page.evaluate(cut) == 0
    assert not page.locator(".filter, .bar").first.is_visible()
    boxes = page.evaluate(
        "[...document.querySelectorAll('thead button')].map(one => getComputedStyle(one).display)"
    )
    assert set(boxes) == {"contents"}, "Chromium omits buttons from a table head that it repeats"
    assert problems == []
