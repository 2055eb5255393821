"""Comparisons of made records: a planted difference is found and nothing else; misses count."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.errors import UsageError
from bench.recipe import Recipe
from bench.record import Record
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, TRAIN, Metric
from bench.report.compare.compare import (
    ALL_CELLS,
    Comparison,
    LimitResult,
    compare,
    parse_limit,
)
from bench.report.compare.sides import Side, match_sides
from bench.report.compare.statistics import Overall, Sample
from bench.report.statistics.intervals import Contrast, mann_whitney, student_test
from tests.made import ENVIRONMENT, made_failure
from tests.made_grid import made_grid

NETS = ("cnn2", "cnn4", "resnet18")
FIGURES = st.lists(st.integers(-30, 30).map(lambda n: n / 10), min_size=2, max_size=9)


def side(name: str, records: Sequence[Record], selected: bool = False) -> Side:
    return Side(name=name, records=tuple(records), selected=selected)


def against(
    a: Sequence[Record], b: Sequence[Record], metric: Metric = SPEED, **options: Any
) -> Comparison:
    return compare(side("before", a, **options), side("after", b, **options), metric)


def grid(draw: int, planted: Any = lambda **_: {}, **options: Any) -> list[Record]:
    options = {"architecture": NETS, "optimizer": ("sgd",), "augmentation": ("none",)} | options
    return made_grid(planted, draw=draw, seeds=options.pop("seeds", 5), **options)


def verdicts(found: Comparison) -> dict[str, str]:
    return {row.match.label.split("/")[0]: row.judged.verdict for row in found.rows}


def cnn4_is_slower(architecture: str, **_: Any) -> dict[str, float]:
    slow = architecture == "cnn4"
    return {"images_per_s": 800.0, "time_to_accuracy_s": 3.75} if slow else {}


@pytest.mark.parametrize("metric", [SPEED, TIME])
def test_what_became_slower_is_told_and_nothing_else(metric: Metric) -> None:
    found = against(grid(0), grid(1, cnn4_is_slower), metric)
    assert verdicts(found) == {
        "cnn2": "cannot tell", "cnn4": "slower", "resnet18": "cannot tell",
    }  # fmt: skip
    row = next(row for row in found.rows if row.judged.verdict == "slower")
    interval = row.samples[metric.name].interval()
    truth = 0.8 if metric is SPEED else 1.25
    assert interval.as_ratio().low < truth < interval.as_ratio().high
    back = verdicts(against(grid(1, cnn4_is_slower), grid(0), metric))
    assert back["cnn4"] == "faster"


def test_scores_are_compared_in_points() -> None:
    found = against(grid(0), grid(1, lambda **_: {"accuracy": 0.63}), ACCURACY)
    assert set(verdicts(found).values()) == {"higher"}
    for metric in (ACCURACY, MACRO_F1):
        for row in found.rows:
            interval = row.samples[metric.name].interval()
            assert interval.low < 3.0 < interval.high


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_fewer_than_five_seeds_claim_nothing(seeds: int) -> None:
    found = against(grid(0, seeds=seeds), grid(1, cnn4_is_slower, seeds=5))
    assert set(verdicts(found).values()) == {"too few seeds"}
    assert found.overall["images_per_s"].verdict == "too few cells"


def test_alarms_are_as_rare_and_changes_found_as_often_as_documented() -> None:
    """A/A: any cell of three told in at most 5 %; 5 % slower at 2 % noise: found in over 75 %."""
    alarms, found, tries = dict.fromkeys((SPEED, TIME, ACCURACY), 0), 0, 120
    for draw in range(tries):
        a, b = grid(2 * draw), grid(2 * draw + 1)
        for metric in alarms:
            alarms[metric] += set(verdicts(against(a, b, metric)).values()) != {"cannot tell"}
    for draw in range(50):
        changed = grid(draw, lambda architecture, **_: {"images_per_s": 950.0})
        found += list(verdicts(against(grid(1000 + draw), changed)).values()).count("slower")
    assert max(alarms.values()) <= 0.05 * tries + 2 * math.sqrt(0.05 * 0.95 * tries)
    assert sum(alarms.values()) > 0  # the test is not merely blind
    assert found >= 0.75 * 150


def test_all_cells_together_are_told_by_cells_not_by_seeds() -> None:
    nets = [f"net{n}" for n in range(6)]
    whole = against(grid(0, architecture=nets), grid(1, architecture=nets)).overall["images_per_s"]
    assert len(whole.estimate.differences) == 6  # of 60 runs
    one = against(grid(0, architecture=nets, seeds=1), grid(1, lambda **_: {"images_per_s": 900.0},
                  architecture=nets, seeds=1)).overall["images_per_s"]  # fmt: skip
    assert one.verdict == "slower"
    interval = one.estimate.interval()
    assert interval.as_ratio().low < 0.9 < interval.as_ratio().high


def test_a_missed_target_is_longer_than_any_time() -> None:
    def missed(architecture: str, **_: Any) -> dict[str, float | None]:
        return {"time_to_accuracy_s": None} if architecture == "cnn4" else {}

    found = against(grid(0), grid(1, missed), TIME)
    assert verdicts(found)["cnn4"] == "slower"
    sample = next(r for r in found.rows if "cnn4" in r.match.label).samples["time_to_accuracy_s"]
    assert (sample.method, sample.reached, sample.interval()) == ("Mann-Whitney", (5, 0), None)
    assert sample.difference == math.inf
    both = against(grid(0, missed), grid(1, missed), TIME)
    assert verdicts(both)["cnn4"] == "cannot tell"


def test_suspect_timings_are_left_out_of_speeds_and_said() -> None:
    marked = [
        replace(one, timing_suspect=("throttled",)) if one.seed == 0 else one
        for one in grid(1, lambda **_: {"images_per_s": 100.0, "accuracy": 0.9})
    ]
    found = against(grid(0), marked)
    assert set(verdicts(found).values()) == {"too few seeds"}
    assert set(verdicts(against(grid(0), marked, ACCURACY)).values()) == {"higher"}
    assert any("3 of 15 runs (for example: throttled)" in note for note in found.notes)
    with pytest.raises(UsageError, match="15 of 30 runs have suspect timings"):
        against(grid(0), [replace(one, timing_suspect=("throttled",)) for one in grid(1)])


def test_runs_that_failed_are_counted_on_their_side() -> None:
    broken = [*grid(1, architecture=("cnn2",)), *[
        made_failure(seed, status="oom", architecture="cnn4", augmentation="none")
        for seed in range(5)
    ]]  # fmt: skip
    found = against(grid(0, architecture=("cnn2", "cnn4")), broken)
    assert verdicts(found) == {"cnn2": "cannot tell", "cnn4": "no data"}
    assert "Failed runs on side b, which have no results: 5 oom." in found.notes


def test_what_is_compared_is_left_out_of_the_match() -> None:
    a, b = grid(0, pipeline=("native",)), grid(1, pipeline=("kornia",), architecture=NETS[:2])
    found = against(a, b)
    assert list(verdicts(found)) == ["cnn2", "cnn4"]
    assert [row.match.label for row in found.rows] == ["cnn2/sgd/none", "cnn4/sgd/none"]
    assert found.differences == ("pipeline: native -> kornia",)
    assert found.matches.only_a == ("resnet18/sgd/none/native",)
    assert any("Only on side a: 1 cell" in note for note in found.notes)


def test_a_pipeline_that_both_have_is_no_difference() -> None:
    a, b = grid(0, pipeline=("native", "dali")), grid(1, pipeline=("kornia", "native"))
    found = match_sides(side("a", a), side("b", b))
    assert {cell.label for cell in found.cells} == {f"{net}/sgd/none/native" for net in NETS}
    assert (len(found.only_a), len(found.only_b)) == (3, 3)


def with_environment(records: Sequence[Record], **changes: Any) -> list[Record]:
    return [replace(one, environment=ENVIRONMENT | changes) for one in records]


def test_machine_versions_and_commit_are_told_and_do_not_hinder() -> None:
    a = with_environment(grid(0), commit="a" * 40, dirty=False, driver="570.1")
    b = with_environment(
        grid(1), commit="b" * 40, dirty=True, torch="2.99.0", gpu="H100", driver="580"
    )
    newer = [replace(one, versions=one.versions | {"pipeline": 2}, fingerprint="beef") for one in b]
    found = against(a, newer)
    assert len(found.rows) == 3
    for said in (
        "GPU: none -> H100", "torch: 2.11.0 -> 2.99.0", "driver: 570.1 -> 580",
        "commit: aaaaaaa -> bbbbbbb with changes", "pipeline version: 1 -> 2",
        "images: f00d -> beef",
    ):  # fmt: skip
        assert said in found.differences
    assert against(a, with_environment(grid(1), commit="a" * 40, driver="570.1")).differences == ()


def test_recipes_that_differ_are_told_setting_by_setting() -> None:
    a, b = (
        [replace(one, cell=replace(one.cell, recipe=Recipe(lr=lr))) for one in grid(draw)]
        for draw, lr in enumerate((0.1, 0.2))
    )
    assert against(a, b).differences == ("lr: 0.1 -> 0.2",)
    both = [*a, *b]  # each has its own match
    assert len(match_sides(side("a", both), side("b", both)).cells) == 6


def test_cells_that_agree_in_nothing_need_to_be_meant() -> None:
    a = grid(0, architecture=("cnn2",), pipeline=("native",))
    b = grid(1, architecture=("vit",), pipeline=("kornia",))
    with pytest.raises(UsageError, match=r"differ in architecture and pipeline"):
        against(a, b)
    assert against(a, b, selected=True).differences == (
        "architecture: cnn2 -> vit", "pipeline: native -> kornia",
    )  # fmt: skip


def test_a_cell_that_has_two_of_what_is_compared_is_refused_or_left_out() -> None:
    a = grid(0, pipeline=("native",))
    with pytest.raises(UsageError, match=r"side b has 2 cells.*pipeline: dali, kornia"):
        against(a, grid(1, pipeline=("kornia", "dali")))
    one_too_many = grid(2, pipeline=("dali",), architecture=("cnn4",))
    found = against(a, [*grid(1, pipeline=("kornia",)), *one_too_many])
    assert list(verdicts(found)) == ["cnn2", "resnet18"]
    assert any(
        note.startswith("Left out because they match more than one cell") for note in found.notes
    )


def test_times_to_different_targets_are_not_compared() -> None:
    a, b = grid(0), grid(1, target_accuracy=0.5)
    assert "time_to_accuracy_s" not in against(a, b).rows[0].samples
    with pytest.raises(UsageError, match="different targets"):
        against(a, b, TIME)


def test_sides_that_ran_one_after_the_other_are_told() -> None:
    early = grid(0)
    late = [
        replace(one, started="2026-02-01T00:00:00+00:00", finished="2026-02-01T00:00:09+00:00")
        for one in grid(1)
    ]
    assert any("ended before side b began" in note for note in against(early, late).notes)
    assert any("ended before side a began" in note for note in against(late, early).notes)
    assert not any("began" in note for note in against(early, grid(1)).notes)


def with_ceilings(records: Sequence[Record], share: float) -> list[Record]:
    """The ceiling of each run, with its noise, is that much above 1,250 images/s."""
    found = []
    for one in records:
        assert one.throughput is not None
        ceiling = 1250 * share * (1 + 0.001 * one.seed)
        found.append(replace(one, throughput=replace(one.throughput, ceiling=ceiling)))
    return found


def test_a_ceiling_that_moved_too_is_told() -> None:
    a, b = with_ceilings(grid(0), 1.0), grid(1, cnn4_is_slower)
    said = "In 1 of 1 cell that became faster or slower, the ceiling"
    assert any(said in note for note in against(a, with_ceilings(b, 0.8)).notes)
    for share in (1.0, 1.2):
        assert not any("ceiling" in note for note in against(a, with_ceilings(b, share)).notes)


def sample(a: Sequence[float], b: Sequence[float], metric: Metric = SPEED) -> Sample:
    return Sample(metric=metric, a=dict(enumerate(a)), b=dict(enumerate(b)))


def test_scores_of_the_same_seeds_are_paired_and_speeds_are_not() -> None:
    rng = np.random.default_rng(0)
    a = list(rng.normal(70, 3, 8))
    b = [value + 0.4 + rng.normal(0, 0.1) for value in a]
    paired = "paired by seed"
    for metric, method in ((ACCURACY, paired), (TIME, paired), (SPEED, "Welch")):
        one = sample(a, b, metric)
        assert one.method == method
        expected = stats.ttest_rel(b, a) if metric is not SPEED else stats.ttest_ind(
            b, a, equal_var=False
        )  # fmt: skip
        assert one.test().p == pytest.approx(expected.pvalue, rel=1e-4)
    other = Sample(metric=ACCURACY, a=dict(enumerate(a)), b=dict(enumerate(b, start=1)))
    assert other.method == "Welch"


@given(FIGURES, FIGURES, st.floats(-1, 1))
def test_an_interval_and_its_test_agree(a: list[float], b: list[float], null: float) -> None:
    for metric in (SPEED, ACCURACY):
        one = sample(a, b, metric)
        interval, test = one.interval(), one.test(null)
        if min(abs(interval.low - null), abs(interval.high - null)) > 1e-6:
            assert interval.side(null) == (test.side if test.p < 0.05 else 0)


@given(FIGURES, FIGURES)
def test_ranks_are_exact(a: list[float], b: list[float]) -> None:
    found = mann_whitney(Contrast(level=tuple(b), reference=tuple(a)))
    if len(set(a + b)) == len(a + b):
        assert found.p == pytest.approx(stats.mannwhitneyu(b, a, method="exact").pvalue)
    back = mann_whitney(Contrast(level=tuple(a), reference=tuple(b)))
    assert (back.side, back.p) == (-found.side, pytest.approx(found.p))


def test_ranks_with_ties_are_those_of_all_ways_to_deal_them() -> None:
    a, b = (1.0, 1.0, 2.0, math.inf), (2.0, math.inf, math.inf)
    ranks = stats.rankdata([*a, *b])
    sums, seen = [sum(some) for some in combinations(ranks, 3)], sum(ranks[4:])
    tail = min(sum(s >= seen for s in sums), sum(s <= seen for s in sums)) / len(sums)
    assert mann_whitney(Contrast(level=b, reference=a)).p == pytest.approx(min(1, 2 * tail))
    assert mann_whitney(Contrast(level=(2.0,) * 40, reference=(1.0,) * 40)).p < 1e-6


def test_equal_figures_tell_nothing_and_a_steady_difference_all() -> None:
    assert student_test([0.0] * 5).p == 1.0
    assert student_test([0.1] * 5).p == 0.0
    assert student_test([1.0]).p == 1.0
    differences = (math.inf, math.nan, math.inf, 0.1, 0.2, 0.3, math.inf)
    whole = Overall(metric=TIME, differences=differences)
    assert (whole.interval(), whole.test().side) == (None, 1)
    assert whole.difference == pytest.approx(0.2)


def quiet_grid(
    draw: int, seeds: int = 6, nets: Sequence[str] = ("cnn2", "cnn4"), **truth: Any
) -> list[Record]:
    noise = {"percent": 1.0, "points": 0.2}
    return grid(draw, lambda **_: truth, architecture=nets, seeds=seeds, **noise)


def judged(text: str, a: list[Record], b: list[Record], metric: Metric = SPEED) -> LimitResult:
    sides = (Side(name=name, records=tuple(some)) for name, some in (("a", a), ("b", b)))
    (found,) = compare(*sides, metric, [parse_limit(text, metric)]).limits
    return found


@pytest.mark.parametrize(
    ("text", "metric", "looked_at", "null"),
    [
        ("slower:3%", SPEED, SPEED, math.log(0.97)),
        ("slower:3%", TRAIN, TRAIN, math.log(1.03)),
        (" slower:0.5 % ", TIME, TIME, math.log(1.005)),
        ("slower:3%", ACCURACY, SPEED, math.log(0.97)),
        ("slower:150%", TIME, TIME, math.log(2.5)),
        ("accuracy:0.5", SPEED, ACCURACY, -0.5),
        ("accuracy:0.5 points", SPEED, ACCURACY, -0.5),
        ("macro_f1:1", TIME, MACRO_F1, -1.0),
    ],
)
def test_limits_are_read(text: str, metric: Metric, looked_at: Metric, null: float) -> None:
    found = parse_limit(text, metric)
    assert (found.metric, found.null) == (looked_at, pytest.approx(null))


@pytest.mark.parametrize(
    "text", ["", "slower", "slower:", "slower:3", "slower:-3%", "faster:3%", "accuracy:0.5%",
             "accuracy:x", "slower:nan%", "slower:3%,accuracy:1"],
)  # fmt: skip
def test_malformed_limits_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is malformed: write slower:3%"):
        parse_limit(text, SPEED)
    with pytest.raises(UsageError, match="cannot fall by 100 %"):
        parse_limit("slower:100%", SPEED)


@pytest.mark.parametrize(
    ("speed", "limit", "broken"),
    [(1000.0, 3, 0), (980.0, 3, 0), (980.0, 0, 2), (950.0, 3, 2), (1100.0, 3, 0)],
)
def test_slower_by_more_than_the_limit_breaks_it(speed: float, limit: int, broken: int) -> None:
    changed = quiet_grid(1, images_per_s=speed)
    found = judged(f"slower:{limit}%", quiet_grid(0), changed)
    assert (len(found.broken), found.tested, found.too_few) == (broken, 2, 0)


def test_times_and_scores_break_their_limits_too() -> None:
    a = quiet_grid(0)
    assert judged("slower:3%", a, quiet_grid(1, time_to_accuracy_s=3.3), TIME).broken
    assert judged("slower:3%", a, quiet_grid(1, time_to_accuracy_s=None), TIME).broken
    assert not judged("slower:3%", quiet_grid(0, time_to_accuracy_s=None), a, TIME).broken
    lower = quiet_grid(1, accuracy=0.59)
    assert judged("accuracy:0.5", a, lower).broken
    assert judged("macro_f1:0.5 points", a, lower).broken
    assert not judged("accuracy:1.5", a, lower).broken
    assert not judged("accuracy:0.5", lower, a).broken


def test_too_few_seeds_break_nothing_but_enough_cells_do() -> None:
    half = quiet_grid(1, seeds=2, images_per_s=500.0)
    few = judged("slower:3%", quiet_grid(0, seeds=2), half)
    assert (few.broken, few.tested, few.too_few) == ((), 0, 2)
    nets = [f"net{n}" for n in range(6)]
    a, b = quiet_grid(0, 1, nets), quiet_grid(1, 1, nets, images_per_s=975.0)
    assert judged("slower:0%", a, b).broken == (ALL_CELLS,)
    assert judged("slower:5%", a, b).broken == ()
