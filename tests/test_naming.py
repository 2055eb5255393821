"""Cells of one name are distinguished by what differs, and by nothing else."""

from typing import Any

import pytest

from bench.naming import Names, bracketed, labels_of
from bench.recipe import Recipe
from tests.made import made_cell

RECIPE = Recipe(lr=0.1)


@pytest.mark.parametrize(
    ("changes", "apart"),
    [
        ({"architecture": "cnn4"}, ("", "")),
        ({"epochs": 1}, ("4 epochs", "1 epoch")),
        ({"width": 0.5, "batch_size": 32}, ("batch 100, width 0.25", "batch 32, width 0.5")),
        ({"width": 0.2500001}, ("width 0.25", "width 0.2500001")),
        ({"target_accuracy": 0.6001}, ("target 60 %", "target 60.01 %")),
        ({"train_images": None}, ("1000 images", "all images")),
        ({"precision": "bf16"}, ("fp32", "bf16")),
        ({"recipe": Recipe(lr=0.1, options=(("momentum", 0.8),))}, ("", "momentum 0.8")),
        ({"recipe": Recipe(lr=0.2)}, ("lr 0.1", "lr 0.2")),
        ({"recipe": Recipe(lr=0.1, origin="elsewhere")}, ("", "")),
    ],
)
def test_cells_of_one_name_are_told_apart_by_what_differs(
    changes: dict[str, Any], apart: tuple[str, str]
) -> None:
    cells = [made_cell(recipe=RECIPE), made_cell(**{"recipe": RECIPE} | changes)]
    names = Names([*cells, made_cell(optimizer="muon", epochs=9)])
    for cell, text in zip(cells, apart, strict=True):
        assert names(f"{cell.name}/seed0", cell) == bracketed(f"{cell.name}/seed0", text)
        assert labels_of(cell).issuperset(text.split(", ") if text else [])
    assert names("name", made_cell(epochs=77)) == "name"  # of none of these cells
