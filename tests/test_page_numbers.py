"""Every number on the page of the reference is found in its records.

The records are read as plain JSON here, and what is said of several is computed anew, naively.
"""

import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from bench.groups import Group
from bench.report.conclusions import conclude
from bench.report.mistakes import find
from bench.report.page import render
from bench.report.page_content import Content
from bench.store import Store
from tests.checkout import ROOT
from tests.test_page import Reader, embedded, matrix_rows

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
        mistakes=find(store, records, tmp_path_factory.mktemp("no_images")),
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
        for column, text in row.items():
            if column in FIGURES:
                assert says(text.rstrip("*? "), FIGURES[column](run), "not reached"), (column, row)
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
                if name not in ("id", "status", "reason", "suspect", "again"):
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
    r"(?P<metric>accuracy|macro F1|images/s|time to accuracy): [a-z ]+\("
    r"(?:(?P<middle>[-+\d.]+) (?:points|times), 95 % interval (?P<low>\S+) to (?P<high>\S+) over )?"
    r"(?P<cells>\d+) matched cells"
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
    for level, reference, text in effects_said(content):
        for claim in CLAIM.finditer(text):
            ratio, _ = METRICS[claim["metric"]]
            values = differences([*runs.values()], level, reference, claim["metric"])
            assert len(values) == int(claim["cells"])
            if claim["middle"] is None:
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
    for level, reference, text in effects_said(content):
        for metric, said in re.findall(
            r"(accuracy|macro F1|images/s|time to accuracy) ([-+\d.]+) ", text
        ):
            middle = fmean(differences([*runs.values()], level, reference, metric))
            assert says(said.lstrip("+"), math.exp(middle) if METRICS[metric][0] else middle)
            checked += 1
    assert checked >= len(METRICS)


def test_the_best_are_the_best_of_the_records(content: Content, runs: dict[str, Run]) -> None:
    best = [one.text for one in content.conclusions if one.kind == "best"]
    assert len(best) == len(METRICS)
    for text in best:
        found = re.match(r"Best (.+): `([^`]+)` with ([\d.,]+)", text)
        assert found is not None, text
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
        re.match(r"`([^`]+)` with (.+?): training waited (\S+) % of its time in (.*)", one.text)
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
