"""Conclusions: planted effects are found and stated, chance is not."""

import random
import re
from dataclasses import replace
from typing import Any

import pytest

from bench.record import Record
from bench.report.conclusions import (
    KINDS,
    Conclusion,
    Stalls,
    conclude,
    markdown,
    stall_summary,
    stall_text,
    stalls,
)
from bench.report.statistics.outcomes import outcomes_by_group
from tests.made import made_failure, made_record
from tests.made_grid import NETS, made_grid


def texts(records: list[Record], kind: str) -> list[str]:
    return [one.text for one in conclude(records) if one.kind == kind]


def about(records: list[Record], kind: str, *words: str) -> str:
    found = [text for text in texts(records, kind) if all(word in text for word in words)]
    assert len(found) == 1, (found, texts(records, kind))
    return found[0]


def planted(augmentation: str, architecture: str, epochs: int, **_: Any) -> dict[str, float | None]:
    flips = augmentation == "flip_crop"
    gain = (-0.03 if architecture == "vit" else 0.05) if flips else 0.0
    return {
        "accuracy": 0.6 + gain + (0.04 if epochs == 25 else 0),
        "images_per_s": 800.0 if flips else 1000.0,
        "time_to_accuracy_s": None if architecture == "vit" and flips else 6.0 if flips else 3.0,
    }


TRUTH = made_grid(planted, optimizer=("sgd", "adamw", "muon"), epochs=(4, 25))


def test_effects_say_what_was_planted_with_interval_and_number() -> None:
    scores = about(TRUTH, "effects", "`flip_crop` instead of `none`", "accuracy:", "F1")
    number = r"([+-]\d+\.\d\d)"
    match = re.search(
        rf"accuracy: higher, {number} points \(95 % CI {number} to {number} over 30 matched "
        r"cells\)",
        scores,
    )
    assert match
    middle, low, high = map(float, match.groups())
    assert low < middle < high
    assert low < (4 * 5 - 3) / 5 < high
    speed = about(TRUTH, "effects", "`flip_crop` instead of `none`", "images/s")
    assert "images/s: lower, 0.80\u00d7 (95 % CI 0." in speed
    assert "time to accuracy: longer, 2.0" in speed
    assert "24 matched cells in which both sides reached the target" in speed
    assert "24 of 30 runs reached it, with `none` 30 of 30; a miss counts as longer" in speed


def test_no_effect_is_claimed_where_none_was_planted() -> None:
    for level in ("adamw", "muon"):
        text = about(TRUTH, "effects", f"`{level}` instead of `sgd`", "F1")
        assert text.count("cannot tell") == 2
        assert "higher" not in text
        assert "lower" not in text
    told = about(TRUTH, "cannot tell", "average effect on accuracy")
    assert "`adamw` instead of `sgd`" in told
    assert "flip_crop" not in told


def test_false_alarms_are_as_rare_as_claimed() -> None:
    told = shown = 0
    for draw in range(60):
        records = made_grid(draw=draw, optimizer=("sgd",))
        text = about(records, "effects", "`flip_crop` instead of `none`", "F1")
        verdict = re.search(r"accuracy: (cannot tell|higher|lower), ", text)
        assert verdict
        shown += 1
        told += verdict[1] != "cannot tell"
    assert told <= 0.15 * shown  # 5 % are to be expected


@pytest.mark.parametrize("draw", range(8))
def test_no_direction_is_claimed_if_the_interval_includes_no_difference(draw: int) -> None:
    records = made_grid(
        draw=draw, augmentation=("none", "a", "b", "c"), pipeline=("dali", "kornia"),
        seeds=draw % 3 + 1, points=2.0, percent=10.0,
    )  # fmt: skip
    number = r"([+-]?\d+\.\d+)"
    pattern = (
        rf"(cannot tell|higher|lower|longer|shorter), {number}( points|\u00d7) "
        rf"\(95 % CI {number} to {number}"
    )
    found = [
        match
        for one in conclude(records)
        for match in re.findall(pattern, one.text)
        if one.kind == "effects"
    ]
    assert len(found) > 10
    for verdict, _, unit, low, high in found:
        null = 0.0 if unit == " points" else 1.0
        if float(low) < null < float(high):
            assert verdict == "cannot tell"
        if verdict != "cannot tell":
            assert float(low) >= null or float(high) <= null


def test_the_net_that_an_augmentation_hurts_is_named() -> None:
    text = about(TRUTH, "interactions", "`flip_crop`")
    assert re.search(r"lower for `vit` \(-[23]\.\d\d points", text)
    higher = text.split("lower for")[0]
    assert all(f"`{net}` (+" in higher for net in NETS if net != "vit")
    assert "Cannot tell whether" in about(TRUTH, "interactions", "`adamw`")


def test_longer_budgets_are_compared_over_cells_that_differ_only_in_epochs() -> None:
    text = about(TRUTH, "longer budgets", "`25 epochs` instead of `4 epochs`", "F1")
    assert re.search(r"accuracy: higher, \+[34]\.\d\d points.*over 30 matched cells", text)
    highest = about(TRUTH, "longer budgets", "Highest accuracy by budget")
    assert "after 4 epochs" in highest
    assert "after 25 epochs" in highest
    unmatched = texts([made_record(), made_record(epochs=9, width=0.5)], "longer budgets")
    assert len(unmatched) == 1
    assert "cannot tell, no two cells differ only in the" in unmatched[0]
    assert texts([made_record(), made_record(width=0.5)], "longer budgets") == []


def test_the_best_cell_by_each_figure() -> None:
    found = texts(TRUTH, "best")
    heads = ("accuracy", "macro F1", "images/s", "time to accuracy")
    assert [text.split(":")[0] for text in found] == [f"Best {head}" for head in heads]
    assert re.search(r"flip_crop/kornia \(25 epochs\)` with (69|70)\.\d\d % \(1 seed\)", found[0])
    assert "Too few seeds to compare it with the other 59 cells" in found[0]
    assert "6 others missed the target with at least one seed" in found[3]
    seeded = made_grid(planted, optimizer=("sgd",), seeds=5)
    best = about(seeded, "best", "Best accuracy")
    assert re.search(
        r"3 other cells are statistically tied with it: (`.*/flip_crop/kornia`(, |;)){3}", best
    )
    assert "6 are worse" in best


def test_seeds_at_hand() -> None:
    assert "No cell has 5 seeds or more (most have 1)" in "".join(texts(TRUTH, "cannot tell"))
    seeded = made_grid(planted, optimizer=("sgd",), seeds=5, points=0.5)
    least = about(seeded, "cannot tell", "varies between seeds")
    match = re.search(r"by (\d\.\d\d) points .* from (\d\.\d\d) points", least)
    assert match
    assert 0.4 < float(match[1]) < 0.6
    assert float(match[2]) == pytest.approx(2.306 * float(match[1]) * (2 / 5) ** 0.5, abs=0.02)
    every = about(seeded, "effects", "`flip_crop` instead of `none`", "in each of 5 matched cells")
    assert "higher in 4, lower in 1 (`vit/sgd/flip_crop/kornia`), cannot tell in 0." in every
    some = about(seeded, "cannot tell", "`cnn4` instead of `cnn2`", "in each of 2 matched cells")
    assert "higher in 0, lower in 0, cannot tell in 2." in some


def test_too_few_seeds_give_no_direction() -> None:
    records = made_grid(planted, architecture=("cnn2",), optimizer=("sgd",), seeds=4)
    text = about(records, "effects", "`flip_crop`")
    assert "cannot tell, too few seeds (1 matched cell; 5 matched cells or 5 seeds" in text
    assert "higher" not in text


def test_levels_without_a_matched_cell_are_named() -> None:
    records = [made_record(augmentation="none"), made_record(pipeline="dali")]
    text = about(records, "effects", "`flip_crop` instead of `none`")
    assert "cannot tell, no two cells differ only in the" in text


def test_levels_without_a_matched_cell_share_one_sentence() -> None:
    records = [
        made_record(architecture=f"net{place}", optimizer=name)
        for place, name in enumerate(("sgd", "adamw", "muon"))
    ]
    said = [text for text in texts(records, "effects") if "only in the optimizer" in text]
    assert said == [
        "`adamw`, `muon`, each instead of `sgd`: cannot tell, no two cells differ only in the "
        "optimizer."
    ]


def test_singular_and_plural() -> None:
    records = made_grid(
        lambda **_: {"time_to_accuracy_s": None}, epochs=(1, 4), architecture=("cnn2",), seeds=2
    )
    text = "\n".join(one.text for one in conclude(records))
    assert "`4 epochs` instead of `1 epoch`: cannot tell, too few seeds" in text
    assert "0 of 8 runs reached the target, with `1 epoch` 0 of 8" in text
    assert "1 to 4 epochs" in text
    alone = made_record(epochs=1, time_to_accuracy_s=0.5)
    text = "\n".join(one.text for one in conclude([alone]))
    assert "training images, 1 epoch." in text
    assert "The only run that reached the target" in text
    assert "reached it by the first evaluation" in text


def test_nothing_one_cell_and_failures_only() -> None:
    assert [one.text for one in conclude([])] == ["There are no records to draw conclusions from."]
    (best, *_) = texts([made_record()], "best")
    assert "70.00 % (1 seed). It is the only cell with this metric." in best
    assert texts([made_record()], "effects") == []
    failed = conclude([made_failure(0), made_failure(1)])
    assert failed[0].text == "None of 2 runs ended well: there is nothing to compare."
    assert any("2 crashed `it broke`" in one.text for one in failed)
    missed = texts([made_record(time_to_accuracy_s=None)], "best")
    assert "No cell reached the target of 60 % with all of its seeds." in missed


def test_a_target_that_was_reached_with_suspect_timings_only_is_not_called_missed() -> None:
    busy = {"timing_suspect": ("busy",)}
    records = [made_record(seed, record=busy, architecture=net) for net in "ab" for seed in (0, 1)]
    said = texts([*records, made_record(architecture="c", time_to_accuracy_s=None)], "best")
    assert (
        "No best time to accuracy: 2 cells reached the target of 60 % with all of their seeds, "
        "but with suspect timings." in said
    )
    one = [made_record(0, record=busy), made_record(1, record=busy, time_to_accuracy_s=None)]
    assert "No cell reached the target of 60 % with all of its seeds." in texts(one, "best")


def test_groups_are_concluded_from_apart_and_named() -> None:
    other = made_grid(lambda **_: {"accuracy": 0.9}, source="cifar10", augmentation=("flip_crop",))
    found = conclude([*made_grid(augmentation=("none",)), *other])
    assert all(one.text.startswith("AMD EPYC, 2 cores, cpu, ") for one in found)
    assert not any("`flip_crop` instead of" in one.text for one in found)


def test_the_order_of_records_changes_nothing() -> None:
    expected = conclude(TRUTH)
    shuffled = random.Random(0).sample(TRUTH, len(TRUTH))
    assert conclude(shuffled) == expected


def test_kinds_are_known_and_every_claim_has_its_pictures() -> None:
    found = conclude(TRUTH)
    assert {one.kind for one in found} == set(KINDS)
    assert all(one.figures for one in found if one.kind != "caveats")


def test_markdown_has_a_list_for_each_kind() -> None:
    text = markdown(
        [
            Conclusion(kind="best", text="Best: `a<b*c`.", figures=()),
            Conclusion(kind="caveats", text="a <b> *c*.", figures=()),
        ]
    )
    assert text == "**Best**\n\n- Best: `a<b*c`.\n\n**Caveats**\n\n- a &lt;b> \\*c\\*.\n"
    assert markdown(conclude(TRUTH)).count("\n- ") == len(conclude(TRUTH))


def test_hostile_names_stay_names() -> None:
    records = [made_record(architecture=name) for name in ("<img onerror=x>", "a`b\nc")]
    text = markdown(conclude(records))
    assert re.search(r"`[^`\n]*<img onerror=x>[^`\n]*`", text)
    assert all(line == "" or line[:2] in ("- ", "**") for line in text.split("\n"))


def of(*records: Record) -> dict[str, Stalls]:
    (outcomes,) = outcomes_by_group(records).values()
    return stalls(outcomes)


def summary(*records: Record) -> str:
    return stall_summary([stall for each in of(*records).values() for stall in each])


def waiting(percent: float, **options: object) -> Record:
    return made_record(images_per_s=2000.0 * (1 - percent / 100), **options)  # type: ignore[arg-type]


def test_stalls_of_each_pipeline() -> None:
    records = [
        waiting(5, architecture="vit"),
        waiting(20, architecture="cnn2"),
        waiting(30, architecture="cnn4"),
        waiting(60, pipeline="slow"),
        made_failure(pipeline="broken"),
        replace(waiting(90, architecture="x"), timing_suspect=("busy",)),
    ]
    found = of(*records)
    assert list(found) == ["kornia", "slow"]
    assert stall_text("kornia", found["kornia"]) == (
        "`kornia` with `cnn2`, `cnn4`, `vit`: training waited for data for 20.0 % of its time in "
        "the median of 3 cells, most in `cnn4/sgd/flip_crop/kornia` (30.0 %); 0 bound by the "
        "pipeline, 2 by both, 1 by the model (under 10 %)."
    )
    assert "60.0 % of its time in the only cell, `resnet18/sgd/flip_crop/slow`; 1 bound" in (
        stall_text("slow", found["slow"])
    )
    assert summary(*records) == (
        "1 of 4 cells is bound by the pipeline (waiting for data for 50 % of training time or "
        "more): `resnet18/sgd/flip_crop/slow`."
    )


def test_a_stall_below_zero_is_called_noise() -> None:
    text = summary(waiting(-12, architecture="vit"), waiting(5))
    assert text.startswith("0 of 2 cells are bound by the pipeline")
    assert "The lowest stall is -12.0 %: faster than the ceiling, so differences this" in text


def test_no_ceiling_no_stall() -> None:
    assert of(made_record(record={"throughput": None})) == {}
