"""What to know about a source before anything is trained on it."""

from collections.abc import Iterator, Sequence

import torch

from pipelines.sources.base import Data, Images
from pipelines.sources.errors import listed
from pipelines.sources.split import TEST_SHARE


def notices(data: Data) -> Iterator[str]:
    """Sentences about small classes, sets that are split or used twice, and files left out."""
    name, counts = data.name, class_sizes(data.train)
    if name.endswith("test=20%]"):
        yield (
            f"{name} has no test set: {TEST_SHARE:.0%} of the images of each class are held back "
            "as one, always the same."
        )
    if name.endswith("test=val]"):
        yield f"{name} has no test set: its validation set is used as the test set too."
    if none := [label for label, number in counts.items() if not number]:
        yield f"In {name}, {_have(none)} no training image."
    if one := [label for label, number in counts.items() if number == 1]:
        use = "" if data.validation is not None else ", which is trained on and never validated"
        yield f"In {name}, {_have(one)} one training image{use}."
    for images, which in ((data.validation, "validation"), (data.test, "test")):
        sizes = counts if images is None else class_sizes(images)
        if none := [label for label, number in sizes.items() if not number and counts[label]]:
            yield f"In {name}, {_have(none)} no {which} image."
    if data.bad:
        files = listed([f"{file.path} ({file.reason})" for file in data.bad])
        yield f"Left out of {name}, as unreadable: {_count(data.bad)} ({files})."
    if data.skipped:
        files = listed(data.skipped)
        yield f"Skipped in {name}, as not images of a class: {_count(data.skipped)} ({files})."


def class_sizes(images: Images) -> dict[str, int]:
    """The number of images of each class."""
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    return dict(zip(images.classes, counts, strict=True))


def _count(files: Sequence[object]) -> str:
    return f"{len(files):,} {'entry' if len(files) == 1 else 'entries'}"


def _have(classes: Sequence[str]) -> str:
    if len(classes) == 1:
        return f"the class {classes[0]!r} has"
    return f"{len(classes):,} classes ({listed(classes)}) have"
