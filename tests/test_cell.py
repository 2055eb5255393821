"""Cells and runs: their ids, names and limits."""

from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cell import Cell, Run
from bench.recipe import Recipe
from tests.made import made_cell, made_run

OTHER: dict[str, Any] = {
    "architecture": "vgg11",
    "optimizer": "muon",
    "augmentation": "none",
    "pipeline": "kornia[compiled]",
    "source": "cifar10",
    "scale": "full",
    "device": "cuda",
    "epochs": 5,
    "batch_size": 101,
    "width": 0.5,
    "train_images": None,
    "validation_images": 7,
    "test_images": 9,
    "precision": "bf16",
    "compile": True,
    "target_accuracy": 0.61,
    "protocol": "speedrun",
    "eval_views": 6,
    "recipe": Recipe(lr=0.1),
}


def test_every_field_of_a_cell_is_tried_below() -> None:
    assert set(OTHER) == {field.name for field in fields(Cell)}


@pytest.mark.parametrize("name", OTHER)
def test_any_changed_field_changes_the_id(name: str) -> None:
    run = made_run()
    changed = replace(run, cell=replace(run.cell, **{name: OTHER[name]}))
    assert changed.id != run.id


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"versions": {"architecture": 2}}, {"fingerprint": "beef"}]
)
def test_seed_versions_and_images_change_the_id(change: dict[str, Any]) -> None:
    assert replace(made_run(), **change).id != made_run().id


def test_the_id_is_the_same_in_every_process_and_version() -> None:
    run = Run(
        cell=Cell(
            architecture="a", optimizer="o", augmentation="g", pipeline="p", epochs=1, batch_size=2
        ),
        seed=0,
    )
    assert run.id == "b2f4012834caa0ac"


def test_where_a_recipe_comes_from_is_no_part_of_the_id() -> None:
    one, other = (made_run(recipe=Recipe(lr=0.1, origin=origin)) for origin in ("here", "there"))
    assert one.id == other.id
    assert one.cell.identity == other.cell.identity
    assert made_run(recipe=Recipe(lr=0.2)).id != one.id


def test_equal_runs_have_equal_ids() -> None:
    assert made_cell(width=1) == made_cell(width=1.0)
    assert made_run(width=1, target_accuracy=1).id == made_run(width=1.0, target_accuracy=1.0).id
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert replace(made_run(), versions=one).id == replace(made_run(), versions=other).id


@given(
    width=st.floats(0.01, 16),
    epochs=st.integers(1, 1000),
    architecture=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_the_id_survives_json(width: float, epochs: int, architecture: str) -> None:
    run = made_run(width=width, epochs=epochs, architecture=architecture)
    again = msgspec.json.decode(msgspec.json.encode(run), type=Run)
    assert again == run
    assert again.id == run.id


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"width": 0.0},
        {"width": 16.5},
        {"width": float("nan")},
        {"target_accuracy": 0.0},
        {"target_accuracy": 1.01},
        {"target_accuracy": float("nan")},
        {"eval_views": 3},
    ],
)
def test_impossible_cells_are_refused_with_the_value(bad: dict[str, Any]) -> None:
    value = next(iter(bad.values()))
    with pytest.raises(ValueError, match=str(value)):
        made_cell(**bad)


def test_the_name_shows_the_axes_and_the_seed() -> None:
    assert made_run(seed=3).name == "resnet18/sgd/flip_crop/kornia/seed3"


def test_compiled_models_are_shared_by_what_their_graph_depends_on() -> None:
    cell = made_cell(compile=True)
    for same in ("optimizer", "augmentation", "pipeline", "epochs", "target_accuracy"):
        assert replace(cell, **{same: OTHER[same]}).model_key == cell.model_key
    for other in ("architecture", "width", "batch_size", "precision", "source", "device"):
        assert replace(cell, **{other: OTHER[other]}).model_key != cell.model_key
    assert made_cell(compile=False).model_key == ""
