"""The HTML page: its numbers come from the records, and no text from a record becomes HTML."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.matrix import build
from bench.report.page.contents import Mistake, Mistakes
from bench.report.page.page import (
    MAX_CONFUSION_CLASSES,
    MAX_CONFUSIONS,
    cell_data,
    environment,
    render,
)
from bench.store.groups import Group
from tests.made import made_failure, made_metrics, made_record
from tests.made_page import HOSTILE, RECORDS, hostile_record, made_content, made_picture

VOID = frozenset({"br", "img", "input", "meta"})


class Reader(HTMLParser):
    """Elements with their attributes, and the text of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[tuple[dict[str, str | None], list[str]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)
        if name == "tr":
            self.rows.append((dict(attributes), []))
        if name in ("td", "th") and self.rows:
            self.rows[-1][1].append("")

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name, "elements are nested and closed"

    def handle_data(self, said: str) -> None:
        self.texts.append(said)
        if ("td" in self.open or "th" in self.open) and self.rows:
            self.rows[-1][1][-1] += said


def matrix_rows(page: str) -> list[dict[str, str]]:
    """Column header to text, of each row of the (first) matrix."""
    reader = Reader(page.partition('class="matrix"')[2].partition(">")[2].partition("</table>")[0])
    head, *rows = (cells for _, cells in reader.rows)
    return [dict(zip(head, row, strict=True)) for row in rows]


def embedded(page: str, name: str = "g0-cells") -> Any:
    """The data that the page's script reads."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    return json.loads(found[1])


def test_the_same_contents_give_the_same_bytes() -> None:
    assert render([made_content()]) == render([made_content()])


def test_the_page_is_well_formed_and_asks_nothing_of_a_network() -> None:
    page = render([made_content()])
    reader = Reader(page)
    assert reader.open == []
    for name, attributes in reader.elements:
        for key in ("src", "href", "action", "data"):
            value = attributes.get(key) or ""
            assert value.startswith(("#", "data:image/png;base64,")) or not value, (name, value)
    assert "@import" not in page
    assert "url(" not in page


def test_the_policy_allows_the_pages_own_script_and_no_other() -> None:
    page = render([made_content()])
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        attributes["content"]
        for name, attributes in Reader(page).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")


def test_no_text_of_a_record_becomes_html() -> None:
    content = made_content((*RECORDS, hostile_record()))
    honest = made_content((*RECORDS, made_failure(0, architecture="a", augmentation="b")))
    page = render([content])
    reader = Reader(page)
    assert reader.open == []
    assert not [key for _, attributes in reader.elements for key in attributes if key[:2] == "on"]
    scripts = [name for name, _ in reader.elements].count("script")
    assert scripts == [name for name, _ in Reader(render([honest])).elements].count("script")
    assert "img" not in [name for name, _ in reader.elements]
    names = [row["architecture"] for row in matrix_rows(page)]
    assert HOSTILE in names
    assert any(cell["runs"][0]["reason"].endswith(HOSTILE) for cell in embedded(page))


@given(st.text())
def test_any_text_comes_back_as_it_was(said: str) -> None:
    said = said.replace("\r", "").replace("\0", "")  # HTML has no way to write these
    template = environment().from_string('<p title="{{ said }}">{{ said | code }}</p>')
    element = Reader(template.render(said=said))
    assert "".join(element.texts) in (said, said.replace("`", ""))
    assert element.elements[0] == ("p", {"title": said})


def data(value: Any) -> str:
    return environment().from_string("<script>{{ value | tojson }}</script>").render(value=value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_data_comes_back_as_it_was(value: Any) -> None:
    element = data(value)
    assert element.count("<") == 2
    assert element.isascii()
    assert json.loads(element.partition(">")[2].rpartition("<")[0]) == value


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        data(float("nan"))


def test_every_row_of_the_matrix_has_the_figures_of_its_records() -> None:
    rows = {row["architecture"]: row for row in matrix_rows(render([made_content()]))}
    assert len(rows) == 4
    assert rows["cnn4"]["accuracy %"] == "50.00"
    assert rows["cnn4"]["images/s"] == "300"
    assert rows["resnet18"]["accuracy %"] == "85.00 ± 7.07"
    assert rows["resnet18"]["time to accuracy s"] == "10.0 ± 1.4"
    assert rows["vit_tiny"]["time to accuracy s"] == "not reached"
    assert rows["vgg11_bn"]["notes"] == "oom: RuntimeError: it broke"
    assert rows["vgg11_bn"]["status"] == "oom"


def test_what_is_sorted_by_is_the_unrounded_figure_and_a_missing_one_is_empty() -> None:
    page = render([made_content()])
    values = re.findall(r'<td class="n" data-v="([^"]*)">', page.partition('id="g0-figures"')[0])
    assert repr((0.9 + 0.8) / 2) in values
    assert "" in values


def test_the_best_figures_are_bold() -> None:
    page = render([made_content()])
    bold = re.findall(r"<td[^>]*><strong>([^<]*)</strong>", page)
    assert "85.00 ± 7.07" in bold  # accuracy
    assert "1.0" in bold  # time to accuracy
    assert "not reached" not in bold


def test_cells_are_in_the_order_of_the_rows_that_link_to_them() -> None:
    page = render([made_content()])
    names = [cell["name"].partition("/")[0] for cell in embedded(page)]
    assert names == [row["architecture"] for row in matrix_rows(page)]
    assert re.findall(r'data-cell="(\d+)"', page) == [str(index) for index in range(len(names))]


def test_of_many_classes_the_most_confused_are_listed() -> None:
    size = MAX_CONFUSION_CLASSES + 1
    counts = tuple(tuple(row * size + column for column in range(size)) for row in range(size))
    per_class = (made_metrics(0.5, 1.0).per_class[0],) * size
    metrics = replace(made_metrics(0.5, 1.0), confusion=counts, per_class=per_class)
    record = made_record(record={"metrics": metrics, "parameters": 11_000})
    shown = cell_data(build([record]).outcomes[0], Path("results"))
    assert shown["settings"]["parameters"] == "11,000"
    told = shown["runs"][0]
    assert "confusion" not in told
    assert len(told["confused"]) == MAX_CONFUSIONS
    last = size - 1
    assert told["confused"][0] == [last, last - 1, counts[last][last - 1]]
    assert all(true != predicted for true, predicted, _ in told["confused"])


def test_conclusions_link_to_the_figures_that_there_are() -> None:
    page = render([made_content()])
    assert "<li><code>resnet18</code> is best." in page
    assert 'href="#g0-figure-bars"' in page
    assert 'id="g0-figure-bars"' in page
    assert "figure-gone" not in page


def test_several_groups_share_a_page_and_no_id() -> None:
    other = made_content(group=Group(folder=Path("h100_shapes_full"), reference=True))
    page = render([made_content(), other])
    ids = [attributes["id"] for _, attributes in Reader(page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"g0-matrix", "g1-matrix", "g0-figure-bars", "g1-figure-bars"} <= set(ids)
    headings = re.findall("<h2>(.*?)</h2>", page)[:2]
    assert headings == ["AMD EPYC, 2 cores", "AMD EPYC, 2 cores (reference)"]
    assert page.count("shipped with the suite") == 1


def test_every_link_leads_somewhere() -> None:
    elements = Reader(render([made_content()])).elements
    ids = {attributes.get("id") for _, attributes in elements}
    links = [attributes["href"] for name, attributes in elements if name == "a"]
    assert links
    assert all(link is not None and link.removeprefix("#") in ids for link in links)


def test_a_group_without_runs_says_so() -> None:
    page = render([made_content((), conclusions=[], pictures=[made_picture("pipelines_alone")])])
    assert "No runs are recorded here yet" in page
    assert "title of pipelines_alone" in page
    assert "epyc_shapes_cpu" in page


def test_examples_are_shown_by_policy_and_pipeline() -> None:
    page = render([made_content(examples={("flip_crop", "dali[dynamic]"): b"strip"})])
    assert f"data:image/png;base64,{base64.b64encode(b'strip').decode()}" in page
    assert "flip_crop</b> by <b>dali[dynamic]</b>" in page
    assert "holds no augmented examples" in render([made_content()])


def test_mistakes_are_shown_with_their_answers() -> None:
    image = Mistake(place=3, label=0, answers=((1, 2),), index=77, picture=b"pixels")
    found = Mistakes(classes=("cat", "dog"), runs=4, test_images=100, images=(image,))
    page = render([made_content(mistakes=found)])
    assert "wrong in 2 of 4" in page
    assert "image 77" in page
    assert "dog 2" in page
    unseen = replace(
        found, images=(replace(image, index=None, picture=b""),), problem="`bench data`"
    )
    page = render([made_content(mistakes=unseen)])
    assert "image 3" in page
    assert "<code>bench data</code>" in page


def test_where_environments_differ_the_page_says_how_many_had_which() -> None:
    newer = made_record(2, record={"environment": {**RECORDS[0].environment, "torch": "2.12.0"}})
    page = render([made_content((*RECORDS, newer))])
    assert "2.11.0 (5 of 6 runs); 2.12.0 (1 of 6 runs)" in page
    assert "<td>AMD EPYC</td>" in page


def test_dates_are_those_of_the_records() -> None:
    late = made_record(5, record={"finished": "2026-03-04T05:06:07+00:00"})
    page = render([made_content((*RECORDS, late))])
    assert "Recorded from 2026-01-01 00:00 UTC to 2026-03-04 05:06 UTC." in page


def test_the_closer_look_holds_every_run_as_it_was_recorded() -> None:
    found = {cell["name"]: cell for cell in embedded(render([made_content()]))}
    for record in RECORDS:
        (run,) = [run for run in found[record.cell.name]["runs"] if run["id"] == record.run_id]
        assert (run["seed"], run["status"]) == (record.seed, record.status)
        if record.metrics is None:
            assert "accuracy" not in run
            continue
        assert run["accuracy"] == record.metrics.accuracy
        assert run["time_to_accuracy_s"] == record.metrics.time_to_accuracy_s
        assert run["confusion"] == [list(row) for row in record.metrics.confusion]
        assert run["per_class"] == [
            [one.precision, one.recall, one.f1, one.support] for one in record.metrics.per_class
        ]
        assert run["images_per_s"] == record.throughput.median
        assert found[record.cell.name]["classes"] == ["cat", "dog"]
