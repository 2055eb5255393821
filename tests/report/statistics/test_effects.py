"""Effects: planted ones are found, chance is not, and missed targets are included."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.recipe import Recipe
from bench.record import Record
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, Metric
from bench.report.statistics.effects import (
    COLUMNS,
    Matched,
    as_files,
    effects,
    match,
    outcomes_by_group,
)
from tests.made import made_failure, made_record
from tests.made_grid import lucky_grid, made_grid

POLICIES = ("none", "flip_crop", "cutout")


def matched(records: list[Record], factor: str = "augmentation") -> Matched:
    (outcomes,) = outcomes_by_group(records).values()
    found = match(outcomes, factor)
    assert found is not None
    return found


def of(records: list[Record], metric: Metric, level: str = "flip_crop") -> Any:
    frame = effects(records)
    (found,) = frame[(frame.level == level) & (frame.metric == metric.name)].itertuples()
    return found


def claims(records: list[Record]) -> int:
    return int(effects(records).verdict.isin(["higher", "lower"]).sum())


@pytest.mark.parametrize(("nets", "seeds"), [(2, 1), (6, 1), (3, 5)])
def test_noise_shared_by_a_nets_policies_is_not_an_effect(nets: int, seeds: int) -> None:
    false = sum(claims(lucky_grid(draw, nets=nets, seeds=seeds)) > 0 for draw in range(100))
    assert false <= 8  # 5 are to be expected at most


def test_at_most_one_page_of_twenty_claims_something_when_nothing_is_planted() -> None:
    options: dict[str, Any] = {"optimizer": ("sgd", "a", "b", "c"), "augmentation": POLICIES}
    false = sum(claims(made_grid(draw=draw, **options)) > 0 for draw in range(100))
    assert false <= 8
    assert effects(made_grid(**options)).p.notna().sum() == 20


def test_an_effect_of_a_point_and_a_half_is_found() -> None:
    found = []
    for draw in range(40):
        frame = effects(lucky_grid(draw, nets=6, seeds=5, gain=1.5, muon_faster=1.1))
        frame = frame[frame.level == "muon"].set_index("metric")
        found.append(frame.verdict[["accuracy", "images_per_s"]] == "higher")
    assert (pd.DataFrame(found).mean() >= 0.9).all()


def flip_helps(augmentation: str, **_: Any) -> dict[str, float | None]:
    if augmentation == "none":
        return {}
    return {"accuracy": 0.65, "images_per_s": 800.0, "time_to_accuracy_s": 6.0}


def test_planted_effects_are_found_with_intervals_that_cover_them() -> None:
    records = made_grid(flip_helps)
    for metric, truth in ((ACCURACY, 5), (MACRO_F1, 5), (SPEED, 0.8), (TIME, 2)):
        found = of(records, metric)
        assert 0 < found.low <= truth <= found.high, metric
        assert found.low < found.estimate < found.high
        assert found.verdict == ("lower" if truth < 1 else "higher")
        assert (found.cells, found.nets, found.over) == (10, 5, "5 nets")
        assert (found.runs, found.reference_runs) == (10, 10)
        assert found.p < found.p_adjusted < 0.05


def test_fewer_than_five_nets_are_compared_over_seeds() -> None:
    options: dict[str, Any] = {"architecture": ("cnn2", "vit"), "optimizer": ("sgd",)}
    found = of(made_grid(flip_helps, seeds=5, **options), ACCURACY)
    assert (found.over, found.cells, found.runs, found.verdict) == ("5 seeds", 2, 10, "higher")
    assert found.low <= 5 <= found.high
    few = of(made_grid(flip_helps, seeds=4, **options), ACCURACY)
    assert (few.verdict, few.estimate > 4) == ("too few seeds", True)
    assert all(map(pd.isna, (few.low, few.high, few.p, few.p_adjusted)))
    options: dict[str, Any] = {"architecture": ("cnn2",), "optimizer": ("sgd",)}
    one = made_grid(flip_helps, **options | {"optimizer": ("adamw",)})
    found = of([*made_grid(flip_helps, seeds=5, **options), *one], ACCURACY)
    assert (found.over, found.cells, found.runs, found.verdict) == ("5 seeds", 1, 5, "higher")
    records = made_grid(
        lambda architecture, **_: {"accuracy": 0.7 if architecture == "vit" else 0.6},
        architecture=("cnn2", "vit"), optimizer=("sgd", "a", "b", "c", "d"), seeds=5,
    )  # fmt: skip
    found = of(records, ACCURACY, "vit")
    assert (found.over, found.cells, found.nets) == ("5 seeds", 10, 1)
    assert (found.reference, found.verdict) == ("cnn2", "higher")


def test_seeds_are_paired_but_speeds_are_not() -> None:
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 2, 5)
    records = [
        made_record(seed, augmentation=level, accuracy=0.6 + (luck[seed] + gain) / 100)
        for level, gain in (("none", 0.0), ("flip_crop", 1.0))
        for seed in range(5)
    ]
    found = of(records, ACCURACY)
    assert (found.verdict, found.estimate) == ("higher", pytest.approx(1.0))
    records = made_grid(flip_helps, architecture=("cnn2",), optimizer=("sgd",), seeds=5)
    found = of(records, SPEED)
    level, reference = (
        [math.log(record.throughput.median) for record in records if record.throughput][part]
        for part in (slice(5, None), slice(5))
    )
    assert found.p == pytest.approx(stats.ttest_ind(level, reference, equal_var=False).pvalue)


def test_the_luck_of_a_nets_seed_is_not_an_effect_of_the_net() -> None:
    """Optimizers share a net's first weights, so that many of them don't replace seeds."""
    rng = np.random.default_rng(0)
    optimizers = ("sgd", "a", "b", "c", "d", "e")
    for seeds, over in ((1, "6 optimizers"), (6, "6 seeds")):
        false = 0
        for _ in range(60):
            luck = 0.005 * rng.normal(size=(3, seeds))
            records = [
                made_record(
                    seed,
                    architecture=f"net{net}",
                    optimizer=optimizer,
                    accuracy=0.6 + luck[net, seed] + 0.003 * rng.normal(),
                )
                for net in range(3)
                for optimizer in optimizers
                for seed in range(seeds)
            ]
            false += claims(records) > 0
        assert false <= 6
        assert of(records, ACCURACY, "net1").over == over


def test_cells_are_matched_in_all_else() -> None:
    newer = made_record().versions | {"pipeline": 2}
    records = [
        made_record(augmentation="none"),
        made_record(augmentation="flip_crop", pipeline="dali"),
        made_record(augmentation="flip_crop", epochs=5),
        made_record(augmentation="flip_crop", width=0.5),
        made_record(augmentation="flip_crop", record={"fingerprint": "other"}),
        made_record(augmentation="flip_crop", record={"versions": newer}),
    ]
    assert matched(records).pairs == {"flip_crop": []}
    assert (of(records, ACCURACY).cells, of(records, ACCURACY).verdict) == (0, "too few seeds")
    again = matched([*records, made_record(augmentation="flip_crop")])
    assert [len(pairs) for pairs in again.pairs.values()] == [1]


def test_times_to_accuracy_need_one_target() -> None:
    records = [
        made_record(augmentation=level, target_accuracy=target)
        for level, target in (("none", 0.94), ("flip_crop", 0.96))
    ]
    assert set(effects(records).metric) == {"accuracy", "macro_f1", "images_per_s"}
    frame = effects(made_grid(flip_helps, protocol="speedrun"))
    assert set(frame.metric) == {"accuracy", "macro_f1", "images_per_s"}


def test_optimizers_are_compared_each_with_its_recipe_augmentations_with_one() -> None:
    recipes = {name: Recipe(lr=lr) for name, lr in (("sgd", 0.1), ("adamw", 0.001))}
    records = [
        made_record(optimizer=name, recipe=recipes[name], batch_size=size, augmentation="none")
        for name, size in (("sgd", 100), ("adamw", 50))
    ]
    assert len(matched(records, "optimizer").pairs["adamw"]) == 1
    other = made_record(recipe=recipes["adamw"], augmentation="flip_crop")
    assert matched([*records, other]).pairs["flip_crop"] == []


def test_references() -> None:
    records = [made_record(optimizer=name) for name in ("adamw", "sgd", "lion")]
    assert matched(records, "optimizer").reference == "sgd"
    nets = [
        made_record(architecture=net, optimizer=name)
        for net, optimizers in (("a", ["sgd"]), ("b", ["sgd", "lion"]), ("c", ["sgd", "lion"]))
        for name in optimizers
    ]
    assert matched(nets, "architecture").reference == "b"
    budgets = [made_record(epochs=epochs) for epochs in (25, 100, 5)]
    found = matched(budgets, "epochs")
    assert (found.reference, list(found.pairs)) == ("5 epochs", ["25 epochs", "100 epochs"])
    assert set(effects(records).factor) == {"optimizer"}


def test_versions_of_an_entry_are_separate_levels_and_groups_never_mixed() -> None:
    records = [
        made_record(optimizer="sgd"),
        made_record(optimizer="muon", record={"versions": {"optimizer": 1}}),
        made_record(optimizer="muon", record={"versions": {"optimizer": 2}}),
    ]
    assert list(matched(records, "optimizer").pairs) == ["muon v1", "muon v2"]
    gpu = {"environment": {"gpu": "H100", "torch": "2.11.0"}}
    records = [
        made_record(augmentation="none", record=gpu),
        *(made_record(augmentation="flip_crop", **{"source": s}) for s in ("shapes", "cifar10")),
        made_record(augmentation="flip_crop", scale="full"),
    ]
    assert len(outcomes_by_group(records)) == 4
    assert effects(records).empty


def misses_where(level: str, nets: int) -> Any:
    def planted(augmentation: str, architecture: str, **_: Any) -> dict[str, float | None]:
        quick = 2.0 if augmentation == "flip_crop" else 3.0
        miss = augmentation == level and int(architecture) < nets
        return {"time_to_accuracy_s": None if miss else quick}

    return planted


@pytest.mark.parametrize(("level", "verdict"), [("flip_crop", "higher"), ("none", "lower")])
def test_a_miss_ranks_after_every_time(level: str, verdict: str) -> None:
    nets = [str(number) for number in range(12)]
    found = of(made_grid(misses_where(level, 11), architecture=nets), TIME)
    assert found.estimate < 1  # the two that reached it on both sides
    assert (found.verdict, found.cells) == (verdict, 24)
    assert sorted([found.reached, found.reference_reached]) == [2, 24]
    few = of(made_grid(misses_where("flip_crop", 1), architecture=nets[:5]), TIME)
    assert (few.reached, few.verdict) == (8, "cannot tell")


def test_misses_of_seeds_count_too() -> None:
    found = of(
        made_grid(misses_where("flip_crop", 1), architecture="0", optimizer=("sgd",), seeds=5), TIME
    )
    assert (found.over, found.reached, found.verdict) == ("5 seeds", 0, "higher")
    assert pd.isna(found.estimate)


def test_nothing_is_claimed_where_both_sides_miss() -> None:
    missed = {("none", "sgd"), ("flip_crop", "adamw")}
    records = made_grid(
        lambda augmentation, optimizer, **_: (
            {"time_to_accuracy_s": None} if (augmentation, optimizer) in missed else {}
        )
    )
    found = of(records, TIME)
    assert (found.cells, found.verdict, found.p) == (10, "cannot tell", 1.0)
    found = of(made_grid(lambda **_: {"time_to_accuracy_s": None}), TIME)
    assert (found.cells, found.verdict) == (10, "cannot tell")
    assert (found.reached, found.reference_reached, pd.isna(found.estimate)) == (0, 0, True)


def test_suspect_runs_contribute_only_scores_and_failed_ones_nothing() -> None:
    records = made_grid(flip_helps)
    suspect = [replace(record, timing_suspect=("busy",)) for record in records[:2]] + records[2:]
    assert [of(suspect, metric).cells for metric in (ACCURACY, SPEED, TIME)] == [10, 9, 9]
    seeds = made_grid(flip_helps, seeds=2)
    seeds[0] = replace(seeds[0], timing_suspect=("busy",))
    found = of(seeds, TIME)
    assert (found.runs, found.reference_runs) == (20, 19)
    records = [*made_grid(flip_helps), made_failure(architecture="new", augmentation="flip_crop")]
    pd.testing.assert_frame_equal(effects(records), effects(records[:-1]))


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_effects_do_not_depend_on_the_order_of_records(random: Any) -> None:
    records = made_grid(flip_helps, architecture=("cnn2", "vit"), seeds=2)
    expected = effects(records)
    random.shuffle(records)
    pd.testing.assert_frame_equal(effects(records), expected)


def test_files_hold_every_effect() -> None:
    frame = effects(made_grid(flip_helps))
    files = as_files(frame)
    assert files["effects.csv"].decode().split("\n")[0] == ",".join(COLUMNS)
    read = json.loads(files["effects.json"])
    assert list(read[0]) == list(COLUMNS)
    assert [row["estimate"] for row in read] == pytest.approx(frame.estimate.tolist())
    assert json.loads(as_files(effects([]))["effects.json"]) == []
