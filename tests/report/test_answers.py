"""Answers: right and sure where something is planted, not sure where nothing is."""

import time
from dataclasses import replace
from typing import Any

import pytest

from bench.record import Record, RecordSummary
from bench.report.answers import Answer, answer_lines, answers
from tests.made import made_failure, made_record
from tests.made_grid import lucky_grid, made_grid
from tests.made_loaders import disturbed, lost_series, made_loaders, made_series


def of(records: list[Any], question: str, **options: Any) -> Answer:
    (found,) = (one for one in answers(records, **options) if one.question == question)
    return found


NOTHING: list[dict[str, Any]] = [
    {"nets": 2, "optimizers": ("sgd", "muon", "a")},
    {"nets": 6, "optimizers": ("sgd", "muon", "a", "b"), "policies": ("none",)},
    {"nets": 5, "pipelines": ("kornia", "native"), "policies": ("none",)},
    {"nets": 2, "pipelines": ("kornia", "native"), "policies": ("none",), "seeds": 5},
    {"nets": 3, "pipelines": ("kornia", "native"), "policies": "abcd", "seeds": 4},
    {"nets": 2, "policies": ("none",), "seeds": 5, "heavy_tails": True},
    {"nets": 2, "policies": ("none",), "seeds": 5, "missing": 0.5},
]


@pytest.mark.slow
@pytest.mark.parametrize("shape", NOTHING)
def test_at_most_one_group_of_twenty_is_wrongly_sure_of_something(shape: dict[str, Any]) -> None:
    wrong = sum(any(one.sure for one in answers(lucky_grid(draw, **shape))) for draw in range(200))
    assert wrong <= 10


def test_two_equal_leaders_among_many_worse_ones_are_rarely_told_apart() -> None:
    def planted(optimizer: str, **_: Any) -> dict[str, float | None]:
        return {"accuracy": 0.7 if optimizer in ("a", "b") else 0.6}

    draws = (
        made_grid(planted, optimizer="abcd", augmentation=("none",), draw=draw)
        for draw in range(100)
    )
    assert sum(of(records, "Best optimizer").sure for records in draws) <= 5


@pytest.mark.parametrize(
    "shape", [{"nets": 6}, {"nets": 4, "optimizers": ("sgd", "muon", "a"), "policies": ("none",)}]
)
def test_a_point_and_a_half_and_a_tenth_of_the_speed_are_found(shape: dict[str, Any]) -> None:
    planted: dict[str, Any] = {"gain": 1.5, "native_faster": 1.1, "seeds": 5}
    right = [0, 0]
    for draw in range(20):
        pipelines = ("kornia", "native")
        records = lucky_grid(draw, pipelines=pipelines, **planted, **shape)
        pipeline, _, optimizer, _ = answers(records)
        right[0] += pipeline.sure and pipeline.entry == "native"
        right[1] += optimizer.sure and optimizer.entry == "muon"
    assert min(right) >= 18


def test_what_a_sure_answer_says() -> None:
    records = lucky_grid(0, nets=6, seeds=5, gain=1.5, pipelines=("kornia", "native"))
    found = of(records, "Best optimizer")
    assert (found.entry, found.sure) == ("muon", True)
    assert found.value == "61.56 % accuracy (1.61 points ahead of sgd)"
    assert found.why == "the other one is worse (6 nets)"
    tied = of(records, "Quickest pipeline")
    assert not tied.sure
    assert tied.why.startswith("statistically tied with ")
    assert of(records, "Soonest net").value.endswith("\u00d7)")


def busy(record: Record) -> Record:
    return replace(record, timing_suspect=("busy",))


def test_suspect_times_give_no_answer_about_times() -> None:
    records = lucky_grid(0, nets=6, seeds=5, gain=1.5, pipelines=("kornia", "native"))
    pipeline, net, optimizer, _ = answers(map(busy, records))
    for found in (pipeline, net):
        assert (found.entry, found.value, found.sure) == ("", "", False)
        assert found.why == "72 of 72 cells have suspect timings"
    assert optimizer.sure
    third = made_grid(architecture=[f"net{net}" for net in range(6)], pipeline=("dali",))
    partly = [busy(one) if one.cell.pipeline == "native" else one for one in [*records, *third]]
    found = of(partly, "Quickest pipeline")
    assert (found.entry, found.why) == ("", "36 of 96 cells have suspect timings")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seeds": 1}, "one seed each, a claim needs 5"),
        ({"seeds": 3}, "3 seeds each, a claim needs 5"),
        ({"optimizer": ("sgd",)}, "there is no other optimizer"),
    ],
)
def test_why_nobody_can_tell(changes: dict[str, Any], why: str) -> None:
    records = made_grid(**{"architecture": ("vit",), "seeds": 5} | changes)
    assert of(records, "Best optimizer").why == why


def test_levels_that_cannot_be_compared_prevent_an_answer() -> None:
    options: dict[str, Any] = {"augmentation": ("none",), "points": 0.1}
    gains = {"accuracy": 0.7}
    records = made_grid(lambda optimizer, **_: gains if optimizer == "muon" else {},
                        optimizer=("sgd", "muon"), **options)  # fmt: skip
    assert of(records, "Best optimizer").sure
    few = [*made_grid(optimizer=("sgd",), architecture="a", seeds=5, augmentation=("none",)),
           *(made_record(5 + seed, architecture="a", augmentation="none", optimizer="muon")
             for seed in range(5))]  # fmt: skip
    assert of(few, "Best optimizer").why == "fewer than 5 seeds in common"
    elsewhere = made_record(optimizer="lion", architecture="new")
    assert of([*records, elsewhere], "Best optimizer").why == "no matching cells with lion"
    failed = made_failure(optimizer="muon", architecture="cnn2", augmentation="none", seed=1)
    assert of([*records, failed], "Best optimizer").why == "1 run of it failed"
    apart = [made_record(optimizer=name, architecture=name) for name in ("sgd", "muon")]
    assert of(apart, "Best optimizer").why == "no two cells differ only in optimizer"
    (found,) = {one.why for one in answers([made_failure()])}
    assert found == "no run succeeded"
    assert answers([]) == []


def with_times(**times: float | None) -> list[Record]:
    return made_grid(
        lambda architecture, **_: {"time_to_accuracy_s": times[architecture]},
        architecture=list(times), optimizer=("sgd",), seeds=5,
    )  # fmt: skip


def test_a_net_that_always_misses_is_later_and_none_that_misses_is_sure() -> None:
    found = of(with_times(a=0.3, b=None), "Soonest net")
    assert (found.entry, found.sure, found.value) == ("a", True, "0.302 s to 60 %")
    assert found.why == "the other one is later (5 seeds of 2 cells)"
    assert of(with_times(a=None, b=None), "Soonest net") == Answer(
        question="Soonest net", entry="", value="", sure=False,
        why="no run reached the target of 60 %",
    )  # fmt: skip
    first, *rest = with_times(a=2.0, b=None)
    missed = made_record(architecture="a", augmentation="none", time_to_accuracy_s=None)
    found = of([replace(first, metrics=missed.metrics), *rest], "Soonest net")
    assert (found.entry, found.sure) == ("a", False)
    assert found.value == "reached 60 % in 90 % of runs"
    assert of(with_times(a=3.0, b=3.0, c=None), "Soonest net").sure is False


def test_the_best_cell() -> None:
    planted = {"a": 0.7, "b": 0.6}
    records = made_grid(lambda architecture, **_: {"accuracy": planted[architecture]}, seeds=5,
                        architecture="ab", optimizer=("sgd",), augmentation=("none",))  # fmt: skip
    found = of(records, "Best accuracy")
    assert (found.entry, found.sure) == ("a/sgd/none/kornia", True)
    assert found.why == "the other one is worse (5 seeds)"
    three = [*records, *(made_record(seed, architecture="c", accuracy=0.5) for seed in range(5))]
    assert of(three, "Best accuracy").why.startswith("both others are worse")
    other = made_record(width=0.5, accuracy=0.9)
    assert of([*records, other], "Best accuracy").value.endswith(" points), among 2 of 3 cells")
    few = of(records[:-1], "Best accuracy")
    assert (few.sure, few.why) == (False, "fewer than 5 seeds of 1 other cell")


FAST, SLOW = (1000, 1010, 1020, 1030, 1040), (500, 505, 510, 515, 520)


def test_pipelines_alone_answer_before_training_does() -> None:
    both = [made_series("native", *FAST), made_series("kornia", *SLOW)]
    lost = lost_series("dali", "skipped", "dali is not installed")
    found = of(made_grid(), "Quickest pipeline", loaders=made_loaders(*both, lost))
    assert (found.entry, found.sure) == ("native", True)
    assert found.value == "1,020 images/s alone, batch 512 (2.00\u00d7 kornia)"
    assert found.why == "the other one is slower (5 repeats)"
    small = [
        made_series(s.pipeline, *r, batch_size=128) for s, r in zip(both, (SLOW, FAST), strict=True)
    ]
    mixed = of([], "Quickest pipeline", loaders=made_loaders(*both, *small))
    assert (mixed.entry, mixed.why) == ("native", "statistically tied with kornia (5 repeats)")
    decoding = [
        made_series(name, *(rate / 10 for rate in rates), reads="files")
        for name, rates in (("dali", FAST), ("torchvision", SLOW))
    ]
    decodes = of([], "Quickest pipeline", loaders=made_loaders(*both, *decoding))
    assert decodes.entry == "dali", "those that read an array are no rivals"
    assert decodes.value == "102 images/s alone from files, batch 512 (2.00\u00d7 torchvision)"
    one = of([], "Quickest pipeline", loaders=made_loaders(*both, decoding[0]))
    assert one == found
    suspect = of([], "Quickest pipeline", loaders=made_loaders(*both, *map(disturbed, small)))
    assert suspect == found
    fallback = of(made_grid(), "Quickest pipeline", loaders=made_loaders(*map(disturbed, both)))
    assert fallback == of(made_grid(), "Quickest pipeline")
    few = [made_series("native", 10, 11), made_series("kornia", 5, 6)]
    found = of([], "Quickest pipeline", loaders=made_loaders(*few))
    assert found.why == "2 repeats each, a claim needs 3"


def test_lines_are_aligned_and_names_unbroken() -> None:
    long = "resnet18/muon/flip_crop_cutout/torchvision[workers=2]"
    found = [
        Answer(question="Quickest pipeline", entry="native", value="9 images/s (1.9\u00d7 kornia)",
               sure=True, why="all 4 others are slower (5 repeats)"),
        Answer(question="Soonest net", entry="", value="", sure=False, why="no run succeeded"),
        Answer(question="Best accuracy", entry=long, value="71.20 % (+0.40 points)",
               sure=False, why="one seed each, a claim needs 5"),
    ]  # fmt: skip
    assert (
        "\n".join(answer_lines(found, width=75))
        == f"""\
Quickest pipeline  native, 9 images/s (1.9\u00d7 kornia)
                   sure: all 4 others are slower (5 repeats)
Soonest net        cannot tell: no run succeeded
Best accuracy      {long}?,
                   71.20 % (+0.40 points)
                   cannot tell: one seed each, a claim needs 5"""
    )
    wide = answer_lines(found[:2], width=100)
    assert [wide[0].index("sure:"), wide[1].index("cannot tell:")] == [53, 53]
    assert answer_lines([]) == []


def test_summaries_answer_as_records_do_and_quickly() -> None:
    records = lucky_grid(0, nets=15, policies="abcdefghij", seeds=3)
    fields = RecordSummary.__dataclass_fields__
    summaries = [RecordSummary(**{name: getattr(one, name) for name in fields}) for one in records]
    assert answers(summaries) == answers(records)
    start = time.perf_counter()
    answers(summaries)
    assert time.perf_counter() - start < 3
