"""The HTML page: its numbers come from the records, and no text of theirs becomes HTML.

For the page of the reference matrix, the records are read as plain JSON and every number on the
page is recomputed from them.
"""

import base64
import hashlib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from bench.report.conclusions import conclude
from bench.report.matrix import build
from bench.report.page.contents import Content, Mistake, Mistakes, find_mistakes
from bench.report.page.page import (
    MAX_CONFUSION_CLASSES,
    MAX_CONFUSIONS,
    cell_data,
    environment,
    render,
)
from bench.store.groups import Group
from bench.store.store import Store
from tests.checkout import ROOT
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
    assert found is not None
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
    assert policy is not None
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
        assert record.throughput is not None
        assert run["images_per_s"] == record.throughput.median
        assert found[record.cell.name]["classes"] == ["cat", "dog"]


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
    told = cell_data((made_record(record={"metrics": metrics}),), Path("results"))["runs"][0]
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
    assert page.count("reference, shipped with the suite") == 1


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


def test_the_matrix_keeps_the_records_of_each_row() -> None:
    matrix = build(RECORDS)
    for row, runs in zip(matrix.frame.to_dict(orient="records"), matrix.runs, strict=True):
        assert row["architecture"] == runs[0].cell.architecture
        assert row["runs"] == len(runs)


REFERENCE = ROOT / "results" / "reference" / "amd-epyc-2-cores_cifar10_cpu"
FACTORS = ("architecture", "optimizer", "augmentation", "pipeline")
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?![\w])")
Run = dict[str, Any]


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    files = sorted((REFERENCE / "records").glob("*.json"))
    return {path.stem: json.loads(path.read_bytes()) for path in files}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    store = Store(REFERENCE)
    records = store.records()
    return Content(
        group=Group(folder=REFERENCE),
        records=records,
        conclusions=conclude(records),
        mistakes=find_mistakes(store, records, tmp_path_factory.mktemp("no_images")),
    )


@pytest.fixture(scope="module")
def page(content: Content) -> str:
    return render([content])


@pytest.fixture(scope="module")
def by_row(page: str, runs: dict[str, Run]) -> list[tuple[dict[str, str], Run]]:
    """Each row of the matrix and the one run that it is of."""
    rows, cells = matrix_rows(page), embedded(page)
    assert len(rows) == len(cells) == len(runs), "the reference has a seed a cell"
    return [(row, runs[cell["runs"][0]["id"]]) for row, cell in zip(rows, cells, strict=True)]


def section(page: str, name: str) -> str:
    """A section's HTML, from its id on."""
    return page.partition(f'id="{name}"')[2].partition("</section>")[0]


def says(text: str, value: float | None, missing: str = "") -> bool:
    """Whether a text is a value, rounded to the digits that the text has."""
    if value is None:
        return text == missing
    digits = len(text.partition(".")[2])
    return text == f"{value:.{digits}f}"


def timed(run: Run, value: float | None) -> float | None:
    return None if run["timing_suspect"] else value


def bound_by(run: Run) -> str:
    stall = run["throughput"]["stall_pct"]
    return (
        "" if stall is None else "pipeline" if stall >= 50 else "both" if stall >= 10 else "model"
    )


FIGURES: dict[str, Callable[[Run], float | None]] = {
    "accuracy %": lambda run: 100 * run["metrics"]["accuracy"],
    "macro F1 %": lambda run: 100 * run["metrics"]["macro_f1"],
    "one view %": lambda run: 100 * run["metrics"]["accuracy"],  # the cells here look once
    "images/s": lambda run: run["throughput"]["median"],
    "stall %": lambda run: run["throughput"]["stall_pct"],
    "time to accuracy s": lambda run: run["metrics"]["time_to_accuracy_s"],
    "with compile s": lambda run: run["metrics"]["time_to_accuracy_with_compile_s"],
    "train s": lambda run: run["timings"]["train_s"],
    "parameters": lambda run: run["parameters"],
    "seeds": lambda run: 1,
    "runs": lambda run: 1,
    "reached": lambda run: int(run["metrics"]["time_to_accuracy_s"] is not None),
}


def test_every_figure_of_the_matrix_is_the_runs(by_row: list[tuple[dict[str, str], Run]]) -> None:
    for row, run in by_row:
        for factor in FACTORS:
            assert row[factor] == run["cell"][factor]
        for column, cell_text in row.items():
            if column in FIGURES:
                shown = cell_text.rstrip("*? ")
                assert says(shown, FIGURES[column](run), "not reached"), (column, row)
        assert row["bound by"].rstrip("*? ") in (bound_by(run), ""), row
        assert (row["bound by"] == "") <= bool(run["timing_suspect"])


def test_no_column_has_numbers_that_nothing_here_looks_at(
    by_row: list[tuple[dict[str, str], Run]],
) -> None:
    """The texts of the other columns stand in the record as they are."""
    for row, run in by_row:
        whole = json.dumps(run)
        for column in set(row) - set(FIGURES) - set(FACTORS) - {"bound by", "budget"}:
            for number in NUMBER.findall(row[column]):
                assert number in whole, (column, row[column])
        batch, _, version = row["budget"].partition(", optimizer v")
        assert batch == f"batch {run['cell']['batch_size']}"
        assert int(version) == run["versions"]["optimizer"]


def test_the_closer_look_has_the_runs_own_numbers(page: str, runs: dict[str, Run]) -> None:
    for cell in embedded(page):
        for told in cell["runs"]:
            run = runs[told["id"]]
            fields = run["metrics"] | run["timings"] | run["throughput"] | {"seed": run["seed"]}
            fields["images_per_s"] = run["throughput"]["median"]
            scores = [
                [one[name] for name in ("precision", "recall", "f1", "support")]
                for one in run["metrics"]["per_class"]
            ]
            fields["per_class"] = scores
            for name, value in told.items():
                if name not in ("id", "status", "reason", "suspect", "rerun"):
                    assert flat(value) == pytest.approx(flat(fields[name]), rel=1e-5), name


def flat(value: Any) -> list[float]:
    """The numbers of nested lists."""
    if isinstance(value, list):
        return [number for item in value for number in flat(item)]
    return [] if value is None else [value]


def test_where_the_time_went_is_the_runs_timings(
    page: str, by_row: list[tuple[dict[str, str], Run]]
) -> None:
    names = [
        "load",
        "build",
        "first_batch",
        "compile",
        "capture",
        "warmup",
        "train",
        "fit",
        "evaluate",
        "total",
    ]
    _, *rows = (cells for _, cells in Reader(section(page, "g0-times")).rows)
    assert len(rows) == len(by_row)
    for (name, *cells), (_, run) in zip(rows, by_row, strict=True):
        assert all(run["cell"][factor] in name for factor in FACTORS)
        *seconds, stall = cells
        expected = [run["timings"].get(f"{part}_s", 0.0) for part in names]  # old ones lack some
        assert all(map(says, seconds, expected)), (name, seconds, expected)
        assert says(stall, run["throughput"]["stall_pct"])


def test_the_environment_is_the_runs(page: str, runs: dict[str, Run]) -> None:
    _, *rows = (cells for _, cells in Reader(section(page, "g0-environment")).rows)
    for name, said in rows:
        for one in said.split("; "):
            value, _, count = one.partition(" (")
            key = name.replace(" ", "_")
            have = [
                run["command"] if name == "command" else run["environment"][key]
                for run in runs.values()
            ]
            expected = Counter(map(shown, have))
            if " runs)" not in one:
                assert expected == {one: len(runs)}
            else:
                assert expected[value] == int(count.split()[0])


def shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def test_mistakes_are_counted_in_the_predictions(page: str, runs: dict[str, Run]) -> None:
    kept = [
        np.load(io.BytesIO((REFERENCE / "predictions" / f"{name}.npz").read_bytes()))
        for name in runs
    ]
    labels = kept[0]["labels"]
    said = np.stack([one["predictions"] for one in kept])
    classes = [one["name"] for one in next(iter(runs.values()))["metrics"]["per_class"]]
    wrong = (said != labels).sum(axis=0)
    html = section(page, "g0-mistakes")
    items = re.findall(r"<li.*?</li>", html, re.DOTALL)
    assert items
    for item in items:
        text = re.sub(r"<[^>]*>", " ", item)
        (index,) = map(int, re.findall(r"image (\d+)", text))
        (times, of) = map(int, re.findall(r"wrong in (\d+) of (\d+)", text)[0])
        assert (times, of) == (wrong[index], len(runs))
        counts = Counter(classes[guess] for guess in said[:, index] if guess != labels[index])
        told = {
            name: int(count) for name, count in re.findall(r"(\w+) (\d+)(?=,|\s*$)", text.strip())
        }
        others = told.pop("others", 0)
        assert {name: counts[name] for name in told} == told
        assert sum(told.values()) + others == times
    assert (
        min(wrong[[int(one) for one in re.findall(r"image (\d+)", html)]])
        >= np.sort(wrong)[-len(items)]
    )


# Conclusions

METRICS: dict[str, tuple[bool, Callable[[Run], float | None]]] = {
    "accuracy": (False, lambda run: 100 * run["metrics"]["accuracy"]),
    "macro F1": (False, lambda run: 100 * run["metrics"]["macro_f1"]),
    "images/s": (True, lambda run: timed(run, run["throughput"]["median"])),
    "time to accuracy": (True, lambda run: timed(run, run["metrics"]["time_to_accuracy_s"])),
}
CLAIM = re.compile(
    r"(?P<metric>accuracy|macro F1|images/s|time to accuracy): [a-z ]+"
    r"(?:, (?P<middle>[-+\d.]+)(?: points|\u00d7))? "
    r"\((?:95 % CI (?P<low>\S+) to (?P<high>\S+) over )?(?P<cells>\d+) matched cells"
)


def differences(runs: Sequence[Run], level: str, reference: str, metric: str) -> list[float]:
    """Of runs that differ in nothing but these two levels; logarithms where ratios count."""
    ratio, value = METRICS[metric]
    found = []
    for one in runs:
        for other in runs:
            pairs = [(one["cell"][factor], other["cell"][factor]) for factor in FACTORS]
            if sorted(pair for pair in pairs if pair[0] != pair[1]) == [(level, reference)]:
                a, b = value(one), value(other)
                if a is not None and b is not None:
                    found.append(math.log(a / b) if ratio else a - b)
    return found


def interval(values: Sequence[float], share: float = 0.95) -> tuple[float, float, float]:
    """Student's, written out."""
    middle = fmean(values)
    deviation = math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))
    width = student.ppf((1 + share) / 2, len(values) - 1) * deviation / math.sqrt(len(values))
    return middle, middle - width, middle + width


def effects_said(content: Content) -> Iterator[tuple[str, str, str]]:
    for one in content.conclusions:
        found = re.match(r"`([^`]+)` instead of `([^`]+)`[,:](.*)", one.text)
        if found is not None:
            yield found[1], found[2], found[3]


def test_effects_are_means_over_matched_cells(content: Content, runs: dict[str, Run]) -> None:
    checked = 0
    for level, reference, cell_text in effects_said(content):
        for claim in CLAIM.finditer(cell_text):
            ratio, _ = METRICS[claim["metric"]]
            values = differences([*runs.values()], level, reference, claim["metric"])
            assert len(values) == int(claim["cells"])
            if claim["low"] is None:
                continue
            expected = [math.exp(one) if ratio else one for one in interval(values)]
            told = [claim["middle"], claim["low"], claim["high"]]
            assert all(
                says(said.lstrip("+"), one) for said, one in zip(told, expected, strict=True)
            )
            checked += 1
    assert checked >= 20


def test_effects_of_too_few_cells_are_their_means(content: Content, runs: dict[str, Run]) -> None:
    checked = 0
    for level, reference, cell_text in effects_said(content):
        for metric, said in re.findall(
            r"(accuracy|macro F1|images/s|time to accuracy) ([-+\d.]+)(?: points|\u00d7)", cell_text
        ):
            middle = fmean(differences([*runs.values()], level, reference, metric))
            assert says(said.lstrip("+"), math.exp(middle) if METRICS[metric][0] else middle)
            checked += 1
    assert checked >= len(METRICS)


def test_the_best_are_the_best_of_the_records(content: Content, runs: dict[str, Run]) -> None:
    best = [one.text for one in content.conclusions if one.kind == "best"]
    assert len(best) == len(METRICS)
    for cell_text in best:
        found = re.match(r"Best (.+): `([^`]+)` with ([\d.,]+)", cell_text)
        assert found is not None, cell_text
        values = {name(run): METRICS[found[1]][1](run) for run in runs.values()}
        known = {cell: value for cell, value in values.items() if value is not None}
        top = (min if found[1] == "time to accuracy" else max)(known.values())
        assert known[found[2]] == top
        assert says(found[3].replace(",", ""), top)


def name(run: Run) -> str:
    return "/".join(run["cell"][factor] for factor in FACTORS)


def test_what_training_waited_is_the_median_of_the_stalls(
    content: Content, runs: dict[str, Run]
) -> None:
    found = [
        re.match(
            r"`([^`]+)` with (.+?): training waited for data for (\S+) % of its time in (.*)",
            one.text,
        )
        for one in content.conclusions
        if one.kind == "pipelines"
    ]
    told = [match for match in found if match is not None]
    assert told
    for match in told:
        stalls = [
            run["throughput"]["stall_pct"]
            for run in runs.values()
            if run["cell"]["pipeline"] == match[1] and not run["timing_suspect"]
        ]
        assert says(match[3], median(stalls))
        assert match[4].startswith(("the only cell", f"the median of {len(stalls)} cells"))
        bound = [int(count) for count in re.findall(r"(\d+) (?:bound|by)", match[4])]
        assert sum(bound) == len(stalls)
