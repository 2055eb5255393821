"""Caveats: only those that apply are given, with their numbers."""

import re
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from bench.recipe import DEFAULT_ORIGIN, Recipe
from bench.record import GRAPH, LAUNCHED, Failure, Record
from bench.report.caveats import caveats, uneven_failures
from bench.report.statistics.effects import outcomes_by_group
from tests.made import made_failure, made_metrics, made_record
from tests.made_grid import made_grid


def text_of(*records: Record) -> str:
    (outcomes,) = outcomes_by_group(records).values()
    return "\n".join(caveats(outcomes))


def full(seed: int = 0, **options: Any) -> Record:
    return made_record(
        seed, scale="full", source="cifar10", train_images=None, width=1.0, **options
    )


def test_a_clean_grid_at_full_scale_has_no_caveats() -> None:
    text = text_of(*(full(seed, time_to_accuracy_s=3.0) for seed in range(5)))
    assert text.startswith("The accuracy of one run on 100 test images has")
    assert "\n" not in text


def test_scale_and_source() -> None:
    text = text_of(made_record(), made_record(epochs=9))
    assert "Scale `cpu`: width 0.25, training images 1,000, epochs 4 to 9." in text
    seen = text_of(made_record(record={"training_images": 108}), made_record(epochs=9))
    assert "training images 108, epochs 4 to 9." in seen
    assert "generated (`shapes`)" in text
    assert "Scale" not in text_of(full())
    assert "generated" not in text_of(full())


def test_seeds_and_test_images() -> None:
    metrics = made_metrics(0.9, 3.0)
    large = replace(metrics.per_class[0], support=5000)
    metrics = replace(metrics, per_class=(large, large))
    text = text_of(full(record={"metrics": metrics}))
    assert "Fewer than 5 seeds: 1 of 1 cell (`--seeds 5` trains the rest)" in text
    assert "The accuracy of one run on 10,000 test images has a sampling error" in text
    error = 196 * (0.9 * 0.1 / 10_000) ** 0.5
    assert f"up to \u00b1{error:.2f} points (95 %, binomial)." in text
    assert "Fewer than 5" not in text_of(*map(made_record, range(5)))


def test_variation_between_seeds() -> None:
    records = made_grid(optimizer=("sgd",), seeds=5, points=0.5)
    match = re.search(
        r"varies between seeds by (\d\.\d\d) points \(standard deviation, 10 cells\); differences "
        r"from the best cell are detectable from (\d\.\d\d) points",
        text_of(*records),
    )
    assert match
    assert 0.4 < float(match[1]) < 0.6
    quantile = float(stats.t.isf((1 - 0.95 ** (1 / 45)) / 2, 8))
    assert float(match[2]) == pytest.approx(quantile * float(match[1]) * 0.4**0.5, abs=0.03)
    assert "detectable" not in text_of(*made_grid(seeds=4))


def test_recipes() -> None:
    tuned = Recipe(lr=0.1, origin="found")
    plain = Recipe(lr=0.2, origin=DEFAULT_ORIGIN)
    text = text_of(
        made_record(recipe=tuned, batch_size=50), made_record(architecture="vit", recipe=plain)
    )
    assert "the batch size of their recipe (50, 100)" in text
    assert (
        "not tuned for the net: `vit with sgd`. The recipes of 1 pair of net and optimizer" in text
    )
    assert "more than one recipe" not in text
    assert "not tuned" not in text_of(made_record(recipe=tuned))
    assert "not tuned" not in text_of(made_record(recipe=plain))
    several = text_of(made_record(recipe=tuned), made_record(recipe=plain))
    assert "more than one recipe, which effects average over: `resnet18/sgd/flip" in several


def test_suspect_timings() -> None:
    text = text_of(made_record(0, record={"timing_suspect": ("busy",)}), made_record(1))
    assert "1 of 2 runs (`resnet18/sgd/flip_crop/kornia/seed0`). `--retry-suspect` mea" in text
    assert "Suspect" not in text_of(made_record())


def test_targets() -> None:
    missed = made_record(architecture="vit", time_to_accuracy_s=None)
    assert "No run reached the target of 60 % validation accuracy." in text_of(missed)
    assert "target" not in text_of(missed, made_record())
    assert "target" not in text_of(made_record())
    early = text_of(made_record(0, time_to_accuracy_s=1.0), made_record(1), made_record(2))
    assert "1 of 3 runs that reached the target of 60 % validation accuracy" in early
    speedrun = text_of(made_record(protocol="speedrun", time_to_accuracy_s=None))
    assert "target" not in speedrun
    easy = made_record(time_to_accuracy_s=None)
    metrics = replace(made_metrics(0.7, None), commonest_share=0.6)
    said = text_of(replace(easy, metrics=metrics))
    assert "No time to accuracy is given for 1 run: up to 60.0 % of the validation images" in said
    assert "No run reached" not in said
    harder = replace(metrics, commonest_share=0.59)
    assert "No run reached" in text_of(replace(easy, metrics=harder))


def test_draws_for_a_whole_batch() -> None:
    draws = {"Crop": "per batch", "HorizontalFlip": "per sample"}
    text = text_of(made_record(record={"augmentation_draws": draws}))
    assert "`kornia` draws random parameters once per batch (`Crop`)" in text
    assert "once per batch" not in text_of(made_record())


def test_failures_by_reason() -> None:
    oom = Failure(type="OutOfMemory", message="CUDA out of memory\nmore")
    lacks = Failure(type="Unsupported", message="dali has no Cutout")
    text = text_of(
        made_failure(0),
        made_failure(1),
        replace(made_failure(2), status="oom", error=oom),
        replace(made_failure(3), status="skipped", error=lacks),
        replace(made_failure(4), status="interrupted", error=None),
    )
    assert (
        "4 runs did not succeed (excluded from all means): 2 crashed `it broke`; 1 interrupted; "
        "1 oom `CUDA out of memory`." in text
    )
    assert "1 run skipped (excluded from all means): 1 `dali has no Cutout`." in text
    assert "all means" not in text_of(made_record())


def test_launched_and_replayed_steps() -> None:
    graph = full(record={"stepping": GRAPH})
    lion = full(optimizer="lion", record={"stepping": f"{LAUNCHED}lion counts on the host"})
    text = text_of(graph, lion)
    assert "1 of 2 runs launched their steps one operation at a time (lion counts on" in text
    assert "launched" not in text_of(graph, full(optimizer="muon", record={"stepping": GRAPH}))
    assert "launched" not in text_of(lion)
    assert "launched" not in text_of(full())


NETS = ("cnn2", "cnn4", "resnet18", "vit")


def grid(
    *, seeds: int = 1, diverged: tuple[Any, ...] = (), status: str = "diverged"
) -> list[Record]:
    """Four nets with two optimizers; (net, optimizer, seed) that failed."""
    return [
        made_failure(seed, status=status, architecture=net, optimizer=optimizer)
        if (net, optimizer, seed) in diverged
        else made_record(seed, architecture=net, optimizer=optimizer)
        for net in NETS
        for optimizer in ("sgd", "muon")
        for seed in range(seeds)
    ]


def of(records: list[Record]) -> list[Any]:
    (outcomes,) = outcomes_by_group(records).values()
    return outcomes


def diverged_nets(nets: tuple[str, ...], optimizer: str, seeds: tuple[int, ...]) -> Any:
    return tuple((net, optimizer, seed) for net in nets for seed in seeds)


@pytest.mark.parametrize(
    ("seeds", "diverged", "texts"),
    [
        (1, diverged_nets(("vit", "cnn4"), "muon", (0,)), ["`muon` (2 of 4, 0 of 4 with `sgd`)"]),
        (3, diverged_nets(("vit",), "muon", (0, 2)), ["`muon` (2 of 12, 0 of 12 with `sgd`)"]),
        (1, diverged_nets(NETS, "muon", (0,)), ["`muon` (4 of 4, 0 of 4 with `sgd`)"]),
        (1, diverged_nets(NETS[1:], "sgd", (0,)), ["`muon` (0 of 4, 3 of 4 with `sgd`)"]),
        (25, diverged_nets(("vit",), "muon", (0,)), []),  # one more of a hundred
        (25, diverged_nets(("vit",), "muon", (0, 1)), []),  # two more of a hundred
        (1, diverged_nets(("vit",), "muon", (0,)), []),
        (2, diverged_nets(NETS, "sgd", (0,)) + diverged_nets(NETS, "muon", (0,)), []),
    ],
)
def test_comparisons_with_uneven_failures(seeds: int, diverged: Any, texts: list[str]) -> None:
    found = "".join(uneven_failures(of(grid(seeds=seeds, diverged=diverged))))
    assert re.findall(r"`muon` \(.*?\)", found) == texts


@pytest.mark.parametrize("status", ["skipped", "interrupted"])
def test_skipped_and_interrupted_runs_do_not_count_as_failures(status: str) -> None:
    outcomes = of(grid(diverged=diverged_nets(NETS, "muon", (0,)), status=status))
    assert [*uneven_failures(outcomes)] == []
