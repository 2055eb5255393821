"""From a spelling to a pipeline: parsing, the one canonical name, and what is refused."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Batch, Library, Pipeline, Request, Unsupported
from pipelines.catalog import Unavailable, UnknownName
from pipelines.ops import Cutout, HorizontalFlip
from pipelines.sources.base import Images
from pipelines.verification.made_images import made


class Plain(Pipeline):
    def __init__(self, request: Request) -> None:
        super().__init__(request, MADE.semantics(request.augmentation))

    def epoch(self, index: int) -> Iterator[Batch]:
        yield from ()


MADE = Library(
    name="made",
    why="a test",
    build=Plain,
    ops={HorizontalFlip: "per batch"},
    modes=("eager", "compiled"),
    options={"workers": 2, "ahead": 3, "threads": 0},
    problem=lambda mode, device: "no compiler here" if mode == "compiled" else "",
)
BARE = Library(name="bare", why="a test", build=Plain, ops={})


class Shelf:
    def get(self, name: str) -> Library:
        found = {"made": MADE, "bare": BARE}.get(name)
        if found is None:
            raise UnknownName(f"unknown pipeline {name!r}")
        return found


@pytest.fixture(autouse=True)
def _two_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "catalog", Shelf())


def images(count: int = 10) -> Images:
    return made(np.zeros((count, 4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("bare", "bare"),
        ("bare[]", "bare"),
        ("made[eager]", "made[ahead=3,workers=2]"),
        ("made[compiled]", "made[compiled,ahead=3,workers=2]"),
        ("made[workers=7,compiled]", "made[compiled,ahead=3,workers=7]"),
        ("made[ workers=07 , ahead=0 ]", "made[ahead=0,workers=7]"),
        ("made[threads=0]", "made[ahead=3,workers=2]"),
        ("made[threads=6]", "made[ahead=3,threads=6,workers=2]"),
    ],
)
def test_every_spelling_has_one_canonical_name(spelling: str, name: str) -> None:
    assert building.canonical_name(spelling) == name
    assert building.canonical_name(name) == name


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("made[", "pipeline 'made[' is not spelled NAME or NAME[mode,option=number]"),
        ("made[eager][eager]", "is not spelled NAME"),
        (
            "made[compile]",
            "did you mean compiled? known are eager, compiled, workers, ahead",
        ),
        ("made[compiled=1]", "unknown option of made 'compiled'"),
        ("bare[eager]", "unknown option of bare 'eager'"),
        ("made[workers=two]", "in 'made[workers=two]', workers needs a whole number, as in"),
        ("made[workers=-1]", "workers needs a whole number"),
        ("made[workers]", "workers needs a whole number"),
    ],
)
def test_a_wrong_spelling_is_one_sentence(spelling: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        building.parse(spelling)


@given(st.text(alphabet="made[],= 3compilworks", max_size=25))
def test_any_text_is_parsed_or_refused(spelling: str) -> None:
    try:
        name = building.canonical_name(spelling)
    except (ValueError, UnknownName):
        return
    assert building.canonical_name(name) == name


def test_build_passes_every_argument_to_the_library() -> None:
    policy = Augmentation(ops=[HorizontalFlip(p=1.0)])
    pipeline = building.build(
        "made[workers=5]",
        images(),
        policy,
        batch_size=3,
        device="cpu",
        dtype=torch.bfloat16,
        memory_format=torch.contiguous_format,
        seed=7,
    )
    request = pipeline.request
    assert isinstance(pipeline, Plain)
    assert (request.mode, request.options) == ("eager", {"workers": 5, "ahead": 3, "threads": 0})
    assert (request.batch_size, request.dtype, request.seed) == (3, torch.bfloat16, 7)
    assert request.memory_format == torch.contiguous_format
    assert request.device == torch.device("cpu")
    assert request.augmentation is policy
    assert pipeline.steps_per_epoch == 3
    assert pipeline.semantics.draws == {"HorizontalFlip": "per batch"}
    assert not pipeline.semantics.per_sample


def test_an_op_that_a_library_lacks_is_named() -> None:
    with pytest.raises(Unsupported, match=r"^made has no Cutout$"):
        building.build("made", images(), Augmentation(ops=[Cutout()]), batch_size=2)


def test_a_variant_that_cannot_run_here_says_why() -> None:
    with pytest.raises(Unavailable, match="no compiler here"):
        building.build("made[compiled]", images(), "none", batch_size=2)


@pytest.mark.parametrize(("batch_size", "message"), [(0, "at least 1"), (11, "set of 10 images")])
def test_a_batch_that_cannot_be_filled_is_refused(batch_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        building.build("made", images(), "none", batch_size=batch_size)


def test_the_order_is_ours_and_depends_on_seed_and_epoch_alone() -> None:
    one, other = (
        building.build(name, images(), "none", batch_size=3, seed=1) for name in ("made", "bare")
    )
    assert torch.equal(one.permutation(0), other.permutation(0))
    assert not torch.equal(one.permutation(0), one.permutation(1))
    seed2 = Plain(replace(one.request, seed=2))
    assert not torch.equal(one.permutation(0), seed2.permutation(0))
    used = one.permutation(5).flatten().tolist()
    assert len(used) == len(set(used)) == 9


def test_a_pipeline_is_closed_by_its_with_block(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(Plain, "close", lambda pipeline: closed.append(pipeline))
    with building.build("made", images(), "none", batch_size=2) as pipeline:
        assert closed == []
    assert closed == [pipeline]
