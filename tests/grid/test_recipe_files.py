"""Recipe files: reading, writing, and errors that name their place."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from bench.cell import Scale
from bench.errors import UsageError
from bench.grid.recipe_files import SHIPPED, Book, book, by_name, read, render
from bench.recipe import DEFAULT_ORIGIN

GOOD: dict[str, Any] = {
    "architecture": "resnet18",
    "optimizer": "adamw",
    "batch_size": 64,
    "lr": 0.004,
    "weight_decay": 0.1,
    "options": {"beta2": 0.95},
    "origin": "a search",
}


def write(path: Path, *entries: Any) -> Path:
    file = path / "recipes.json"
    file.write_text(json.dumps(list(entries)))
    return file


def test_recipe_files_round_trip_and_a_missing_key_is_named(tmp_path: Path) -> None:
    (entry,) = read(write(tmp_path, GOOD))
    assert (entry.recipe.lr, entry.recipe.option("beta2")) == (0.004, 0.95)
    assert entry.recipe.option("beta1") == 0.9  # the optimizer's own default
    again = tmp_path / "again.json"
    again.write_text(render([entry]))
    assert read(again) == [entry]
    assert render(read(again)) == again.read_text()
    for key in ("architecture", "optimizer", "batch_size", "lr"):
        lacking = {name: value for name, value in GOOD.items() if name != key}
        with pytest.raises(UsageError, match=f"lacks the key '{key}'"):
            read(write(tmp_path, lacking))


def test_recipes_take_precedence_over_optimizer_defaults(tmp_path: Path) -> None:
    found = Book(entries=by_name(read(write(tmp_path, GOOD))))
    recipe, batch_size = found.find("resnet18", "adamw", 128)
    assert (recipe.lr, batch_size) == (0.004, 64)
    recipe, batch_size = found.find("cnn4", "adamw", 256)
    assert (recipe.origin, batch_size) == (DEFAULT_ORIGIN, 256)
    own = book("cpu", write(tmp_path, GOOD))  # goes before the shipped file
    assert own.find("resnet18", "adamw", 64)[0].lr == 0.004


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1}, r"recipe 1 of .* \(resnet18, adamw\): unknown key 'learning_rate'"),
        ({"optimizer": "adamww"}, "unknown optimizer 'adamww': did you mean adamw"),
        ({"lr": -1}, "lr is above 0, got -1"),
        ({"lr": "fast"}, "recipe 1 of"),
        ({"batch_size": 0}, "batch_size is a whole number from 1 on, got 0"),
        ({"options": {"momentum": 1}}, "unknown option of the optimizer adamw 'momentum'"),
        ({"options": [1]}, "recipe 1 of"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean cosine"),
    ],
)
def test_an_error_names_its_place(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(write(tmp_path, GOOD | change))


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]"])
def test_a_file_without_a_list_of_recipes_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipes.json").write_text(text)
    with pytest.raises(UsageError, match="recipes"):
        read(tmp_path / "recipes.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.json")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_recipes_are_complete_and_name_their_origin(path: Path) -> None:
    entries = read(path)
    assert path.stem in get_args(Scale)
    assert path.read_text() == render(entries)
    assert len(by_name(entries)) == len(entries)
    assert all(entry.recipe.origin for entry in entries)
