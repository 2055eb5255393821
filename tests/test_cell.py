"""Cells and runs: their ids, names and limits, and the one table of a cell's fields."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cell import FIELDS, Cell, Run
from bench.recipe import Recipe
from bench.store import codec
from tests import checkout
from tests.made import made_cell, made_run

OTHER: dict[str, Any] = {
    "architecture": "vgg11", "optimizer": "muon", "augmentation": "none",
    "pipeline": "kornia[compiled]", "source": "cifar10", "scale": "full", "device": "cuda",
    "epochs": 5, "batch_size": 101, "width": 0.5, "train_images": None, "validation_images": 7,
    "test_images": 9, "precision": "bf16", "compile": True, "target_accuracy": 0.61,
    "protocol": "speedrun", "eval_views": 6, "recipe": Recipe(lr=0.1),
    "compile_mode": "max-autotune",
}  # fmt: skip


def test_every_field_of_a_cell_is_described_and_tried_below() -> None:
    names = [field.name for field in fields(Cell)]
    assert list(FIELDS) == names
    assert set(OTHER) == set(names)


@pytest.mark.parametrize("name", OTHER)
def test_any_changed_field_changes_the_id(name: str) -> None:
    assert made_run(**{name: OTHER[name]}).id != made_run().id


def test_seed_versions_and_images_change_the_id_but_not_a_recipes_origin() -> None:
    for change in ({"seed": 1}, {"versions": {"architecture": 2}}, {"fingerprint": "beef"}):
        assert replace(made_run(), **change).id != made_run().id
    one, other = (made_run(recipe=Recipe(lr=0.1, origin=origin)) for origin in ("here", "there"))
    assert one.id == other.id
    assert one.cell.identity == other.cell.identity
    assert made_run(recipe=Recipe(lr=0.2)).id != one.id


def test_ids_are_the_same_in_every_process_and_reference_record() -> None:
    run = Run(
        cell=Cell(
            architecture="a", optimizer="o", augmentation="g", pipeline="p", epochs=1, batch_size=2
        ),
        seed=0,
    )
    assert run.id == "b2f4012834caa0ac"
    records = [codec.decode(path.read_bytes()) for path in REFERENCE]
    assert len(records) > 50
    assert all(record.run.id == record.run_id for record in records)


REFERENCE = sorted((checkout.ROOT / "results" / "reference").glob("*/records/*.json"))


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


def test_compiled_models_are_shared_by_what_their_graph_depends_on() -> None:
    cell = made_cell(compile=True)
    for same in ("optimizer", "augmentation", "pipeline", "epochs", "target_accuracy"):
        assert replace(cell, **{same: OTHER[same]}).model_key == cell.model_key
    for other in ("architecture", "width", "batch_size", "precision", "source", "device"):
        assert replace(cell, **{other: OTHER[other]}).model_key != cell.model_key
    assert made_cell(compile=False).model_key == ""


FOLLOWS = """
import sys
from pathlib import Path

from bench.grid.options import RunOptions
from bench.grid.overrides import apply, parse
from bench.grid.plan import choose_cells, choose_config
from bench.machine.environment import Probe
from bench.report import show
from bench.report.compare.sides import STRICT
from bench.report.figures.comparison import comparisons
from bench.report.matrix import build
from bench.report.page.page import cell_data
from bench.report.rows import grouped
from bench.report.table import footings, render
from bench.store.codec import decode
from bench.tensorboard import run_log
from tests.made import made_record, made_run

assert made_run().id == sys.argv[1], "a run at the default keeps its id"
assert made_run(clip=0.5).id != sys.argv[1]
old = decode(Path(sys.argv[2]).read_bytes())
assert (old.run.id, old.cell.clip, old.cell.recipe.nudge) == (old.run_id, 0.0, 0.0)

plain, clipped = made_record(), made_record(clip=0.5)
both = [plain, clipped]
table = render(build(both), "md")
assert "clip 0.5" in table and "clip 0" in table, table
assert "clip 0.5" in render(build([clipped]), "md")
assert "clip" not in render(build([plain]), "md")
assert len(footings(both)) == 2
assert len(comparisons(both)) == 2
assert "clip" in STRICT
for key_of in (lambda key: key.ranking, lambda key: key.matching("architecture")):
    assert len({key_of(key) for key in grouped(both)}) == 2
assert run_log.hparams(clipped.cell)["clip"] == 0.5
assert cell_data(build([clipped]).outcomes[0], Path("results"))["settings"]["clip"] == "0.5"
assert apply([plain.cell], parse(["clip=0.5"])) == [clipped.cell]
options = RunOptions(grid="smoke", clip=0.5)
config = choose_config(options, Probe(), "cpu")
assert {cell.clip for cell in choose_cells(options, config)} == {0.5}
"""


NEW_FIELD = {
    "bench/cell.py": {
        "    recipe: Recipe | None = None\n": "    clip: float = 0.0\n",
        "FIELDS: dict[str, FieldInfo] = {\n": """    "clip": FieldInfo(
        role="condition", label="clip {:g}", title=9, quiet=True, settable=float, option="clip"
    ),
""",
    },
    "bench/recipe.py": {'    origin: str = ""\n': "    nudge: float = 0.0\n"},
    "bench/grid/options.py": {"    epochs: int | None = None\n": "    clip: float | None = None\n"},
}


def test_a_new_field_appears_wherever_fields_are_listed(tmp_path: Path) -> None:
    """Only the field, its line in the table and an attribute of the options are added."""
    copy = checkout.make(tmp_path, {})
    for name, lines in NEW_FIELD.items():
        text = (copy / name).read_text()
        for line, added in lines.items():
            assert text.count(line) == 1
            text = text.replace(line, line + added)
        (copy / name).write_text(text)
    environment = {"PYTHONPATH": f"{copy}:{checkout.ROOT}"}
    arguments = made_run().id, str(REFERENCE[0])
    done = checkout.python(FOLLOWS, *arguments, cwd=copy, env=environment)
    assert done.returncode == 0, done.stderr
