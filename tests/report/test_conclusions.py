"""Conclusions: planted effects are found and stated, chance is not."""

import re
from typing import Any

from bench.report.conclusions import conclude
from bench.report.statistics.effects import effects
from tests.made import made_failure, made_record
from tests.made_grid import made_grid


def planted(augmentation: str, architecture: str, epochs: int, **_: Any) -> dict[str, float | None]:
    flips = augmentation == "flip_crop"
    gain = (-0.03 if architecture == "vit" else 0.05) if flips else 0.0
    return {
        "accuracy": 0.6 + gain + (0.04 if epochs == 25 else 0),
        "images_per_s": 800.0 if flips else 1000.0,
        "time_to_accuracy_s": None if architecture == "vit" and flips else 6.0 if flips else 3.0,
    }


TRUTH = made_grid(planted, optimizer=("sgd", "adamw", "muon"), epochs=(4, 25))


def test_significant_effects_are_counted() -> None:
    (tested,) = conclude(TRUTH)["Effects"]
    assert tested.startswith("3 of 16 tested effects are significant (Holm's correction over all")
    frame = effects(TRUTH)
    assert conclude(TRUTH, frame) == conclude(TRUTH)
    (text,) = conclude(TRUTH, frame.assign(verdict="cannot tell"))["Effects"]
    assert text.startswith("0 of 16 tested effects")


def test_the_best_cell_by_accuracy_and_time() -> None:
    accuracy, time = conclude(TRUTH)["Best cells"]
    assert re.search(r"flip_crop/kornia \(25 epochs\)` with (69|70)\.\d\d % \(1 seed\)", accuracy)
    assert "59 cells cannot be compared (not 5 good seeds on both sides)." in accuracy
    assert time.startswith("Best time to accuracy: `")
    seeded = made_grid(planted, optimizer=("sgd",), seeds=5)
    accuracy, time = conclude(seeded)["Best cells"]
    assert re.search(r"; statistically tied with it: (`.*/flip_crop/kornia`(, |;)){3}", accuracy)
    assert "; 6 of 9 cells worse (Welch's test, Tamhane's correction for all" in accuracy
    assert "; 1 cell missed the target with every seed, which counts as worse" in time


def test_missed_targets_are_counted() -> None:
    records = [
        made_record(
            architecture=f"net{net}",
            time_to_accuracy_s=None if net >= 6 else 3.0 + net,
            record={"timing_suspect": ("busy",)} if net % 2 else {},
        )
        for net in range(10)
    ]
    found = conclude(records)["Best cells"][1]
    assert re.match(r"Best time to accuracy: `net0/\S+` with 3\.00 s ", found)
    assert (
        "; 4 cells missed the target with every seed, which counts as worse; 5 cells cannot be "
        "compared (not 5 good and trusted seeds on both sides)." in found
    )


def test_no_records_one_cell_and_only_failures() -> None:
    assert conclude([]) == {}
    found = conclude([made_record()])
    assert found["Best cells"][0].endswith("with 70.00 % (1 seed).")
    assert "Effects" not in found
    failed = conclude([made_failure(0), made_failure(1)])
    assert [*failed] == ["Caveats"]
    assert any("2 crashed `it broke`" in text for text in failed["Caveats"])
    assert len(conclude([made_record(time_to_accuracy_s=None)])["Best cells"]) == 1


def test_groups_are_separate_and_named_and_hostile_names_escaped() -> None:
    other = made_grid(lambda **_: {"accuracy": 0.9}, source="cifar10", augmentation=("flip_crop",))
    found = conclude([*made_grid(augmentation=("none",)), *other])
    texts = found["Best cells"] + found["Caveats"]
    assert all(text.startswith("AMD EPYC, 2 cores, cpu, ") for text in texts)
    names = ("<img onerror=x>", "a`b\nc")
    records = [made_record(seed, architecture=name) for name in names for seed in range(5)]
    text = "\n".join(conclude(records)["Best cells"])
    assert re.search(r"`[^`\n]*<img onerror=x>[^`\n]*`", text)
    assert "`a'b c/" in text
