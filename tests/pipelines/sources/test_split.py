"""The split is stratified, disjoint, complete, and depends on the labels alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.errors import SourceError
from pipelines.sources.split import holdout, reduced, stratified, training_and_validation
from pipelines.verification.made_images import made

IMAGES = made(np.zeros((100, 4, 4, 3), np.uint8))  # of ten classes


@given(st.lists(st.integers(0, 4), min_size=20, max_size=200))
def test_holdout_is_a_partition_that_every_class_takes_part_in(values: list[int]) -> None:
    labels = torch.tensor(values)
    training, validation = holdout(labels)
    assert torch.cat([training, validation]).sort().values.tolist() == list(range(len(values)))
    assert set(labels[training].tolist()) == set(values)
    assert set(labels[validation].tolist()) == {one for one in values if values.count(one) > 1}


@given(st.integers(1, 199))
def test_a_smaller_stratified_choice_is_part_of_a_larger_one(count: int) -> None:
    labels = torch.arange(200) % 10
    smaller, larger = stratified(labels, count), stratified(labels, count + 1)
    assert len(smaller) == count
    assert set(smaller.tolist()) < set(larger.tolist())
    counts = torch.bincount(labels[smaller], minlength=10)
    assert counts.max() - counts.min() <= 1


def test_the_speedrun_protocol_trains_on_everything_and_holds_nothing_out() -> None:
    training, validation = training_and_validation(
        IMAGES, protocol="speedrun", train_images=None, validation_images=None
    )
    assert len(training) == 100
    assert validation is None


def test_a_split_has_at_most_the_images_that_exist() -> None:
    training, validation = training_and_validation(
        IMAGES, protocol="validation", train_images=91, validation_images=50
    )
    assert validation is not None
    assert (len(training), len(validation)) == (90, 10)
    assert reduced(IMAGES, None) is IMAGES
    assert reduced(IMAGES, 1000) is IMAGES


def test_a_validation_set_of_ones_own_is_used_and_all_else_is_trained() -> None:
    own = made(np.ones((30, 4, 4, 3), np.uint8))
    training, validation = training_and_validation(
        IMAGES, own, protocol="validation", train_images=None, validation_images=20
    )
    assert validation is not None
    assert (len(training), len(validation), validation.images.min()) == (100, 20, 1)


def test_without_an_image_to_hold_out_the_reason_is_said() -> None:
    lone = IMAGES.subset(torch.arange(10))
    kinds = {"train_images": None, "validation_images": None}
    with pytest.raises(SourceError, match="each class has one training image"):
        training_and_validation(lone, protocol="validation", **kinds)
    assert len(training_and_validation(lone, protocol="speedrun", **kinds)[0]) == 10


def test_a_reduced_set_keeps_the_classes_shares() -> None:
    assert torch.bincount(reduced(IMAGES, 20).labels).tolist() == [2] * 10
