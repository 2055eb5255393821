"""Caveats: only those that apply are given, with their numbers."""

from dataclasses import replace
from typing import Any

from bench.recipe import DEFAULT_ORIGIN, Recipe
from bench.record import GRAPH, LAUNCHED, Failure, Record
from bench.report.caveats import FailureBalance, caveats, lost_levels, uneven
from bench.report.statistics.outcomes import outcomes_by_group
from tests.made import made_failure, made_metrics, made_record


def text_of(*records: Record) -> str:
    (outcomes,) = outcomes_by_group(records).values()
    return "\n".join(caveats(outcomes))


def full(seed: int = 0, **options: Any) -> Record:
    return made_record(
        seed, scale="full", source="cifar10", train_images=None, width=1.0, **options
    )


def test_a_clean_grid_at_full_scale_has_no_caveats() -> None:
    assert text_of(*(full(seed, time_to_accuracy_s=3.0) for seed in range(5))) == ""


def test_scale_and_source() -> None:
    text = text_of(made_record(), made_record(epochs=9))
    assert "Scale `cpu`: nets of width 0.25, 1,000 training images, 4 to 9 epochs." in text
    assert "generated (`shapes`)" in text
    assert "Scale" not in text_of(full())
    assert "generated" not in text_of(full())


def test_one_seed() -> None:
    metrics = made_metrics(0.9, 3.0)
    large = replace(metrics.per_class[0], support=5000)
    metrics = replace(metrics, per_class=(large, large))
    text = text_of(full(record={"metrics": metrics}))
    assert "The only cell has one seed: with 10,000 test images an accuracy has a" in text
    error = 196 * (0.9 * 0.1 / 10_000) ** 0.5
    assert f"sampling error of up to \u00b1{error:.2f} points (95 %, binomial)" in text
    small = text_of(made_record(), made_record(architecture="vit"))
    assert "2 of 2 cells have one seed: with 100 test images an accuracy has a" in small
    assert "best of many is partly luck" in small
    assert "one seed" not in text_of(made_record(0), made_record(1))


def test_recipes() -> None:
    tuned = Recipe(lr=0.1, origin="found")
    plain = Recipe(lr=0.2, origin=DEFAULT_ORIGIN)
    text = text_of(
        made_record(recipe=tuned, batch_size=50), made_record(architecture="vit", recipe=plain)
    )
    assert "The batch size is part of a recipe (50, 100 here)" in text
    assert (
        "not tuned for the net: `vit with sgd`. The recipes of 1 other pair of net and optimizer"
        in text
    )
    assert "more than one recipe" not in text
    assert "not tuned" not in text_of(made_record(recipe=tuned))
    assert "not tuned" not in text_of(made_record(recipe=plain))
    several = text_of(made_record(recipe=tuned), made_record(recipe=plain))
    assert "`resnet18/sgd/flip_crop/kornia`: trained with more than one recipe" in several


def test_suspect_timings() -> None:
    text = text_of(made_record(0, record={"timing_suspect": ("busy",)}), made_record(1))
    assert "1 run (`resnet18/sgd/flip_crop/kornia/seed0`)" in text
    assert "Suspect" not in text_of(made_record())


def test_targets() -> None:
    missed = [made_record(architecture="vit", time_to_accuracy_s=None), made_record()]
    assert "No run of `vit` reached the target of 60 % validation accuracy." in text_of(*missed)
    assert "No run reached the target of 60 %" in text_of(missed[0])
    assert "target" not in text_of(made_record())
    early = text_of(made_record(0, time_to_accuracy_s=1.0), made_record(1), made_record(2))
    assert "1 of 3 runs that reached the target of 60 % validation accuracy" in early
    speedrun = text_of(made_record(protocol="speedrun", time_to_accuracy_s=None))
    assert "target" not in speedrun


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
        "4 runs did not end well (in no average): 2 crashed `it broke`; 1 interrupted; "
        "1 oom `CUDA out of memory`." in text
    )
    assert "1 run skipped (in no average): 1 `dali has no Cutout`." in text
    assert "average" not in text_of(made_record())


def test_launched_and_replayed_steps() -> None:
    graph = full(record={"stepping": GRAPH})
    lion = full(optimizer="lion", record={"stepping": f"{LAUNCHED}lion counts on the host"})
    text = text_of(graph, lion)
    assert "1 of 2 runs launched their steps one operation at a time (lion counts on" in text
    assert "launched" not in text_of(graph, full(optimizer="muon", record={"stepping": GRAPH}))
    assert "launched" not in text_of(lion)
    assert "launched" not in text_of(full())


def test_cached_compiled_code() -> None:
    anew = full(record={"compiled": "anew"})
    part = full(optimizer="lion", record={"compiled": "partly from cache"})
    whole = full(optimizer="muon", record={"compiled": "from cache"})
    text = text_of(anew, part, whole, full(optimizer="adamw"))
    assert "2 of 3 runs with compiled code took some or all of it from torch's cache" in text
    assert "from torch's cache" not in text_of(anew, full(optimizer="adamw"))


NETS = ("cnn2", "cnn4", "resnet18", "vit")


def grid(
    *, seeds: int = 1, diverged: tuple[Any, ...] = (), status: str = "diverged"
) -> list[Record]:
    """Four nets with two optimizers; (net, optimizer, seed) that did not end well."""
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


def balance_text(records: list[Record]) -> str:
    return "\n".join(caveats(of(records)))


def balance(records: list[Record], level: str) -> FailureBalance:
    (found,) = (one for one in uneven(of(records)) if one.level == level)
    return found


def test_an_optimizer_that_diverged_more_often_is_named_with_counts() -> None:
    records = grid(diverged=(("vit", "muon", 0), ("cnn4", "muon", 0)))
    found = balance(records, "muon")
    assert (found.reference, found.cells, found.left_out) == ("sgd", 4, 2)
    assert (found.failed, found.runs) == ((2, 0), (4, 4))
    assert (
        "Failed runs are in no average and are unevenly distributed, so these effects are over the "
        "surviving cells, which favours the side that failed more: `muon` instead of `sgd` (2 of 4 "
        "runs failed, with `sgd` 0 of 4; 2 of 4 matched cells left out)" in balance_text(records)
    )


def test_failed_seeds_count_even_if_their_cell_is_kept() -> None:
    records = grid(seeds=3, diverged=(("vit", "muon", 0), ("vit", "muon", 2)))
    found = balance(records, "muon")
    assert (found.failed, found.runs, found.left_out) == ((2, 0), (12, 12), 0)
    assert "left out" not in balance_text(records)


def test_the_most_uneven_comparison_is_first_even_if_the_reference_failed() -> None:
    records = grid(diverged=tuple((net, "sgd", 0) for net in NETS[1:]))
    first = uneven(of(records))[0]
    assert (first.level, first.failed) == ("muon", (0, 3))
    assert "0 of 4 runs failed, with `sgd` 3 of 4; 3 of 4 matched cells left out" in balance_text(
        records
    )


def test_a_single_additional_failure_is_not_uneven() -> None:
    assert uneven(of(grid(seeds=25, diverged=(("vit", "muon", 0),)))) == []
    assert uneven(of(grid(seeds=25, diverged=(("vit", "muon", 0), ("vit", "muon", 1))))) == []
    assert uneven(of(grid(diverged=(("vit", "muon", 0),)))) == []


def test_even_failures_are_not_reported() -> None:
    diverged = tuple((net, optimizer, 0) for net in NETS for optimizer in ("sgd", "muon"))
    records = grid(seeds=2, diverged=diverged)
    assert uneven(of(records)) == []
    assert "unevenly" not in balance_text(records)
    assert "unevenly" not in balance_text(grid())


def test_skipped_and_interrupted_runs_do_not_count_as_failures() -> None:
    for status in ("skipped", "interrupted"):
        records = grid(diverged=(("vit", "muon", 0),), status=status)
        assert uneven(of(records)) == []
        assert lost_levels(of(records)) == []


def test_an_entry_without_successful_runs_is_named() -> None:
    records = grid(diverged=tuple((net, "muon", 0) for net in NETS))
    assert lost_levels(of(records)) == [("muon", 4)]
    assert "In no average or effect, because no run succeeded: `muon` (4 runs)." in balance_text(
        records
    )
    assert uneven(of(records)) == []


def test_only_failures_give_no_comparison() -> None:
    records = [made_failure(0, optimizer=name) for name in ("sgd", "muon")]
    assert uneven(of(records)) == lost_levels(of(records)) == []
