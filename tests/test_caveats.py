"""Caveats: those that apply are told with their figures, the others are not."""

from dataclasses import replace
from typing import Any

from bench.recipe import Recipe
from bench.recipe_files import DEFAULT_ORIGIN
from bench.record import GRAPH, LAUNCHED, Failure, Record
from bench.report.caveats import caveats
from bench.report.outcomes import outcomes_by_group
from tests.made import made_failure, made_metrics, made_record
from tests.made_grid import made_grid


def told(*records: Record, intervals: int = 0) -> str:
    (outcomes,) = outcomes_by_group(records).values()
    return "\n".join(caveats(outcomes, intervals))


def full(seed: int = 0, **options: Any) -> Record:
    return made_record(
        seed, scale="full", source="cifar10", train_images=None, width=1.0, **options
    )


def test_a_clean_grid_at_full_scale_needs_none() -> None:
    assert told(*(full(seed, time_to_accuracy_s=3.0) for seed in range(5))) == ""


def test_scale_and_source() -> None:
    text = told(made_record(), made_record(epochs=9))
    assert "Scale `cpu`: nets of width 0.25, 1,000 training images, 4 to 9 epochs." in text
    assert "generated (`shapes`)" in text
    assert "Scale" not in told(full())
    assert "generated" not in told(full())


def test_one_seed() -> None:
    metrics = made_metrics(0.9, 3.0)
    large = replace(metrics.per_class[0], support=5000)
    metrics = replace(metrics, per_class=(large, large))
    text = told(full(record={"metrics": metrics}))
    assert "The only cell has one seed: one seed on the full test set of CIFAR-10 is worth" in text
    assert "±0.26 points at 95 %" in text
    small = told(made_record(), made_record(architecture="vit"))
    assert "2 of 2 cells have one seed: with 100 test images one seed moves" in small
    assert "one seed" not in told(made_record(0), made_record(1))


def test_recipes() -> None:
    tuned = Recipe(lr=0.1, origin="found")
    plain = Recipe(lr=0.2, origin=DEFAULT_ORIGIN)
    text = told(
        made_record(recipe=tuned, batch_size=50), made_record(architecture="vit", recipe=plain)
    )
    assert "The batch size is part of a recipe (50, 100 here)" in text
    assert (
        "not tuned for the net: `vit with sgd`. The other pair of net and optimizer has a recipe of"
        in text
    )
    assert "more than one recipe" not in text
    assert "not tuned" not in told(made_record(recipe=tuned))
    assert "not tuned" not in told(made_record(recipe=plain))
    several = told(made_record(recipe=tuned), made_record(recipe=plain))
    assert "`resnet18/sgd/flip_crop/kornia`: trained with more than one recipe" in several


def test_suspect_timings() -> None:
    text = told(made_record(0, record={"timing_suspect": ("busy",)}), made_record(1))
    assert "1 run (`resnet18/sgd/flip_crop/kornia/seed0`)" in text
    assert "Suspect" not in told(made_record())


def test_targets() -> None:
    missed = [made_record(architecture="vit", time_to_accuracy_s=None), made_record()]
    assert "No run of `vit` reached the target of 60 % validation accuracy." in told(*missed)
    assert "No run reached the target of 60 %" in told(missed[0])
    assert "target" not in told(made_record())
    early = told(made_record(0, time_to_accuracy_s=1.0), made_record(1), made_record(2))
    assert "1 of the 3 runs that reached the target of 60 % validation accuracy" in early
    speedrun = told(made_record(protocol="speedrun", time_to_accuracy_s=None))
    assert "target" not in speedrun


def test_draws_for_a_whole_batch() -> None:
    draws = {"Crop": "per batch", "HorizontalFlip": "per sample"}
    text = told(made_record(record={"augmentation_draws": draws}))
    assert "`kornia` draws once for a whole batch (`Crop`)" in text
    assert "whole batch" not in told(made_record())


def test_failures_by_reason() -> None:
    oom = Failure(type="OutOfMemory", message="CUDA out of memory\nmore")
    lacks = Failure(type="Unsupported", message="dali has no Cutout")
    text = told(
        made_failure(0),
        made_failure(1),
        replace(made_failure(2), status="oom", error=oom),
        replace(made_failure(3), status="skipped", error=lacks),
        replace(made_failure(4), status="interrupted", error=None),
    )
    assert (
        "4 runs did not end well and enter no average: 2 crashed `it broke`; 1 interrupted; "
        "1 oom `CUDA out of memory`." in text
    )
    assert "1 run was skipped and enter no average: 1 `dali has no Cutout`." in text
    assert "average" not in told(made_record())


def test_many_intervals() -> None:
    assert "Each of the 40 intervals" in told(*made_grid(), intervals=40)
    assert "about 2.0 of them" in told(*made_grid(), intervals=40)
    assert "intervals" not in told(*made_grid(), intervals=1)


def test_steps_that_were_launched_beside_steps_that_were_replayed() -> None:
    graph = full(record={"stepping": GRAPH})
    lion = full(optimizer="lion", record={"stepping": f"{LAUNCHED}lion counts on the host"})
    text = told(graph, lion)
    assert "1 of 2 runs launched their steps one operation at a time (lion counts on" in text
    assert "launched" not in told(graph, full(optimizer="muon", record={"stepping": GRAPH}))
    assert "launched" not in told(lion)
    assert "launched" not in told(full())


def test_code_that_was_compiled_before() -> None:
    anew = full(record={"compiled": "anew"})
    part = full(optimizer="lion", record={"compiled": "partly from cache"})
    whole = full(optimizer="muon", record={"compiled": "from cache"})
    text = told(anew, part, whole, full(optimizer="adamw"))
    assert "2 of 3 runs with compiled code took it, or part of it, from torch's cache" in text
    assert "from torch's cache" not in told(anew, full(optimizer="adamw"))
