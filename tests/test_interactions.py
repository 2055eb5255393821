"""Where an effect depends on the net, and where in each cell it can be told."""

from typing import Any

import pytest

from bench.record import Record
from bench.report.interactions import CellByCell, Interaction, cell_by_cell, interactions
from bench.report.matching import Matched, match
from bench.report.outcomes import ACCURACY, SPEED, outcomes_by_group
from tests.made_grid import NETS, made_grid


def matched(records: list[Record], factor: str = "augmentation") -> Matched:
    (outcomes,) = outcomes_by_group(records).values()
    found = match(outcomes, factor)
    assert found is not None
    return found


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
def test_equal_effects_are_told_apart_as_seldom_as_said(
    optimizers: tuple[str, ...], seeds: int
) -> None:
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
    assert len(cell_by_cell(found, "flip_crop", SPEED).cannot_tell) == 10
    few = cell_by_cell(matched(made_grid(hurts_vit, seeds=4)), "flip_crop", ACCURACY)
    assert few == CellByCell(higher=(), lower=(), cannot_tell=(), too_few=10)


def test_holm_holds_over_all_cells_compared() -> None:
    told = 0
    for draw in range(60):
        records = made_grid(seeds=5, draw=draw, optimizer=("sgd",))
        cells = cell_by_cell(matched(records), "flip_crop", ACCURACY)
        told += bool(cells.higher or cells.lower)
    assert told <= 9
