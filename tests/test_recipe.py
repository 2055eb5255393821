"""Recipes: valid values, changes by --set, and the shapes of learning rate schedules."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cell import Cell
from bench.errors import UsageError
from bench.grid import overrides
from bench.grid.recipe_files import Book, with_options
from bench.recipe import DECAY, DEFAULT_ORIGIN, SCHEDULES, Recipe
from tests.made import made_cell


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 0.0}, "lr is above 0, got 0"),
        ({"lr": math.nan}, "lr is above 0"),
        ({"weight_decay": -1.0}, "weight_decay is at least 0, got -1"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean cosine"),
        ({"average": "emma"}, "unknown average 'emma': did you mean ema"),
        ({"weights": "fp16"}, "unknown weights 'fp16': did you mean bf16"),
        ({"fit_images": 0}, "fit_images is at least 1, got 0"),
        ({"renormalise_every": 0}, "renormalise_every is at least 1, got 0"),
        ({"warmup": 1.0}, r"warmup lies in \[0, 0.999\], got 1"),
        ({"label_smoothing": -0.1}, "label_smoothing lies in"),
        ({"end_factor": 1.1}, r"end_factor lies in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**{"lr": 0.1} | wrong)


def test_options_are_spelled_out_and_unknown_ones_refused() -> None:
    recipe = Recipe(lr=0.1, options=(("beta1", 0.8),))
    spelled = with_options(recipe, "adamw", {"eps": 1e-6})
    assert spelled.options == (("beta1", 0.8), ("beta2", 0.99), ("eps", 1e-6))
    with pytest.raises(UsageError, match="option of the optimizer adamw 'beta': did you mean beta"):
        with_options(recipe, "adamw", {"beta": 1.0})
    one = Recipe(lr=1, options=(("b", 2), ("a", 1)))
    assert one == Recipe(lr=1.0, options=(("a", 1.0), ("b", 2.0)))
    assert one.option("b") == 2.0


def cell(optimizer: str = "sgd", batch_size: int = 64) -> Cell:
    """A cell with the optimizer's defaults."""
    recipe, batch_size = Book(entries={}).find("resnet18", optimizer, batch_size)
    return made_cell(optimizer=optimizer, recipe=recipe, batch_size=batch_size)


def changed(*texts: str, optimizer: str = "sgd") -> Cell:
    (found,) = overrides.apply([cell(optimizer)], overrides.parse(texts))
    return found


def test_set_changes_only_the_named_settings() -> None:
    found = changed(
        "optimizer.lr=0.3", "optimizer.momentum=0.8", "schedule=wsd", "average=ema", "width=0.5"
    )
    assert (found.recipe.lr, found.recipe.option("momentum")) == (0.3, 0.8)
    assert (found.recipe.schedule, found.recipe.average, found.width) == ("wsd", "ema", 0.5)
    assert found.recipe.origin == overrides.BY_HAND
    assert changed() == cell()
    assert changed("optimizer.momentum=0.9") == cell()


def test_only_a_default_learning_rate_follows_the_batch_size() -> None:
    larger = changed("batch_size=128")
    assert larger.recipe.lr == pytest.approx(2 * cell().recipe.lr)
    assert larger.recipe.origin == DEFAULT_ORIGIN
    options = cell().recipe.options
    tuned = made_cell(recipe=Recipe(lr=0.7, options=options, origin="found"))
    (found,) = overrides.apply([tuned], {"batch_size": 128})
    assert found.recipe == tuned.recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lr", "--set takes KEY=VALUE, as in optimizer.lr=0.1, got 'optimizer.lr'"),
        ("learning_rate=1", "unknown key of --set 'learning_rate'"),
        ("optimizer.lr=fast", "--set optimizer.lr needs a number, got 'fast'"),
        ("batch_size=1.5", "--set batch_size needs a whole number, got '1.5'"),
        ("optimizer.lr=nan", "--set optimizer.lr needs a finite number, got 'nan'"),
        ("optimizer.lr=0", "--set: lr is above 0, got 0"),
        ("optimizer.beta1=0.5", "unknown option of the optimizer sgd 'beta1': known are momentum"),
        ("schedule=sinus", "--set: unknown schedule 'sinus'"),
        ("eval_views=3", "--set: eval_views is one of"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        changed(text)


@given(
    name=st.sampled_from(list(SCHEDULES)),
    progress=st.floats(0, 1),
    warmup=st.floats(0, 0.95),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
)
def test_schedules_stay_in_range_and_are_continuous(
    name: str, progress: float, warmup: float, start: float, end: float
) -> None:
    def factor(at: float) -> float:
        recipe = Recipe(lr=1.0, schedule=name, warmup=warmup, start_factor=start, end_factor=end)
        return recipe.factor(at)

    assert math.isfinite(factor(progress))
    assert (start if progress < warmup else end) - 1e-9 <= factor(progress) <= 1 + 1e-9
    assert factor(warmup) == pytest.approx(1.0)
    assert factor(1.0) == pytest.approx(1.0 if name == "constant" else end)
    if warmup > 0:
        assert factor(0.0) == pytest.approx(start)
    steepest = 1 / min(DECAY, 1 - warmup, warmup or 1)
    assert abs(factor(min(1.0, progress + 1e-6)) - factor(progress)) < 1e-5 * max(1.0, steepest)


def test_shapes_of_schedules() -> None:
    def factor(name: str, at: float, warmup: float, start: float = 0.1) -> float:
        return Recipe(lr=1.0, schedule=name, warmup=warmup, start_factor=start).factor(at)

    assert factor("one_cycle", 0.6, warmup=0.2) == pytest.approx(0.5)
    assert factor("one_cycle", 0.1, warmup=0.2, start=0.0) == pytest.approx(0.5)
    assert factor("cosine", 0.3, warmup=0.0) == pytest.approx((1 + math.cos(0.3 * math.pi)) / 2)
    assert factor("wsd", 0.79, warmup=0.1) == 1.0
    assert factor("wsd", 0.9, warmup=0.1) == pytest.approx(0.5)
    assert factor("wsd", 0.95, warmup=0.9) == pytest.approx(0.5)
    assert factor("constant", 0.99, warmup=0.1) == 1.0
