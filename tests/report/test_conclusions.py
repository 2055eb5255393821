"""Conclusions: planted effects are found and stated, chance is not."""

import random
import re
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from bench.record import Record
from bench.report.conclusions import KINDS, conclude
from bench.report.statistics.effects import effects
from tests.made import made_failure, made_record
from tests.made_grid import made_grid


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


def test_planted_effects_are_reported_with_interval_and_counts() -> None:
    text = about(TRUTH, "effects", "`flip_crop` instead of `none`")
    assert re.search(
        r"images/s lower, 0\.(79|80|81)\u00d7 \(95 % CI 0\.\d+ to 0\.\d+\u00d7, 5 nets, 30 "
        r"matched cells\)",
        text,
    )
    assert "accuracy" not in text.split("images/s")[0]  # one net of five is hurt
    longer = about(TRUTH, "effects", "`25 epochs` instead of `4 epochs`")
    number = r"([+-]\d+\.\d\d)"
    match = re.search(
        rf"accuracy higher, {number} points \(95 % CI {number} to {number} points, 5 nets", longer
    )
    assert match
    middle, low, high = map(float, match.groups())
    assert low < middle < high
    assert low < 4 < high
    assert "Holm's correction over the" in texts(TRUTH, "caveats")[-1]


def test_missed_targets_are_reported() -> None:
    records = made_grid(
        lambda augmentation, **_: {"time_to_accuracy_s": 3.0 if augmentation == "none" else None},
        architecture=("cnn2",), optimizer=("sgd",), seeds=5,
    )  # fmt: skip
    assert "time to accuracy longer (5 seeds, 1 matched cell; 0 of 5 runs reached the target, " in (
        about(records, "effects", "`flip_crop` instead of `none`")
    )


def test_no_effect_is_claimed_where_none_was_planted() -> None:
    text = " ".join(texts(TRUTH, "effects"))
    unknown = about(TRUTH, "cannot tell", "cannot tell for `adamw`")
    for level in ("adamw", "muon"):
        assert f"`{level}` instead" not in text
        assert f"`{level}` instead of `sgd`" in unknown
    assert unknown.startswith("Accuracy, macro F1, images/s, time to accuracy: cannot tell for")
    assert "flip_crop" not in unknown


def test_sentences_agree_with_the_frame() -> None:
    frame = effects(TRUTH)
    assert conclude(TRUTH, frame) == conclude(TRUTH)
    frame = frame.assign(verdict="cannot tell")
    assert not [one for one in conclude(TRUTH, frame) if one.kind == "effects"]


def test_the_best_cell_by_each_metric() -> None:
    found = texts(TRUTH, "best")
    heads = ("accuracy", "macro F1", "images/s", "time to accuracy")
    assert [text.split(":")[0] for text in found] == [f"Best {head}" for head in heads]
    assert re.search(r"flip_crop/kornia \(25 epochs\)` with (69|70)\.\d\d % \(1 seed\)", found[0])
    assert "Too few seeds to compare it with the other cells" in found[0]
    seeded = made_grid(planted, optimizer=("sgd",), seeds=5)
    best = about(seeded, "best", "Best accuracy")
    assert re.search(
        r"3 other cells are statistically tied with it: (`.*/flip_crop/kornia`(, |;)){3}", best
    )
    assert "6 are worse (Welch's test, Tamhane's correction for all pairs)" in best
    soonest = about(seeded, "best", "Best time to accuracy")
    assert "1 of 9 other cells missed the target with every seed, which counts as worse" in soonest


def test_missed_targets_are_counted_over_all_cells_whatever_their_timings() -> None:
    records = [
        made_record(
            architecture=f"net{net}",
            time_to_accuracy_s=None if net >= 6 else 3.0 + net,
            record={"timing_suspect": ("busy",)} if net % 2 else {},
        )
        for net in range(10)
    ]
    found = about(records, "best", "Best time to accuracy")
    assert "`net0/" in found
    assert "4 of 9 other cells missed the target with every seed" in found
    assert "too few seeds with trusted timings to compare it with 5 of 9 others" in found


def test_variation_between_seeds() -> None:
    assert "No cell has 5 seeds or more" in "".join(texts(TRUTH, "cannot tell"))
    seeded = made_grid(planted, optimizer=("sgd",), seeds=5, points=0.5)
    least = about(seeded, "cannot tell", "varies between seeds")
    match = re.search(
        r"by (\d\.\d\d) points .*; with 5 seeds, .* best of 10 cells are .* from (\d\.\d\d) points",
        least,
    )
    assert match
    assert 0.4 < float(match[1]) < 0.6
    quantile = float(stats.t.isf((1 - 0.95 ** (1 / 45)) / 2, 8))
    assert float(match[2]) == pytest.approx(quantile * float(match[1]) * 0.4**0.5, abs=0.03)


def test_too_few_seeds_give_no_direction() -> None:
    records = made_grid(planted, architecture=("cnn2",), optimizer=("sgd",), seeds=4)
    assert texts(records, "effects") == []
    text = about(records, "cannot tell", "too few seeds for")
    assert text.endswith("too few seeds for `flip_crop` instead of `none`.")


def test_levels_without_a_matched_cell_share_one_sentence() -> None:
    records = [
        made_record(architecture=f"net{place}", optimizer=name)
        for place, name in enumerate(("sgd", "adamw", "muon"))
    ]
    assert about(records, "cannot tell", "only in optimizer") == (
        "Accuracy: no two cells differ only in optimizer for `adamw` instead of `sgd`, `muon` "
        "instead of `sgd`."
    )


def test_no_records_one_cell_and_only_failures() -> None:
    assert [one.text for one in conclude([])] == ["There are no records to draw conclusions from."]
    (best, *_) = texts([made_record()], "best")
    assert "70.00 % (1 seed). It is the only cell with this metric." in best
    assert texts([made_record()], "effects") == []
    failed = conclude([made_failure(0), made_failure(1)])
    assert failed[0].text == "None of 2 runs succeeded: there is nothing to compare."
    assert any("2 crashed `it broke`" in one.text for one in failed)
    missed = texts([made_record(time_to_accuracy_s=None)], "best")
    assert "No cell reached the target of 60 % with every seed." in missed


def test_a_target_reached_only_with_suspect_timings_is_not_missed() -> None:
    busy = {"timing_suspect": ("busy",)}
    records = [made_record(seed, record=busy, architecture=net) for net in "ab" for seed in (0, 1)]
    found = texts([*records, made_record(architecture="c", time_to_accuracy_s=None)], "best")
    text = "2 cells reached the target of 60 % with every seed, but with suspect timings."
    assert text in found
    one = [made_record(0, record=busy), made_record(1, record=busy, time_to_accuracy_s=None)]
    assert "No cell reached the target of 60 % with every seed." in texts(one, "best")


def test_groups_are_separate_and_named() -> None:
    other = made_grid(lambda **_: {"accuracy": 0.9}, source="cifar10", augmentation=("flip_crop",))
    found = conclude([*made_grid(augmentation=("none",)), *other])
    assert all(one.text.startswith("AMD EPYC, 2 cores, cpu, ") for one in found[:-1])
    assert not any("`flip_crop` instead of" in one.text for one in found)


def test_the_order_of_records_changes_nothing() -> None:
    expected = conclude(TRUTH)
    shuffled = random.Random(0).sample(TRUTH, len(TRUTH))
    assert conclude(shuffled) == expected


def test_kinds_are_known_and_every_claim_has_existing_figures() -> None:
    found = conclude(TRUTH)
    assert {one.kind for one in found} == set(KINDS)
    assert all(one.figures for one in found if one.kind != "caveats")


def test_hostile_names_are_escaped() -> None:
    records = [made_record(architecture=name) for name in ("<img onerror=x>", "a`b\nc")]
    text = "\n".join(one.text for one in conclude(records))
    assert re.search(r"`[^`\n]*<img onerror=x>[^`\n]*`", text)
    assert "`a'b c/" in text


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
    assert texts(records, "pipelines") == [
        "1 of 4 cells limited by the pipeline: waiting for data for 50 % of training time or more "
        "(`resnet18/sgd/flip_crop/slow`).",
        "`kornia`: training waited for data for 20.0 % of its time (median of 3 cells), most in "
        "`cnn4/sgd/flip_crop/kornia` (30.0 %); 2 waited for 10 % or more.",
        "`slow`: training waited for data for 60.0 % of its time (median of 1 cell), most in "
        "`resnet18/sgd/flip_crop/slow` (60.0 %); 1 waited for 10 % or more.",
    ]


def test_a_stall_below_zero_is_called_noise() -> None:
    text = texts([waiting(-12, architecture="vit"), waiting(5)], "pipelines")[0]
    assert text.startswith("0 of 2 cells limited by the pipeline")
    assert "The lowest stall is -12.0 %: faster than the ceiling, so differences this" in text


def test_no_ceiling_no_stall() -> None:
    assert texts([made_record(record={"throughput": None})], "pipelines") == []
