"""The HTML page: its numbers come from the records, and no text from a record becomes HTML."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.answers import Answer
from bench.report.matrix import build
from bench.report.page.page import (
    MAX_CONFUSION_CLASSES,
    MAX_CONFUSIONS,
    cell_data,
    environment,
    render,
)
from bench.store.groups import Group
from tests.made import made_curve, made_metrics, made_record
from tests.made_page import HOSTILE, RECORDS, hostile_record, made_content, made_picture

VOID = frozenset({"br", "img", "input", "meta", "wbr"})


class Reader(HTMLParser):
    """Elements with their attributes, and the text of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name, "elements are nested and closed"

    def handle_data(self, said: str) -> None:
        self.texts.append(said)

    def all(self, attribute: str) -> list[str | None]:
        """The values of an attribute."""
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def matrix_rows(page: str) -> dict[str, dict[str, str]]:
    """Of each row of the (first) matrix, by architecture: column header to text."""
    table = page.partition('class="matrix"')[2].partition("</table>")[0]
    head, *rows = (
        ["".join(Reader(cell).texts).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in table.split("<tr")[1:]
    )
    return {row[0].partition("/")[0]: dict(zip(head, row, strict=True)) for row in rows}


def embedded(page: str) -> Any:
    """The data that the page's script reads, by row of the first group."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])["g0"]


def test_a_page_asks_nothing_of_a_network_and_allows_no_other_script() -> None:
    page = render([made_content()])
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall('Security-Policy" content="(.*?)">', page)
    assert html.unescape(policy).startswith(
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src"
    )
    assert page == render([made_content()])
    for key in ("src", "href", "action", "data"):
        for value in Reader(page).all(key):
            assert value is None or value.startswith(("#", "data:image/png;base64,")), value
    assert "@import" not in page
    assert "url(" not in page


def test_no_text_of_a_record_becomes_html() -> None:
    answer = Answer(question=HOSTILE, entry=HOSTILE, value=HOSTILE, sure=True, why=HOSTILE)
    page = render([made_content((*RECORDS, hostile_record()), answers=[answer])])
    found = [name for name, _ in Reader(page).elements]
    assert found.count("script") == 2, "the data and the page's own"
    assert "img" not in found
    assert not [k for _, attributes in Reader(page).elements for k in attributes if k[:2] == "on"]
    assert any(cell["name"].startswith(HOSTILE) for cell in embedded(page).values())


@given(st.text())
def test_any_text_comes_back_as_it_was(said: str) -> None:
    said = said.replace("\r", "").replace("\0", "")  # HTML has no way to write these
    template = environment().from_string('<p title="{{ said }}">{{ said | code }}</p>')
    element = Reader(template.render(said=said))
    assert "".join(element.texts).replace("`", "") == said.replace("`", "")
    assert element.elements[0] == ("p", {"title": said})


DATA = environment().from_string("<script>{{ value | tojson }}</script>")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_data_comes_back_as_it_was(value: Any) -> None:
    element = DATA.render(value=value)
    assert element.count("<") == 2
    assert element.isascii()
    assert json.loads(element.partition(">")[2].rpartition("<")[0]) == value


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        DATA.render(value=float("nan"))


def test_every_row_of_the_matrix_has_the_figures_of_its_records() -> None:
    page = render([made_content()])
    rows = matrix_rows(page)
    assert len(rows) == 4
    assert rows["cnn4"]["accuracy %"] == "50.00"
    assert rows["cnn4"]["images/s"] == "300"
    assert rows["resnet18"]["accuracy %"] == "85.00 \u00b1 7.07"
    assert rows["resnet18"]["time to accuracy s"] == "10.0 \u00b1 1.4"
    assert rows["vit_tiny"]["time to accuracy s"] == "not reached"
    assert rows["vgg11_bn"]["status"] == "oom"
    assert 'title="oom: RuntimeError: it broke">oom</button>' in page
    values = re.findall(r'<td class="n" data-v="([^"]*)">', page)
    assert repr((0.9 + 0.8) / 2) in values, "sorted by what is not rounded"
    assert "" in values
    bold = re.findall(r"<td[^>]*><strong>([^<]*)</strong>", page)
    assert {"85.00 \u00b1 7.07", "1.00"} <= {*bold}
    assert "not reached" not in bold
    assert Reader(page).all("data-cell") == [*embedded(page)]


def test_answers_say_whether_they_are_sure_and_effects_are_on_the_first_screen() -> None:
    answer = Answer(question="Best net", entry="a/b", value="9 %", sure=False, why="one seed each")
    page = render([made_content(answers=[answer, replace(answer, sure=True)])])
    assert "<b>a/<wbr>b</b>9 %" in page
    assert '<em class="unsure">cannot tell</em> one seed each' in page
    assert '<em class="sure">sure</em> one seed each' in page
    pictures = [made_picture("bars"), made_picture("effects")]
    page = render([made_content(pictures=pictures)])
    assert page.index('id="g0-figure-effects"') < page.index('class="matrix"')
    assert page.index('id="g0-figure-bars"') > page.index('class="matrix"')


def test_of_many_classes_the_most_confused_are_listed() -> None:
    size = MAX_CONFUSION_CLASSES + 1
    counts = tuple(tuple(row * size + column for column in range(size)) for row in range(size))
    per_class = (made_metrics(0.5, 1.0).per_class[0],) * size
    metrics = replace(made_metrics(0.5, 1.0), confusion=counts, per_class=per_class)
    records = [
        made_record(seed, record={"metrics": metrics, "parameters": 11_000}) for seed in (0, 1)
    ]
    found = cell_data(build(records).outcomes[0], Path("results"))
    assert found["settings"]["parameters"] == "11,000"
    assert "confusion" not in found
    assert len(found["confused"]) == MAX_CONFUSIONS
    assert found["confused"][0] == ["cat", "cat", 2 * counts[-1][-2]], "of both runs"


def test_an_opened_row_has_every_run_as_it_was_recorded() -> None:
    found = {cell["name"]: cell for cell in embedded(render([made_content()])).values()}
    for record in RECORDS:
        cell = found[record.cell.name]
        (row,) = (row for row in cell["runs"] if row[1] == record.run_id)
        run = dict(zip(cell["heads"], row, strict=True))
        assert (run["seed"], run["status"]) == (record.seed, record.status)
        if record.metrics is None:
            assert cell["notes"] == ["seed 0: oom: RuntimeError: it broke"], "not in the table"
        else:
            accuracy = 100 * record.metrics.accuracy
            assert run["accuracy %"] == f"{accuracy:.2f}"
            assert [4.0, pytest.approx(accuracy)] in [curve[-1] for curve in cell["curves"]]


def test_curves_are_not_drawn_over_suspect_times() -> None:
    for reasons, over, last in ((), "seconds of training", 9.5), (("busy",), "epochs", 4):
        curve = (replace(made_curve(4, 100, 0.5)[-1], train_s=9.5),)
        record = made_record(record={"curve": curve, "timing_suspect": reasons})
        found = cell_data(build([record]).outcomes[0], Path("results"))
        assert (found["curve_over"], found["curves"]) == (over, [[[last, 50.0]]])


def test_groups_of_a_page_share_no_id_and_links_stay_within_it() -> None:
    other = made_content(group=Group(folder=Path("h100_shapes_full"), reference=True))
    page = render([made_content(), other])
    ids = Reader(page).all("id")
    assert len(ids) == len(set(ids))
    assert {"g0-matrix", "g1-matrix", "g0-figure-bars", "g1-figure-bars"} <= set(ids)
    headings = re.findall("<h2>(.*?)</h2>", page)[:2]
    assert headings == ["AMD EPYC, 2 cores", "AMD EPYC, 2 cores (reference)"]
    assert page.count("shipped with the suite") == 1
    page = render([made_content()])
    assert "<li><code>resnet18</code> is best.</li>" in page
    assert "<h4>Best cells</h4>" in page
    ids = Reader(page).all("id")
    links = Reader(page).all("href")
    assert all(link is not None and link.removeprefix("#") in ids for link in links)


def test_a_group_without_runs_says_so_and_examples_are_shown() -> None:
    page = render([made_content((), conclusions={}, pictures=[made_picture("pipelines_alone")])])
    assert "No runs are recorded here yet" in page
    assert "title of pipelines_alone" in page
    assert "epyc_shapes_cpu" in page
    page = render([made_content(examples={("mixup", "dali[dynamic]"): b"strip"})])
    assert "<b>mixup</b> by <b>dali[dynamic]</b>" in page
    assert "data:image/png;base64,c3RyaXA=" in page


def test_the_environment_says_how_many_runs_had_which_and_when() -> None:
    changed = {"environment": {**RECORDS[0].environment, "torch": "2.12.0"}}
    newer = made_record(2, record=changed | {"finished": "2026-03-04T05:06:07+00:00"})
    page = render([made_content((*RECORDS, newer))])
    assert "2.11.0 (5 of 6 runs); 2.12.0 (1 of 6 runs)" in page
    assert "<td>AMD EPYC</td>" in page
    assert "<td>from 2026-01-01T00:00:00+00:00 to 2026-03-04T05:06:07+00:00</td>" in page
