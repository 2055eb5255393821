"""What the pictures draw: the numbers of the records, and of no others."""

import math
import statistics
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Metrics, Record, Throughput, Timings
from bench.report.columns import NOT_REACHED
from bench.report.figures.classes import class_scores, confusion, f1_by_net
from bench.report.figures.comparison import Case, comparisons, shown_name
from bench.report.figures.curves import QUANTITIES, line, thinned
from bench.report.figures.frontiers import KINDS, frontier, spots
from bench.report.figures.heatmaps import NOT_RUN, shares, tiles
from bench.report.figures.parts import seconds, spent
from bench.report.figures.pipelines import blocks, feeds
from bench.report.figures.profiles import common_levels, median_s, profile
from bench.report.figures.times import bars
from tests.made import made_failure, made_metrics, made_record
from tests.made_loaders import lost_series, made_loaders, made_series

ACCURACY = QUANTITIES[0]


def cases_of(*records: Record) -> tuple[Case, ...]:
    """The cases of records that may all stand side by side."""
    (comparison,) = comparisons(records)
    return comparison.cases


def case_of(*records: Record) -> Case:
    """The case of the runs of one cell."""
    (case,) = cases_of(*records)
    return case


def labels(*records: Record) -> set[str]:
    return {case.label for case in cases_of(*records)}


# Which cells stand side by side


def test_cells_are_told_apart_by_what_differs_between_them() -> None:
    assert labels(made_record(optimizer="sgd"), made_record(optimizer="muon")) == {"sgd", "muon"}
    assert labels(made_record()) == {"resnet18 · sgd · flip_crop · kornia"}


def test_two_recipes_of_one_cell_say_how_they_differ() -> None:
    found = labels(made_record(batch_size=50), made_record(batch_size=100))
    assert all("batch 50" in text or "batch 100" in text for text in found)
    assert len(found) == 2


def test_budgets_of_one_cell_are_never_compared_in_a_picture() -> None:
    short = [made_record(epochs=4, optimizer=name) for name in ("sgd", "muon")]
    found = comparisons([*short, made_record(epochs=8, optimizer="sgd")])
    assert [{case.cell.epochs for case in one.cases} for one in found] == [{4}, {8}]
    assert [one.name("stem") for one in found] == ["stem", "stem_2"]


def test_budgets_of_different_cells_stand_together_and_it_is_said() -> None:
    (found,) = comparisons(
        [made_record(epochs=4, optimizer="sgd"), made_record(epochs=8, optimizer="muon")]
    )
    assert "Cells differ in epochs." in found.about(found.cases)


@pytest.mark.parametrize(
    "change",
    [{"target_accuracy": 0.7}, {"protocol": "speedrun"}, {"source": "cifar10"}, {"scale": "full"}],
)
def test_targets_protocols_sources_and_scales_are_never_mixed(change: dict[str, Any]) -> None:
    assert (
        len(comparisons([made_record(optimizer="sgd"), made_record(optimizer="x", **change)])) == 2
    )


def test_captions_count_cells_seeds_and_failures() -> None:
    (found,) = comparisons(
        [*(made_record(seed) for seed in range(3)), made_failure(optimizer="muon")]
    )
    text = found.about(found.cases)
    assert text.startswith("2 cells, 3 seeds each, 1 of them without a result. AMD EPYC, 2 cores")
    assert "cpu scale" in text


@given(st.text(max_size=80))
def test_names_are_one_short_printable_line(text: str) -> None:
    shown = shown_name(text)
    assert shown.isprintable()
    assert len(shown) == min(len(text), 32)


# Heat maps


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
def test_a_tile_is_the_mean_over_cells_of_the_means_over_seeds(accuracies: list[float]) -> None:
    one = [made_record(seed, accuracy=value) for seed, value in enumerate(accuracies)]
    other = made_record(accuracy=0.5, augmentation="none")
    found = tiles(cases_of(*one, other), "accuracy", "architecture", "optimizer")
    expected = statistics.fmean([statistics.fmean(accuracies), 0.5])
    assert found.tiles["resnet18", "sgd"].value == pytest.approx(expected)
    assert found.tiles["resnet18", "sgd"].text == f"{100 * expected:,.2f}"


def test_what_was_missed_failed_or_not_run_is_said() -> None:
    cases = cases_of(
        made_record(optimizer="a"),
        made_record(optimizer="b", time_to_accuracy_s=None),
        made_failure(optimizer="c", status="oom"),
        made_record(optimizer="a", architecture="cnn4"),
    )
    found = tiles(cases, "time_to_accuracy_s", "architecture", "optimizer").tiles
    texts = [found["resnet18", name].text for name in "abc"]
    assert texts == ["3.0", NOT_REACHED, "oom"]
    assert found["cnn4", "b"].text == NOT_RUN


def test_a_tile_that_some_runs_miss_says_how_many_it_is_of() -> None:
    cases = cases_of(
        made_record(0, time_to_accuracy_s=2.0),
        made_record(1, time_to_accuracy_s=None),
        made_failure(2),
    )
    tile = tiles(cases, "time_to_accuracy_s", "architecture", "optimizer").tiles["resnet18", "sgd"]
    assert (tile.value, tile.runs, tile.partial) == (2.0, (3, 1), True)


def test_a_suspect_timing_marks_times_but_not_accuracies() -> None:
    cases = cases_of(made_record(record={"timing_suspect": ("busy",)}))
    marked = {
        measure: tiles(cases, measure, "architecture", "optimizer").tiles["resnet18", "sgd"].suspect
        for measure in ("accuracy", "images_per_s", "time_to_accuracy_s")
    }
    assert marked == {"accuracy": False, "images_per_s": True, "time_to_accuracy_s": True}


def test_the_best_is_brightest_whichever_way_a_measure_runs() -> None:
    cases = cases_of(
        made_record(optimizer="a", images_per_s=500.0, time_to_accuracy_s=1.0),
        made_record(optimizer="b", images_per_s=900.0, time_to_accuracy_s=2.0),
    )
    for measure, best in (("images_per_s", "b"), ("time_to_accuracy_s", "a")):
        found = shares(tiles(cases, measure, "architecture", "optimizer"), measure)
        assert max(found, key=lambda place: found[place]) == ("resnet18", best)
        assert sorted(found.values()) == [0.0, 1.0]


# Curves


def test_a_curve_is_mean_least_and_most_of_the_seeds() -> None:
    found = line(case_of(made_record(0, accuracy=0.4), made_record(1, accuracy=0.8)), ACCURACY)
    assert found is not None
    assert found.epochs == (1, 2, 3, 4)
    assert found.seconds == (1.0, 2.0, 3.0, 4.0)
    assert found.mean == pytest.approx((15.0, 30.0, 45.0, 60.0))
    assert found.low == pytest.approx((10.0, 20.0, 30.0, 40.0))
    assert found.high == pytest.approx((20.0, 40.0, 60.0, 80.0))


def test_failed_runs_and_runs_without_validation_have_no_curve() -> None:
    assert line(case_of(made_failure()), ACCURACY) is None
    whole = made_record()
    bare = tuple(replace(point, validation_accuracy=None) for point in whole.curve)
    assert line(case_of(replace(whole, curve=bare)), ACCURACY) is None


@given(st.integers(1, 5000), st.integers(2, 200))
def test_a_thinned_curve_keeps_both_ends_and_its_order(length: int, most: int) -> None:
    places = thinned(length, most)
    assert (places[0], places[-1]) == (0, length - 1)
    assert len(places) == min(length, most)
    assert places == sorted(set(places))


# Bars and profiles


def test_bars_stand_by_time_then_missed_then_failed() -> None:
    cases = cases_of(
        made_failure(optimizer="failed", status="crashed"),
        made_record(optimizer="never", time_to_accuracy_s=None, accuracy=0.5),
        made_record(0, optimizer="slow", time_to_accuracy_s=9.0),
        made_record(0, optimizer="half", time_to_accuracy_s=1.0),
        made_record(1, optimizer="half", time_to_accuracy_s=None),
        made_record(0, optimizer="quick", time_to_accuracy_s=2.0),
        made_record(1, optimizer="quick", time_to_accuracy_s=4.0),
    )
    found = bars(cases)
    assert [bar.case.label for bar in found] == ["quick", "slow", "half", "never", "failed"]
    quick = found[0]
    assert (quick.warm_s, quick.with_compile_s, quick.span) == (3.0, 8.0, (2.0, 4.0))
    assert [bar.warm_s for bar in found] == [3.0, 9.0, 1.0, None, None]
    assert [bar.note for bar in found[2:]] == [
        "1.00 s, 1 of 2 runs",
        f"{NOT_REACHED} (test 50.0%)",
        "crashed",
    ]


def test_a_profile_is_the_share_of_problems_within_a_factor_of_the_best() -> None:
    times = {("a", "x"): 1.0, ("a", "y"): 6.0, ("b", "x"): 2.0, ("b", "y"): 3.0}
    cases = cases_of(
        *(
            made_record(optimizer=optimizer, architecture=net, time_to_accuracy_s=time_s)
            for (optimizer, net), time_s in times.items()
        )
    )
    found = profile(cases, "optimizer")
    assert found is not None
    assert found.problems == 2
    assert [found.share("a", tau) for tau in (1.0, 1.9, 2.0)] == [0.5, 0.5, 1.0]
    assert [found.share("b", tau) for tau in (1.0, 1.9, 2.0)] == [0.5, 0.5, 1.0]


def test_a_miss_is_infinite_and_stays_among_the_problems() -> None:
    cases = cases_of(
        made_record(optimizer="a", architecture="x"),
        made_record(optimizer="b", architecture="x", time_to_accuracy_s=None),
        made_failure(optimizer="a", architecture="y"),
        made_record(optimizer="b", architecture="y", time_to_accuracy_s=None),
    )
    found = profile(cases, "optimizer")
    assert found is not None
    assert (found.share("a", 1e9), found.share("b", 1e9)) == (0.5, 0.0)
    assert found.ratios["b"] == [math.inf, math.inf]


def test_the_time_of_a_cell_is_the_median_with_misses_infinite() -> None:
    reached = [made_record(seed, time_to_accuracy_s=seed + 1.0) for seed in range(2)]
    assert median_s(case_of(*reached)) == 1.5
    assert median_s(case_of(*reached, made_failure(2))) == 2.0
    assert math.isinf(median_s(case_of(reached[0], made_failure(2))))


def test_an_entry_that_few_problems_have_does_not_cost_the_others_theirs() -> None:
    problems = [{"a", "b"}] * 6 + [{"a", "b", "rare"}]
    assert common_levels(problems, ["a", "b", "rare"]) == ["a", "b"]
    assert common_levels([{"a", "b", "c"}] * 3, ["a", "b", "c"]) == ["a", "b", "c"]


def test_no_profile_of_one_entry_or_where_nothing_reached_the_target() -> None:
    assert profile(cases_of(made_record(), made_record(architecture="x")), "optimizer") is None
    missed = [
        made_record(optimizer=optimizer, architecture=net, time_to_accuracy_s=None)
        for optimizer in "ab"
        for net in "xy"
    ]
    assert profile(cases_of(*missed), "optimizer") is None


# Frontiers

POINTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8)


@given(POINTS, st.sampled_from(KINDS))
def test_the_frontier_is_what_nothing_beats(points: list[tuple[int, int]], against: Any) -> None:
    records = [
        made_record(
            accuracy=accuracy / 10,
            images_per_s=100.0 * x,
            record={"timings": Timings(train_s=float(x))},
            optimizer=f"o{number}",
        )
        for number, (x, accuracy) in enumerate(points)
    ]
    found = spots(cases_of(*records), against)
    sign = -1 if against.lower else 1
    for spot in found:
        beaten = any(
            sign * other.x >= sign * spot.x
            and other.accuracy >= spot.accuracy
            and (other.x, other.accuracy) != (spot.x, spot.accuracy)
            for other in found
        )
        assert spot.best != beaten
    named = frontier(found, against)
    assert [spot.accuracy for spot in named] == sorted((s.accuracy for s in named), reverse=True)


def test_a_suspect_timing_is_on_no_frontier_and_keeps_nobody_off() -> None:
    cases = cases_of(
        made_record(optimizer="a", images_per_s=900.0, record={"timing_suspect": ("busy",)}),
        made_record(optimizer="b", images_per_s=800.0),
    )
    assert {spot.case.label: spot.best for spot in spots(cases, KINDS[0])} == {
        "a": False,
        "b": True,
    }


# Pipelines


def test_a_feed_has_the_pipeline_alone_its_ceiling_and_what_training_got() -> None:
    comparison = comparisons(
        [
            made_record(pipeline="native", images_per_s=1500.0),
            made_record(pipeline="native", images_per_s=1700.0, augmentation="none"),
            made_record(pipeline="dali", images_per_s=1000.0),
            made_failure(pipeline="zoo", status="skipped"),
            made_record(architecture="cnn4", pipeline="native"),
        ]
    )[0]
    loaders = made_loaders(
        made_series("native", 5000.0, 5200.0, 5400.0, batch_size=128),
        made_series("native", 9000.0, batch_size=4096),
        lost_series("zoo", "skipped", "not installed"),
    )
    (name, cases), = blocks(comparison).items()  # fmt: skip
    native, dali, zoo = feeds(cases, loaders)
    assert name == "resnet18 · sgd"
    assert (native.pipeline, native.training, native.ceiling) == ("native", 1600.0, 2000.0)
    assert (native.alone, native.alone_batch) == (5200.0, 128)
    assert native.stall_pct == pytest.approx(20.0)
    assert (dali.alone, dali.training, dali.stall_pct) == (None, 1000.0, pytest.approx(50.0))
    assert (zoo.alone, zoo.training, zoo.status) == (None, None, "skipped")


# Where the time went

PARTS = Timings(
    import_s=1.0, load_s=2.0, build_s=3.0, first_batch_s=4.0, compile_s=5.0, warmup_s=12.0,
    train_s=20.0, evaluate_s=6.0, total_s=50.0,
)  # fmt: skip


def timed(stall_pct: float | None, timings: Timings = PARTS) -> Record:
    throughput = Throughput(median=1.0, p5=1.0, p95=1.0, stall_pct=stall_pct)
    return made_record(record={"timings": timings, "throughput": throughput})


def test_the_parts_of_a_run_add_up_to_import_and_total() -> None:
    found = seconds(timed(25.0))
    assert (found["train"], found["data wait"]) == (15.0, 5.0)
    assert (found["other warm-up"], found["rest"]) == (3.0, 7.0)
    assert sum(found.values()) == pytest.approx(51.0)


@pytest.mark.parametrize("stall_pct", [None, -14.0, 0.0])
def test_no_stall_is_no_data_wait(stall_pct: float | None) -> None:
    assert seconds(timed(stall_pct))["data wait"] == 0.0


def test_what_another_run_of_the_worker_paid_for_leaves_no_part_below_zero() -> None:
    shared = replace(PARTS, warmup_s=1.0, total_s=30.0)
    assert min(seconds(timed(25.0, shared)).values()) == 0.0


def test_bars_are_means_over_the_runs_of_a_net_with_a_pipeline() -> None:
    longer = replace(PARTS, evaluate_s=8.0, total_s=52.0)
    runs = [timed(25.0), replace(timed(25.0, longer), run_id="other", seed=1)]
    (found,) = spent(comparisons(runs)[0])
    assert (found.label, found.runs) == ("resnet18 · kornia", 2)
    assert found.seconds["evaluate"] == 7.0
    assert found.total_s == pytest.approx(52.0)


# Classes


def test_a_confusion_is_the_sum_over_seeds() -> None:
    found = confusion(case_of(made_record(0), made_record(1), made_failure(2)))
    assert found is not None
    assert (found.names, found.counts, found.totals) == (
        ("cat", "dog"),
        ((80, 20), (10, 90)),
        (100, 100),
    )
    assert found.percent(0, 1) == 20.0


def many_classes(number: int) -> Metrics:
    """Class i is told the better the higher i is."""
    score = made_metrics(0.5, 3.0)
    rows = tuple(
        tuple(100 + row if row == column else 1 for column in range(number))
        for row in range(number)
    )
    classes = tuple(
        replace(score.per_class[0], name=f"class{row}", f1=row / number) for row in range(number)
    )
    return replace(score, confusion=rows, per_class=classes)


def test_of_many_classes_those_with_the_worst_recall_are_shown() -> None:
    found = confusion(case_of(made_record(record={"metrics": many_classes(50)})))
    assert found is not None
    assert found.names == tuple(f"class{number}" for number in range(40))
    assert found.classes == 50
    assert found.totals[0] == 100 + 49  # what was taken for a class that is not shown counts too


def test_f1_of_a_class_over_cells_and_nets() -> None:
    cases = cases_of(
        made_record(0, accuracy=0.2),
        made_record(1, accuracy=0.4),
        made_record(accuracy=0.6, optimizer="muon"),
        made_record(accuracy=0.9, architecture="cnn4"),
    )
    best = max(cases, key=lambda case: case.mean("accuracy") or 0.0)
    for score in class_scores(cases, best):
        assert sorted(score.values) == pytest.approx([0.3, 0.6, 0.9])
        assert score.best == 0.9
    found = f1_by_net(cases)
    assert found.rows == ("cnn4", "resnet18")
    assert found.tiles["resnet18", "cat"].value == pytest.approx(0.45)
    assert found.tiles["cnn4", "dog"].text == "90"
