"""Pipelines that decode files deliver photographs as Pillow does, to 1 of 255 or as declared."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.base import Unsupported
from pipelines.sources.base import Images, SourceError
from tests.benchmarks import decoded_pixels
from tests.benchmarks.table import REFERENCE
from tests.pipelines.photographs import (
    EXPECTED,
    KINDS,
    SIDE,
    decoding_variants,
    differences,
    expected,
    files_of,
    images_of,
)

SIZES = (224, pytest.param(SIDE, marks=pytest.mark.slow))  # pixels; most files have SIDE
ROUNDING = 0.01  # of levels that were normalised


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Path]]:
    folder = tmp_path_factory.mktemp("photographs")
    return {kind: files_of(folder, kind) for kind in KINDS}


@pytest.fixture(scope="module", params=SIZES)
def images(files: Mapping[str, list[Path]], request: pytest.FixtureRequest) -> Mapping[str, Images]:
    return {kind: images_of(paths, request.param) for kind, paths in files.items()}


@pytest.mark.parametrize("variant", [*decoding_variants(), "torchvision[workers=2]"])
def test_photographs_are_decoded_as_pillow_does(variant: str, images: Mapping[str, Images]) -> None:
    for kind, found in differences(variant, images).items():
        limit = expected(variant, kind)
        assert limit is not None
        assert found.inside < limit.inside + ROUNDING, kind
        resized = images[kind].image_size[0] != min(KINDS[kind].size)
        assert found.border < (limit.border if resized else limit.inside) + ROUNDING, kind
        assert found.mean < limit.mean, kind


DECLARED = [
    (variant, kind)
    for variant in decoding_variants()
    for kind in EXPECTED.get(building.parse(variant).library.name, {})
    if kind
]


@pytest.mark.parametrize(("variant", "kind"), DECLARED)
def test_declared_differences_are_real(
    variant: str, kind: str, files: Mapping[str, list[Path]]
) -> None:
    images = images_of(files[kind], 224)
    if expected(variant, kind) is None:
        with pytest.raises((Unsupported, SourceError), match=files[kind][0].name):
            building.build(variant, images, Augmentation(ops=()), batch_size=1)
    else:
        assert differences(variant, {kind: images})[kind].inside > 1 + ROUNDING


def test_the_committed_table_has_every_kind_and_pipeline() -> None:
    page = (REFERENCE / decoded_pixels.NAME).read_text()
    assert page.endswith("\n".join(["## Reasons", "", *decoded_pixels.reasons(), ""]))
    assert [line.split(" | ")[0] for line in page.splitlines() if " | " in line] == [
        f"| {head}" for head in ("file", "---", *KINDS)
    ] * len(decoded_pixels.SIZES)
    columns = next(line for line in page.splitlines() if line.startswith("| file"))
    assert set(decoding_variants()) <= set(columns.strip("| ").split(" | "))
