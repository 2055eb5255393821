"""Records: what their types refuse, and what follows from a curve and a confusion matrix."""

from dataclasses import replace

import pytest

from bench.record import accuracy, class_scores, macro_average, time_to_accuracy_s
from tests.made import made_curve, made_failure, made_record

# Rows: true classes. The third class has neither images nor predictions.
CONFUSION = ((40, 10, 0), (5, 45, 0), (0, 0, 0))


def test_scores_of_classes_are_as_worked_out_by_hand() -> None:
    cat, dog, nothing = class_scores(CONFUSION)
    assert (cat.precision, cat.recall, cat.f1) == (40 / 45, 0.8, 80 / 95)
    assert (dog.precision, dog.recall, dog.f1) == (45 / 55, 0.9, 90 / 105)
    assert (nothing.precision, nothing.recall, nothing.f1) == (0.0, 0.0, 0.0)
    assert (cat.support, dog.support, nothing.support) == (50, 50, 0)


def test_an_average_leaves_out_classes_without_images_and_predictions() -> None:
    classes = class_scores(CONFUSION)
    assert macro_average("recall", classes) == pytest.approx(0.85)
    assert macro_average("f1", classes[2:]) == 0.0
    assert accuracy(classes) == 0.85
    assert accuracy([]) == 0.0


def test_a_class_that_was_never_predicted_counts_as_0() -> None:
    assert macro_average("precision", class_scores(((0, 10), (0, 10)))) == 0.25


def test_a_target_is_reached_at_the_first_point_that_has_it() -> None:
    curve = made_curve(4, 100, 0.8)  # 0.2, 0.4, 0.6, 0.8, one second each
    assert time_to_accuracy_s(curve, 0.5) == 3.0
    assert time_to_accuracy_s(curve, 0.9) is None
    held_nothing_out = [replace(point, validation_accuracy=None) for point in curve]
    assert time_to_accuracy_s(held_nothing_out, 0.1) is None


def test_a_worker_ends_after_a_failure_and_after_a_failed_capture() -> None:
    assert not made_record().ends_worker
    assert made_failure().ends_worker
    stepping = "launched one operation at a time: a CUDA graph of it failed (no memory)"
    assert made_record(record={"stepping": stepping}).ends_worker


def test_a_record_knows_its_run() -> None:
    record = made_record(3)
    assert record.run.id == record.run_id
    assert record.name == f"{record.cell.name}/seed3"
