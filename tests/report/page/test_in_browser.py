"""The page in a browser: it filters, explains, opens rows, copies, fits, and needs no network."""

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import UsageError
from bench.record import Record
from bench.report.answers import answers
from bench.report.figures import draw
from bench.report.page.contents import Mistake, Mistakes
from bench.report.page.page import render
from bench.selection import MAX_DEPTH, select
from tests.conftest import OpenPage
from tests.made import made_failure, made_record
from tests.made_page import HOSTILE, hostile_record, made_content

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da63640000000600023081d02f0000000049454e44ae426082"
)
NETS = ("cnn4", "resnet18", "vit_tiny")
SUSPECT = "another process used the CPU"


def made_records() -> list[Record]:
    """Two seeds of nets and optimizers; one net misses its target, one fails, one is hostile."""
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
        for optimizer in ("sgd", "muon_sgd")
        for seed in (0, 1)
    ]
    suspect = made_record(
        architecture="cnn6", pipeline="dali", record={"timing_suspect": [SUSPECT]}
    )
    failed = made_failure(0, architecture="vgg11_bn", status="oom")
    formula = replace(failed.error, message="=1+1") if failed.error else None
    return [*records, suspect, replace(failed, error=formula), hostile_record()]


RECORDS = made_records()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all of its parts, drawn by the suite itself."""
    image = Mistake(place=3, label=0, answers=((1, 2),), index=77, picture=PIXEL)
    content = made_content(
        tuple(RECORDS),
        answers=answers(RECORDS),
        pictures=draw(RECORDS[:8], None),
        mistakes=Mistakes(classes=(HOSTILE, "dog"), runs=2, test_images=9, images=(image,)),
        examples={("flip_crop", "kornia"): PIXEL},
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render([content]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shared_page(open_page: OpenPage, path: Path) -> "Iterator[Page]":
    page, problems = open_page(path)
    yield page
    assert problems == []


@pytest.fixture
def page(shared_page: "Page", path: Path) -> "Page":
    """The page at full width as it opens; it must cause no problem in any test."""
    shared_page.goto("about:blank")
    shared_page.goto(path.as_uri())
    return shared_page


def column(page: "Page", name: str) -> list[str]:
    """Texts of a column of the matrix, of the rows that are shown."""
    place = page.evaluate(
        "name => document.querySelector(`.matrix th[data-name=${name}]`).cellIndex", name
    )
    cells = page.locator(f".matrix tr[data-cell]:not([hidden]) > :nth-child({place + 1})")
    return list(cells.all_text_contents())


def names(page: "Page") -> list[str]:
    return list(page.locator("tr[data-cell]:not([hidden]) .name").all_text_contents())


def head(page: "Page", name: str) -> "Locator":
    return page.locator(f'.matrix th[data-name="{name}"]')


def name_button(page: "Page", text: str) -> "Locator":
    return page.locator(".matrix .name", has_text=text).first


def open_figure(page: "Page", name: str) -> "Locator":
    figure = page.locator(f"#g0-figure-{name}")
    figure.locator("summary").click()
    return figure


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_without_an_error_fits_and_has_contrast(
    open_page: OpenPage, path: Path, width: int, scheme: str
) -> None:
    page, problems = open_page(path, width=width, scheme=scheme)
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < {1280: 2200, 390: 4000}[width], "answers first, the rest is folded"
    name_button(page, "cnn4/sgd").click()
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    low = page.evaluate("""() => {
        const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const light = (colour) => parts(colour).slice(0, 3).map((value) => value / 255)
            .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
            .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
        const back = (element) => {
            const colour = getComputedStyle(element).backgroundColor;
            return parts(colour)[3] === 0 ? back(element.parentElement) : colour;
        };
        const texts = [...document.querySelectorAll("body *")].filter((element) =>
            !element.closest("svg, script, [hidden], .confusion") &&
            [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
        return texts.map((element) => {
            const lights = [light(getComputedStyle(element).color), light(back(element))].sort();
            return [(lights[1] + 0.05) / (lights[0] + 0.05), element.outerHTML.slice(0, 80)];
        }).filter(([ratio]) => ratio < 4.5);
    }""")
    assert low == []
    assert problems == []


def test_the_first_screen_has_answers_and_the_best_cells(page: "Page") -> None:
    for shown in (".tiles li >> nth=3", ".best tbody tr >> nth=4"):
        box = page.locator(shown).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 800
    page.locator(".best .name").first.click()
    assert page.locator(".opened").is_visible()
    assert name_button(page, "cnn4/muon_sgd").get_attribute("aria-expanded") == "true"


def test_every_figure_is_drawn(page: "Page") -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
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
    assert shown[-2:] == ["-", "-"], "rows without a value stay at the end"
    button.click()
    assert head(page, "accuracy").get_attribute("aria-sort") == "ascending"
    assert page.locator(".matrix th[aria-sort]").count() == 1
    assert [float(text.split()[0]) for text in column(page, "accuracy")[:-2]] == sorted(figures)
    for _ in range(2):
        head(page, "time_to_accuracy_s").locator("button").click()
        missing = {"not reached", "suspect", "-"}
        assert set(column(page, "time_to_accuracy_s")[-5:]) == missing


EXPRESSIONS = (
    "", "  ", "cnn4", "not kornia", "not dali", "resnet18 or vit_tiny", "cnn4 and muon", "sgd",
    "not not cnn4", "not (cnn4 or resnet18)", "cnn4 or resnet18 and muon_sgd", "(cnn4)or(cnn6)",
    "(cnn4 or resnet18) and not muon_sgd", "not cnn4 and not vit", "/sgd/", "cnn4 and resnet18",
    "4/sgd/flip_crop/kor", "onerror=alert", "(cnn4", "cnn4)", "()", "and", "not", "cnn4 and",
    "or cnn4", "cnn4 resnet18", "CNN4", "cnn4 AND sgd", "kornai", "nothing", "'cnn4'", "not and",
    "\tcnn4\nor  vit", "(" * (MAX_DEPTH - 1) + "cnn4" + ")" * (MAX_DEPTH - 1),
    "(" * MAX_DEPTH + "cnn4" + ")" * MAX_DEPTH, "not " * MAX_DEPTH + "cnn4",
)  # fmt: skip


def test_the_filter_has_the_grammar_of_the_command_line(page: "Page") -> None:
    cells = list({record.cell: None for record in RECORDS})
    field, problem = page.locator("[data-filter]"), page.locator("[data-problem]")
    for expression in EXPRESSIONS:
        field.fill("")
        field.fill(expression)
        said = problem.text_content() or ""
        try:
            chosen = {cell.name for cell in select(cells, expression)}
        except UsageError as error:
            if "matches none" in str(error):
                assert (names(page), said) == ([], "")
                continue
            assert said
            why, wanted = (
                re.sub("['\"]", "", text) for text in (said.partition(":")[0], str(error))
            )
            assert why in wanted, expression
            assert field.get_attribute("aria-invalid") == "true"
            assert len(names(page)) == len(cells), "rows stay as they were"
        else:
            assert (set(names(page)), said) == (chosen, ""), expression
    field.fill("not kornia")
    assert names(page) == ["cnn6/sgd/flip_crop/dali"]
    assert page.locator("output").text_content() == "1 of 9 cells"


def test_the_filter_and_the_key_drive_table_and_figures(page: "Page") -> None:
    figure = open_figure(page, "time_to_accuracy")
    assert figure.locator("[data-cells].out").count() == 0
    key = figure.locator('[data-level="sgd"][role=button]')
    key.click()
    field = page.locator("[data-filter]")
    assert field.input_value() == "not (sgd and not muon_sgd)"
    assert key.get_attribute("aria-pressed") == "false"
    assert not [name for name in names(page) if "/sgd/" in name]
    assert 0 < figure.locator("[data-cells].out").count() < figure.locator("[data-cells]").count()
    figure.locator('[data-level="muon_sgd"][role=button]').press("Enter")
    assert field.input_value() == "not (sgd and not muon_sgd) and not muon_sgd"
    key.press(" ")
    assert field.input_value() == "not muon_sgd"
    field.fill("cnn4 or resnet18")
    key.click()
    assert field.input_value() == "(cnn4 or resnet18) and not (sgd and not muon_sgd)"


def test_a_mark_says_which_cells_it_shows(page: "Page") -> None:
    figure, tip = open_figure(page, "time_to_accuracy"), page.locator(".tip")
    figure.locator("path[data-cells], [data-cells] path").first.hover()
    assert (tip.text_content() or "").startswith("cnn4/muon_sgd/flip_crop/kornia (AMD")
    assert "accuracy % 51.00 \u00b1 1.41 \u00b7 time to accuracy s 3.0" in (
        tip.text_content() or ""
    )
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


def test_a_reason_is_told_on_focus(page: "Page") -> None:
    row = page.locator("tr[data-cell]", has_text="cnn6")
    row.locator(".why").focus()
    assert page.locator(".tip").text_content() == f"timing suspect: {SUSPECT}"
    assert page.locator("tr.failed .why").all_text_contents() == ["crashed", "oom"]


def test_a_row_opens_in_place(page: "Page") -> None:
    name_button(page, "resnet18/muon_sgd").click()
    closer = page.locator("tr[data-cell]:has([aria-expanded=true]) + .opened")
    run_ids = [one.run_id for one in RECORDS if one.cell.name.startswith("resnet18/muon")]
    assert closer.locator("pre").text_content() == "\n".join(
        f"bench run --rerun {run_id}" for run_id in run_ids
    ) or all(
        f"--rerun {run_id}" in (closer.locator("pre").text_content() or "") for run_id in run_ids
    )
    assert closer.locator(".confusion td").all_text_contents() == ["80", "20", "10", "90"]
    assert "summed over 2 runs" in (closer.text_content() or "")
    assert closer.locator(".classes tbody tr").first.locator("th, td").all_text_contents() == [
        "cat", "61.00", "61.00", "61.00", "50",
    ]  # fmt: skip
    assert closer.locator(".runs tbody tr").count() == 2
    assert closer.locator("svg path:not(.axes)").count() == 2
    name_button(page, "resnet18/muon_sgd").press("Enter")
    assert page.locator(".opened").count() == 0
    name_button(page, "vgg11_bn").click()
    assert "oom: RuntimeError: =1+1" in (page.locator(".opened").text_content() or "")


def test_the_address_holds_filter_order_and_opened_row(page: "Page", path: Path) -> None:
    page.locator("[data-filter]").fill("cnn4 or resnet18")
    head(page, "accuracy").locator("button").click()
    name_button(page, "cnn4/sgd").click()
    address, shown = page.url, names(page)
    assert "cnn4+or+resnet18" in address
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("[data-filter]").input_value() == "cnn4 or resnet18"
    assert names(page) == shown
    assert shown[0].startswith("resnet18/muon_sgd")
    assert head(page, "accuracy").get_attribute("aria-sort") == "descending"
    assert name_button(page, "cnn4/sgd").get_attribute("aria-expanded") == "true"
    page.goto("about:blank")
    page.goto(f"{path.as_uri()}#g0-figure-accuracy_train_s")
    assert page.locator("#g0-figure-accuracy_train_s .plot").is_visible()


def test_the_table_is_copied_and_saved_as_csv(page: "Page") -> None:
    page.locator("[data-filter]").fill("vgg11_bn or cnn4")
    with page.expect_download() as saved:
        page.get_by_text("Download CSV").click()
    first, *rows = csv.reader(saved.value.path().read_text().splitlines())
    assert first[:4] == ["cell", "accuracy", "time_to_accuracy_s", "images_per_s"]
    assert [row[0].partition(" (")[0] for row in rows] == names(page)
    assert [float(row[1]) for row in rows[:2]] == pytest.approx([0.51, 0.51])
    assert rows[-1][-1] == "oom: RuntimeError: =1+1"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("Copy as CSV").click()
    page.get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == saved.value.path().read_text()
    assert page.evaluate("csvField('=1+1')") == "'=1+1"
    assert page.evaluate("csvField('-1.5')") == "-1.5"


def test_columns_can_be_chosen(page: "Page") -> None:
    page.locator(".choice summary").click()
    assert not head(page, "status").is_visible()
    page.locator('[data-column="status"]').check()
    assert head(page, "status").is_visible()
    assert page.locator("tr[data-cell]").first.locator("td:visible").count() == (
        page.locator(".matrix thead th:visible").count() - 1
    )
    page.locator('[data-column="accuracy"]').uncheck()
    assert not head(page, "accuracy").is_visible()


def test_on_a_telephone_names_stay_and_a_cue_shows_what_is_beside(
    open_page: OpenPage, path: Path
) -> None:
    page, problems = open_page(path, width=390)
    for cell in page.locator(".best tbody tr").first.locator("td").all():
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
    table = page.locator(".tall")
    table.scroll_into_view_if_needed()
    assert "more" in (table.get_attribute("class") or "")
    table.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    page.locator(".tall:not(.more)").wait_for()
    box = name_button(page, "cnn4/sgd").bounding_box()
    assert box is not None
    assert 0 <= box["x"] < 40
    assert problems == []


def test_all_of_it_is_printed(open_page: OpenPage, path: Path) -> None:
    page, problems = open_page(path)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1032, "height": 700})  # A4 across, without its margins
    folded: Any = page.locator("#g0-conclusions li, #reasons dt, .figures figcaption")
    assert all(one.bounding_box()["height"] > 5 for one in folded.all())
    cut = page.evaluate(
        "[...document.querySelectorAll('.box')].filter(box =>"
        " getComputedStyle(box).overflowX !== 'visible' || box.scrollWidth > 1032)"
        ".map(box => box.outerHTML.slice(0, 200) + box.scrollWidth)"
    )
    assert cut == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1032
    assert not page.locator(".filter, .bar").first.is_visible()
    boxes = page.evaluate(
        "[...document.querySelectorAll('thead button')].map(one => getComputedStyle(one).display)"
    )
    assert set(boxes) == {"contents"}, "Chromium omits buttons from a table head that it repeats"
    assert problems == []
