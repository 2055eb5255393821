"""The split into training and validation images, fixed by the source and not by the seed."""

import numpy as np
import torch
from torch import Tensor

from pipelines.base import derive_seed
from pipelines.sources.base import Images, SourceError

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2  # of a source without a test set


def holdout(labels_N: Tensor, share: float = VALIDATION_SHARE) -> tuple[Tensor, Tensor]:
    """Indices (training, validation), sorted and stratified; they depend only on the labels.

    At least one image of each class is left for training. CIFAR-10: 45,000 and 5,000.
    """
    rng = np.random.Generator(np.random.PCG64(derive_seed(0, "holdout")))
    chosen = [
        rng.permutation(members)[: min(max(1, round(len(members) * share)), len(members) - 1)]
        for members in _members(labels_N)
    ]
    validation = np.sort(np.concatenate(chosen))
    training = np.setdiff1d(np.arange(len(labels_N)), validation, assume_unique=True)
    return torch.from_numpy(training), torch.from_numpy(validation)


def stratified(labels_N: Tensor, count: int) -> Tensor:
    """`count` indices, sorted and stratified; a smaller count gives a subset."""
    rng = np.random.Generator(np.random.PCG64(derive_seed(0, "stratified")))
    members = [rng.permutation(group) for group in _members(labels_N)]
    # Ranking images by their position within their class makes any prefix stratified.
    rank = np.concatenate([np.arange(len(group)) / len(group) for group in members])
    order = np.concatenate(members)[np.argsort(rank, kind="stable")]
    return torch.from_numpy(np.sort(order[:count]))


def training_and_validation(
    images: Images,
    own_validation: Images | None = None,
    *,
    protocol: str,
    train_images: int | None,
    validation_images: int | None,
    training_pixels: bool = True,
) -> tuple[Images, Images | None]:
    """The training and validation sets; no validation set with the speedrun protocol.

    Args:
        images: The source's training set.
        own_validation: The source's own validation set; None to hold a part of `images` out.
        training_pixels: The `pixels` of the training set's `Images.subset`.

    Raises:
        SourceError: No image can be held out.
    """

    def training_set(indices: Tensor) -> Images:
        chosen = _part(indices, images.labels, train_images)
        return images.subset(chosen, pixels=training_pixels)

    if protocol == "speedrun":
        return training_set(torch.arange(len(images))), None
    if own_validation is not None:
        validation_set = reduced(own_validation, validation_images)
        return training_set(torch.arange(len(images))), validation_set
    training, validation = holdout(images.labels)
    if not len(validation):
        raise SourceError(
            "no image can be held out for validation, as each class has one training image; "
            "add some, or a folder val"
        )
    validation_set = images.subset(_part(validation, images.labels, validation_images))
    return training_set(training), validation_set


def commonest(images: Images) -> tuple[str, float]:
    """The commonest class of some images, and its share of them."""
    counts = torch.bincount(images.labels)
    return images.classes[int(counts.argmax())], int(counts.max()) / len(images)


def reduced(images: Images, count: int | None) -> Images:
    """A stratified subset of `count` images; all for None or a larger count."""
    if count is None or count >= len(images):
        return images
    return images.subset(stratified(images.labels, count))


def _part(indices: Tensor, labels_N: Tensor, count: int | None) -> Tensor:
    if count is None or count >= len(indices):
        return indices
    return indices[stratified(labels_N[indices], count)]


def _members(labels_N: Tensor) -> list[np.ndarray]:
    labels = labels_N.numpy()
    return [np.flatnonzero(labels == value) for value in np.unique(labels)]
