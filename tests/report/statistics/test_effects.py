"""Effects: what is planted is found, chance is not, and a missed target is never left out."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.recipe import Recipe
from bench.record import Record
from bench.report.columns import ACCURACY, MACRO_F1, SPEED, TIME, Metric
from bench.report.statistics.effects import (
    CellByCell,
    Effect,
    Interaction,
    cell_by_cell,
    effect,
    effects,
    interactions,
)
from bench.report.statistics.outcomes import Matched, match, matches, outcomes_by_group
from tests.made import made_failure, made_record
from tests.made_grid import NETS, made_grid


def matched(records: list[Record], factor: str = "augmentation") -> Matched:
    (outcomes,) = outcomes_by_group(records).values()
    found = match(outcomes, factor)
    assert found is not None
    return found


def of(records: list[Record], metric: Metric, level: str = "flip_crop", **options: Any) -> Effect:
    found = effect(matched(records, **options), level, metric)
    assert found is not None
    return found


def covers(found: Effect, truth: float) -> bool:
    assert found.interval is not None
    return found.interval.low <= truth <= found.interval.high


def flip_helps(augmentation: str, **_: Any) -> dict[str, float | None]:
    if augmentation == "none":
        return {}
    return {"accuracy": 0.65, "images_per_s": 800.0, "time_to_accuracy_s": 6.0}


def test_planted_effects_are_found_with_intervals_that_cover_them() -> None:
    records = made_grid(flip_helps)
    for metric, truth, side in ((ACCURACY, 5, 1), (MACRO_F1, 5, 1), (SPEED, 0.8, -1), (TIME, 2, 1)):
        found = of(records, metric)
        assert covers(found, truth), metric
        assert (found.side, found.enough, found.over) == (side, True, "matched cells")
        assert (found.cells, found.both, found.runs) == (10, 10, (10, 10))
        assert found.estimate == found.interval.middle or metric.ratio  # type: ignore[union-attr]
    assert of(records, TIME).reached == (10, 10)


def test_false_alarms_are_as_rare_as_claimed() -> None:
    told, covered = 0, 0
    for draw in range(200):
        found = of(made_grid(draw=draw, optimizer=("sgd",)), ACCURACY)
        told += found.side != 0
        covered += covers(found, 0)
    assert told == 200 - covered
    assert 2 <= told <= 20  # 5 % are 10


def test_few_cells_of_many_seeds_are_compared_over_seeds() -> None:
    records = made_grid(flip_helps, architecture=("cnn2",), optimizer=("sgd",), seeds=5)
    found = of(records, ACCURACY)
    assert (found.over, found.cells, found.runs, found.side) == ("seeds", 1, (5, 5), 1)
    assert covers(found, 5)
    few = of(made_grid(flip_helps, architecture=("cnn2",), seeds=4), ACCURACY)
    assert (few.enough, few.side) == (False, 0)
    assert few.interval is not None
    assert few.interval.side() == 1  # however clear it looks


def test_one_pair_has_an_estimate_but_no_interval() -> None:
    found = of(made_grid(flip_helps, architecture=("cnn2",), optimizer=("sgd",)), SPEED)
    assert (found.interval, found.side, found.enough) == (None, 0, False)
    assert found.estimate == pytest.approx(0.8, rel=0.1)


def test_cells_are_matched_in_all_else() -> None:
    newer = made_record().versions | {"pipeline": 2}
    records = [
        made_record(augmentation="none"),
        made_record(augmentation="flip_crop", pipeline="dali"),
        made_record(augmentation="flip_crop", epochs=5),
        made_record(augmentation="flip_crop", width=0.5),
        made_record(augmentation="flip_crop", target_accuracy=0.5),
        made_record(augmentation="flip_crop", record={"fingerprint": "other"}),
        made_record(augmentation="flip_crop", record={"versions": newer}),
    ]
    assert matched(records).pairs == {"flip_crop": []}
    assert effects(matched(records)) == {"flip_crop": []}
    again = matched([*records, made_record(augmentation="flip_crop")])
    assert [len(pairs) for pairs in again.pairs.values()] == [1]


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
    (outcomes,) = outcomes_by_group(records).values()
    assert [one.factor for one in matches(outcomes)] == ["optimizer"]


def test_versions_of_an_entry_are_levels_of_their_own() -> None:
    records = [
        made_record(optimizer="sgd"),
        made_record(optimizer="muon", record={"versions": {"optimizer": 1}}),
        made_record(optimizer="muon", record={"versions": {"optimizer": 2}}),
    ]
    assert list(matched(records, "optimizer").pairs) == ["muon v1", "muon v2"]


def test_groups_are_never_mixed() -> None:
    gpu = {"environment": {"gpu": "H100", "torch": "2.11.0"}}
    records = [
        made_record(augmentation="none", record=gpu),
        *(made_record(augmentation="flip_crop", **{"source": s}) for s in ("shapes", "cifar10")),
        made_record(augmentation="flip_crop", scale="full"),
    ]
    groups = outcomes_by_group(records)
    assert len(groups) == 4
    assert all(match(outcomes, "augmentation") is None for outcomes in groups.values())


def misses_where(level: str, nets: tuple[str, ...]) -> Any:
    def planted(augmentation: str, architecture: str, **_: Any) -> dict[str, float | None]:
        quick = 2.0 if augmentation == "flip_crop" else 3.0
        miss = augmentation == level and architecture in nets
        return {"time_to_accuracy_s": None if miss else quick}

    return planted


def test_a_miss_counts_against_a_level_that_is_faster_where_it_reaches_the_target() -> None:
    nets = ("cnn2", "cnn4", "vgg11", "vit")
    found = of(made_grid(misses_where("flip_crop", nets)), TIME)
    assert (found.cells, found.both, found.reached) == (10, 2, (2, 10))
    assert found.interval is not None
    assert found.interval.side(1.0) == -1  # by those that reached the target it would be shorter
    assert found.side == 1
    few = of(made_grid(misses_where("flip_crop", ("vit",))), TIME)
    assert (few.reached, few.side) == ((8, 10), 0)
    reference = of(made_grid(misses_where("none", ("vit",))), TIME)
    assert (reference.reached, reference.side) == ((10, 8), -1)


def test_misses_of_seeds_count_too() -> None:
    records = made_grid(
        misses_where("flip_crop", ("cnn2",)),
        architecture=("cnn2",), optimizer=("sgd",), seeds=5,
    )  # fmt: skip
    found = of(records, TIME)
    assert (found.over, found.both, found.interval, found.side) == ("seeds", 0, None, 1)


def test_nothing_is_claimed_where_both_miss() -> None:
    records = made_grid(lambda **_: {"time_to_accuracy_s": None})
    found = of(records, TIME)
    assert (found.cells, found.both, found.side, found.reached) == (10, 0, 0, (0, 0))
    assert (found.estimate, found.interval) == (None, None)


def test_the_speedrun_protocol_has_no_time_to_accuracy() -> None:
    found = effects(matched(made_grid(flip_helps, protocol="speedrun")))
    assert [one.metric for one in found["flip_crop"]] == [ACCURACY, MACRO_F1, SPEED]


def test_suspect_timings_have_scores_only() -> None:
    records = made_grid(flip_helps)
    suspect = [replace(record, timing_suspect=("busy",)) for record in records[:2]] + records[2:]
    assert [of(suspect, metric).cells for metric in (ACCURACY, SPEED, TIME)] == [10, 9, 9]
    seeds = made_grid(flip_helps, seeds=2)
    seeds[0] = replace(seeds[0], timing_suspect=("busy",))
    found = of(seeds, TIME)
    assert (found.runs, found.reached) == ((20, 19), (20, 19))


def test_failed_runs_enter_no_effect() -> None:
    records = [*made_grid(flip_helps), made_failure(architecture="new", augmentation="flip_crop")]
    assert of(records, ACCURACY) == of(records[:-1], ACCURACY)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_the_order_of_records_has_no_part_in_it(random: Any) -> None:
    records = made_grid(flip_helps, architecture=("cnn2", "vit"), seeds=2)
    expected = effects(matched(records))
    random.shuffle(records)
    assert effects(matched(records)) == expected


def sides(one: Interaction) -> dict[str, int]:
    assert one.between is not None
    names = [name for name, _ in one.nets]
    return {name: part.side() for name, part in zip(names, one.between.parts, strict=True)}


def hurts_vit(augmentation: str, architecture: str, **_: Any) -> dict[str, float | None]:
    gain = -0.03 if architecture == "vit" else 0.05
    return {"accuracy": 0.6 + (gain if augmentation == "flip_crop" else 0.0)}


@pytest.mark.parametrize(("optimizers", "seeds"), [(("sgd", "adamw", "muon"), 1), (("sgd",), 5)])
def test_a_planted_interaction_is_found(optimizers: tuple[str, ...], seeds: int) -> None:
    (one,) = interactions(matched(made_grid(hurts_vit, optimizer=optimizers, seeds=seeds)))
    assert one.p < 0.001
    assert sides(one) == {name: -1 if name == "vit" else 1 for name in NETS}
    assert dict(one.nets) == dict.fromkeys(NETS, len(optimizers))


@pytest.mark.parametrize(("optimizers", "seeds"), [(("sgd", "adamw", "muon"), 1), (("sgd",), 5)])
def test_false_interactions_are_as_rare_as_claimed(optimizers: tuple[str, ...], seeds: int) -> None:
    alarms = 0
    for draw in range(60):
        records = made_grid(optimizer=optimizers, seeds=seeds, draw=draw, architecture=NETS[:4])
        alarms += interactions(matched(records))[0].p < 0.05
    assert alarms <= 9  # 3 are to be expected


def test_levels_share_one_correction() -> None:
    policies = ("none", "flip_crop", *(f"policy{number}" for number in range(20)))
    found = interactions(matched(made_grid(augmentation=policies, optimizer=("sgd", "a", "b"))))
    for one in found:
        assert one.between is not None
        assert one.p >= one.between.p
    assert min(one.p for one in found) == min(
        1.0, len(found) * min(one.between.p for one in found if one.between)
    )


def test_too_few_cells_and_seeds_tell_nothing() -> None:
    (one,) = interactions(matched(made_grid(hurts_vit, optimizer=("sgd",), seeds=4)))
    assert (one.between, one.p) == (None, 1.0)
    assert interactions(matched(made_grid(architecture=("vit",)))) == []


def test_each_cell_by_itself() -> None:
    found = matched(made_grid(hurts_vit, seeds=5))
    cells = cell_by_cell(found, "flip_crop", ACCURACY)
    assert {label.split("/")[0] for label in cells.lower} == {"vit"}
    assert (len(cells.higher), len(cells.lower), cells.too_few) == (8, 2, 0)
    assert len(cell_by_cell(found, "flip_crop", SPEED).undecided) == 10
    few = cell_by_cell(matched(made_grid(hurts_vit, seeds=4)), "flip_crop", ACCURACY)
    assert few == CellByCell(higher=(), lower=(), undecided=(), too_few=10)


def test_holm_holds_over_all_cells_compared() -> None:
    told = 0
    for draw in range(60):
        records = made_grid(seeds=5, draw=draw, optimizer=("sgd",))
        cells = cell_by_cell(matched(records), "flip_crop", ACCURACY)
        told += bool(cells.higher or cells.lower)
    assert told <= 9
