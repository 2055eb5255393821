"""Conclusions: planted effects are found and stated, chance is not."""

import random
import re
from dataclasses import replace
from typing import Any

from bench.record import Record
from bench.report.conclusions import KINDS, conclude
from bench.report.statistics.effects import effects
from tests.made import made_failure, made_record
from tests.made_grid import made_grid


def texts(records: list[Record], kind: str) -> list[str]:
    return [one.text for one in conclude(records) if one.kind == kind]


def planted(augmentation: str, architecture: str, epochs: int, **_: Any) -> dict[str, float | None]:
    flips = augmentation == "flip_crop"
    gain = (-0.03 if architecture == "vit" else 0.05) if flips else 0.0
    return {
        "accuracy": 0.6 + gain + (0.04 if epochs == 25 else 0),
        "images_per_s": 800.0 if flips else 1000.0,
        "time_to_accuracy_s": None if architecture == "vit" and flips else 6.0 if flips else 3.0,
    }


TRUTH = made_grid(planted, optimizer=("sgd", "adamw", "muon"), epochs=(4, 25))


def test_effects_are_counted_and_untested_ones_named() -> None:
    tested, few = texts(TRUTH, "effects")
    assert tested.startswith("3 of 16 tested effects are significant (Holm's correction over all")
    assert few == (
        "Not tested, too few nets and seeds: `cnn4 instead of cnn2`, `resnet18 instead of cnn2`, "
        "`vgg11 instead of cnn2`, `vit instead of cnn2`."
    )
    records = [
        made_record(architecture=f"net{place}", optimizer=name)
        for place, name in enumerate(("sgd", "adamw", "muon"))
    ]
    assert (
        "Not tested, no cells differ only in optimizer: `adamw instead of sgd`, `muon instead of "
        "sgd`." in texts(records, "effects")
    )


def test_sentences_agree_with_the_frame() -> None:
    frame = effects(TRUTH)
    assert conclude(TRUTH, frame) == conclude(TRUTH)
    found = conclude(TRUTH, frame.assign(verdict="cannot tell"))
    assert [one.text[:22] for one in found if one.kind == "effects"] == ["0 of 16 tested effects"]


def test_the_best_cell_by_accuracy_and_time() -> None:
    accuracy, time = texts(TRUTH, "best")
    assert re.search(r"flip_crop/kornia \(25 epochs\)` with (69|70)\.\d\d % \(1 seed\)", accuracy)
    assert "59 of 59 other cells cannot be compared (fewer than 5 seeds on a side)." in accuracy
    assert time.startswith("Best time to accuracy: `")
    accuracy, time = texts(made_grid(planted, optimizer=("sgd",), seeds=5), "best")
    assert re.search(r"; statistically tied with it: (`.*/flip_crop/kornia`(, |;)){3}", accuracy)
    assert "; 6 of 9 other cells worse (Welch's test, Tamhane's correction for all" in accuracy
    missed = "; of 10 cells with trusted timings 1 missed the target with every seed (1 of all 10)"
    assert missed in time


def test_missed_targets_are_counted_over_trusted_and_over_all_cells() -> None:
    records = [
        made_record(
            architecture=f"net{net}",
            time_to_accuracy_s=None if net >= 6 else 3.0 + net,
            record={"timing_suspect": ("busy",)} if net % 2 else {},
        )
        for net in range(10)
    ]
    found = texts(records, "best")[1]
    assert "Best time to accuracy: `net0/" in found
    assert (
        "of 5 cells with trusted timings 2 missed the target with every seed (4 of all 10), which "
        "counts as worse; 5 of 9 other cells cannot be compared (fewer than 5 trusted seeds on a "
        "side)." in found
    )


def test_no_records_one_cell_and_only_failures() -> None:
    assert [one.text for one in conclude([])] == ["There are no records to draw conclusions from."]
    assert texts([made_record()], "best")[0].endswith("with 70.00 % (1 seed).")
    assert texts([made_record()], "effects") == []
    failed = conclude([made_failure(0), made_failure(1)])
    assert failed[0].text == "None of 2 runs succeeded: there is nothing to compare."
    assert any("2 crashed `it broke`" in one.text for one in failed)
    assert len(texts([made_record(time_to_accuracy_s=None)], "best")) == 1


def test_groups_are_separate_and_named() -> None:
    other = made_grid(lambda **_: {"accuracy": 0.9}, source="cifar10", augmentation=("flip_crop",))
    found = conclude([*made_grid(augmentation=("none",)), *other])
    named = [one for one in found if one.kind != "effects"]
    assert all(one.text.startswith("AMD EPYC, 2 cores, cpu, ") for one in named)
    assert not any("flip_crop instead of" in one.text for one in found)


def test_the_order_of_records_changes_nothing() -> None:
    expected = conclude(TRUTH)
    shuffled = random.Random(0).sample(TRUTH, len(TRUTH))
    assert conclude(shuffled) == expected


def test_kinds_are_known_and_the_best_cells_have_figures() -> None:
    found = conclude(TRUTH)
    assert {one.kind for one in found} == set(KINDS)
    assert all(one.figures for one in found if one.kind in ("best", "pipelines"))


def test_hostile_names_are_escaped() -> None:
    records = [made_record(architecture=name) for name in ("<img onerror=x>", "a`b\nc")]
    text = "\n".join(one.text for one in conclude(records))
    assert re.search(r"`[^`\n]*<img onerror=x>[^`\n]*`", text)
    assert "`a'b c/" in text


def waiting(percent: float, **options: object) -> Record:
    return made_record(images_per_s=2000.0 * (1 - percent / 100), **options)  # type: ignore[arg-type]


def test_cells_that_wait_for_data() -> None:
    records = [
        waiting(5, architecture="vit"),
        waiting(60, pipeline="slow"),
        made_failure(pipeline="broken"),
        replace(waiting(90, architecture="x"), timing_suspect=("busy",)),
    ]
    assert texts(records, "pipelines") == [
        "1 of 2 cells with trusted timings waited for data for 50 % of the training time or more: "
        "`resnet18/sgd/flip_crop/slow`."
    ]
    below = texts([waiting(-12, architecture="vit"), waiting(5)], "pipelines")[0]
    assert below.endswith("The lowest stall is -12.0 %, so differences this small are noise.")
    assert texts([made_record(record={"throughput": None})], "pipelines") == []
