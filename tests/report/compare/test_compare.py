"""Comparisons of made records: a planted difference is found and nothing else; misses count."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.compare import parse_limit
from bench.errors import UsageError
from bench.recipe import Recipe
from bench.record import Record
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, Metric
from bench.report.compare.compare import (
    ALL_CELLS,
    Comparison,
    Difference,
    Limit,
    compare,
    over_seeds,
)
from bench.report.compare.sides import Side, match_sides
from tests.made import ENVIRONMENT, made_failure
from tests.made_grid import made_grid

NETS = ("cnn2", "cnn4", "resnet18")
FIGURES = st.lists(st.integers(-30, 30).map(lambda n: n / 10), min_size=5, max_size=9)


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
    return {row.label.split("/")[0]: row.verdict for row in found.rows}


def cnn4_is_slower(architecture: str, **_: Any) -> dict[str, float]:
    slow = architecture == "cnn4"
    return {"images_per_s": 800.0, "time_to_accuracy_s": 3.75} if slow else {}


@pytest.mark.parametrize("metric", [SPEED, TIME])
def test_what_became_slower_is_told_and_nothing_else(metric: Metric) -> None:
    found = against(grid(0), grid(1, cnn4_is_slower), metric)
    assert verdicts(found) == {
        "cnn2": "cannot tell", "cnn4": "slower", "resnet18": "cannot tell",
    }  # fmt: skip
    assert found.rows[-1].verdict == "slower"  # the best for b is first
    interval = found.rows[-1].found[metric.name].interval
    truth = 0.8 if metric is SPEED else 1.25
    assert interval.low < truth < interval.high
    back = verdicts(against(grid(1, cnn4_is_slower), grid(0), metric))
    assert back["cnn4"] == "faster"


def test_scores_are_compared_in_points_and_times_to_one_target_only() -> None:
    found = against(grid(0), grid(1, lambda **_: {"accuracy": 0.63}), ACCURACY)
    assert set(verdicts(found).values()) == {"higher"}
    for metric in (ACCURACY, MACRO_F1):
        for row in found.rows:
            interval = row.found[metric.name].interval
            assert interval.low < 3.0 < interval.high
    a, b = grid(0), grid(1, target_accuracy=0.5)
    assert "time_to_accuracy_s" not in against(a, b).rows[0].found
    with pytest.raises(UsageError, match="different targets"):
        against(a, b, TIME)


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_fewer_than_five_seeds_claim_nothing(seeds: int) -> None:
    found = against(grid(0, seeds=seeds), grid(1, cnn4_is_slower, seeds=5))
    assert set(verdicts(found).values()) == {"too few seeds"}
    assert found.overall.verdict == "too few seeds"


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


def test_all_cells_together_are_told_by_nets_else_by_seeds() -> None:
    def slower(**_: Any) -> dict[str, float]:
        return {"images_per_s": 900.0}

    nets = {"architecture": [f"net{n}" for n in range(6)]}
    two = {"architecture": NETS[:2], "augmentation": [f"policy{n}" for n in range(6)]}
    for options, over, verdict in (
        (nets | {"seeds": 1}, "6 nets", "slower"),
        (two | {"seeds": 1}, "2 nets", "too few seeds"),  # policies of a net share its luck
        (two, "5 seeds", "slower"),
    ):
        whole = against(grid(0, **options), grid(1, slower, **options)).overall
        assert (whole.judged.facts["over"], whole.verdict) == (over, verdict)
        interval = whole.judged.interval
        assert interval is None or interval.low < 0.9 < interval.high


def test_a_missed_target_is_longer_than_any_time() -> None:
    def missed(architecture: str, **_: Any) -> dict[str, float | None]:
        return {"time_to_accuracy_s": None} if architecture == "cnn4" else {}

    found = against(grid(0), grid(1, missed), TIME)
    assert verdicts(found)["cnn4"] == "slower"
    one = found.rows[-1].found["time_to_accuracy_s"]
    assert (one.facts["test"], one.facts["reached"]) == ("Mann-Whitney", [5, 0])
    assert (one.interval, one.middle, one.known) == (None, math.inf, False)
    both = against(grid(0, missed), grid(1, missed), TIME)
    assert verdicts(both)["cnn4"] == "cannot tell"


def test_suspect_timings_are_left_out_of_speeds_and_failed_runs_counted() -> None:
    marked = [
        replace(one, timing_suspect=("throttled",)) if one.seed == 0 else one
        for one in grid(1, lambda **_: {"images_per_s": 100.0, "accuracy": 0.9})
    ]
    found = against(grid(0), marked)
    assert set(verdicts(found).values()) == {"too few seeds"}
    assert set(verdicts(against(grid(0), marked, ACCURACY)).values()) == {"higher"}
    assert any("Side b: Suspect timings" in note and "3 of 15" in note for note in found.notes)
    with pytest.raises(UsageError, match="15 of 30 runs have suspect timings"):
        against(grid(0), [replace(one, timing_suspect=("throttled",)) for one in grid(1)])
    broken = [*grid(1, architecture=("cnn2",)), *[
        made_failure(seed, status="oom", architecture="cnn4", augmentation="none")
        for seed in range(5)
    ]]  # fmt: skip
    found = against(grid(0, architecture=("cnn2", "cnn4")), broken)
    assert verdicts(found) == {"cnn2": "cannot tell", "cnn4": "no data"}
    assert any("Side b: 5 runs did not succeed" in note for note in found.notes)


def test_what_is_compared_is_left_out_of_the_match_unless_both_sides_have_it() -> None:
    a, b = grid(0, pipeline=("native",)), grid(1, pipeline=("kornia",), architecture=NETS[:2])
    found = against(a, b)
    assert sorted(verdicts(found)) == ["cnn2", "cnn4"]
    assert {row.label for row in found.rows} == {"cnn2/sgd/none", "cnn4/sgd/none"}
    assert found.differences == ("pipeline: native -> kornia",)
    assert found.unmatched["only_a"] == ["resnet18/sgd/none/native"]
    assert any("Only on side a: 1 cell" in note for note in found.notes)
    a, b = grid(0, pipeline=("native", "dali")), grid(1, pipeline=("kornia", "native"))
    found = match_sides(side("a", a), side("b", b))
    assert {cell.a.label for cell in found.cells} == {f"{net}/sgd/none/native" for net in NETS}
    assert [len(found.unmatched[name]) for name in ("only_a", "only_b", "several")] == [3, 3, 0]


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
        "gpu: none -> H100", "torch: 2.11.0 -> 2.99.0", "driver: 570.1 -> 580",
        "commit: aaaaaaa -> bbbbbbb with changes", "pipeline version: 1 -> 2",
        "images: f00d -> beef",
    ):  # fmt: skip
        assert said in found.differences
    assert against(a, with_environment(grid(1), commit="a" * 40, driver="570.1")).differences == ()


def test_recipes_are_told_by_setting_and_cells_that_agree_in_nothing_refused() -> None:
    a, b = (
        [replace(one, cell=replace(one.cell, recipe=Recipe(lr=lr))) for one in grid(draw)]
        for draw, lr in enumerate((0.1, 0.2))
    )
    assert against(a, b).differences == ("lr: 0.1 -> 0.2",)
    both = [*a, *b]  # each has its own match
    assert len(match_sides(side("a", both), side("b", both)).cells) == 6
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
    assert sorted(verdicts(found)) == ["cnn2", "resnet18"]
    assert any(
        note.startswith("Left out because they match more than one cell") for note in found.notes
    )


def with_ceilings(records: Sequence[Record], share: float) -> list[Record]:
    """The ceiling of each run, with its noise, is that much above 1,250 images/s."""
    found = []
    for one in records:
        assert one.throughput is not None
        ceiling = 1250 * share * (1 + 0.001 * one.seed)
        found.append(replace(one, throughput=replace(one.throughput, ceiling=ceiling)))
    return found


def test_notes_tell_of_a_ceiling_that_moved_and_of_sides_that_ran_in_turn() -> None:
    a, b = with_ceilings(grid(0), 1.0), grid(1, cnn4_is_slower)
    said = "In 1 of 1 cell that became faster or slower, the ceiling"
    assert any(said in note for note in against(a, with_ceilings(b, 0.8)).notes)
    for share in (1.0, 1.2):
        assert not any("ceiling" in note for note in against(a, with_ceilings(b, share)).notes)
    early = grid(0)
    late = [
        replace(one, started="2026-02-01T00:00:00+00:00", finished="2026-02-01T00:00:09+00:00")
        for one in grid(1)
    ]
    assert any("ended before side b began" in note for note in against(early, late).notes)
    assert any("ended before side a began" in note for note in against(late, early).notes)
    assert not any("began" in note for note in against(early, grid(1)).notes)


def sample(
    a: Sequence[float], b: Sequence[float], metric: Metric = SPEED, null: float = 0.0
) -> Difference:
    return over_seeds(dict(enumerate(a)), dict(enumerate(b)), metric, null)


def test_scores_of_the_same_seeds_are_paired_and_speeds_are_not() -> None:
    a, b = [70.0, 73.0, 68.0, 75.0, 71.0], [70.4, 73.5, 68.3, 75.4, 71.5]
    for metric, method, verdict in (
        (ACCURACY, "paired by seed", "higher"),
        (TIME, "paired by seed", "slower"),
        (SPEED, "Welch", "cannot tell"),
    ):
        one = sample(a, b, metric)
        assert (one.facts["test"], one.verdict) == (method, verdict)
    other = over_seeds(dict(enumerate(a)), dict(enumerate(b, start=1)), ACCURACY)
    assert other.facts["test"] == "Welch"
    assert sample(a[:4], b[:4], ACCURACY).verdict == "too few seeds"


@given(FIGURES, FIGURES, st.floats(-1, 1))
def test_an_interval_and_its_test_agree(a: list[float], b: list[float], null: float) -> None:
    interval, moved = sample(a, b, ACCURACY).interval, sample(a, b, ACCURACY, null)
    if min(abs(interval.low - null), abs(interval.high - null)) > 1e-6:
        side = (interval.low > null) - (interval.high < null)
        assert side == (moved.test.side if moved.p < 0.05 else 0)


def quiet_grid(
    draw: int, seeds: int = 6, nets: Sequence[str] = ("cnn2", "cnn4"), **truth: Any
) -> list[Record]:
    noise = {"percent": 1.0, "points": 0.2}
    return grid(draw, lambda **_: truth, architecture=nets, seeds=seeds, **noise)


def judged(text: str, a: list[Record], b: list[Record], metric: Metric = SPEED) -> Limit:
    sides = (Side(name=name, records=tuple(some)) for name, some in (("a", a), ("b", b)))
    (found,) = compare(*sides, metric, [parse_limit(text, metric)]).limits
    return found


@pytest.mark.parametrize(
    ("speed", "limit", "broken"),
    [(1000.0, 3, 0), (980.0, 3, 0), (980.0, 0, 3), (950.0, 3, 3), (1100.0, 3, 0)],
)
def test_slower_by_more_than_the_limit_breaks_it(speed: float, limit: int, broken: int) -> None:
    changed = quiet_grid(1, images_per_s=speed)
    found = judged(f"slower:{limit}%", quiet_grid(0), changed)
    assert (len(found.broken), found.tested, found.too_few) == (broken, 3, 0)  # two cells, and both


def test_limits_of_times_and_scores_are_broken_by_enough_seeds_or_cells() -> None:
    a = quiet_grid(0)
    assert judged("slower:3%", a, quiet_grid(1, time_to_accuracy_s=3.3), TIME).broken
    assert judged("slower:3%", a, quiet_grid(1, time_to_accuracy_s=None), TIME).broken
    assert not judged("slower:3%", quiet_grid(0, time_to_accuracy_s=None), a, TIME).broken
    lower = quiet_grid(1, accuracy=0.59)
    assert judged("accuracy:0.5", a, lower).broken
    assert judged("macro_f1:0.5 points", a, lower).broken
    assert not judged("accuracy:1.5", a, lower).broken
    assert not judged("accuracy:0.5", lower, a).broken
    half = quiet_grid(1, seeds=2, images_per_s=500.0)
    few = judged("slower:3%", quiet_grid(0, seeds=2), half)
    assert (few.broken, few.tested, few.too_few) == ((), 0, 2)
    nets = [f"net{n}" for n in range(6)]
    a, b = quiet_grid(0, 1, nets), quiet_grid(1, 1, nets, images_per_s=975.0)
    assert judged("slower:0%", a, b).broken == (ALL_CELLS,)
    assert judged("slower:5%", a, b).broken == ()
