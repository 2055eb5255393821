"""Photographs, and the kinds of files that people keep them in.

They are crops of those that scikit-image and scikit-learn ship.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines import building
from pipelines.augmentations import Augmentation
from pipelines.sources.base import Images
from pipelines.sources.decode import read_image
from pipelines.verification.made_images import CLASSES, MEAN, STD, pixels

PHOTOGRAPHS = {
    "astronaut": "skimage/data/astronaut.png",
    "coffee": "skimage/data/coffee.png",
    "flower": "sklearn/datasets/images/flower.jpg",
}
SIDE = 256  # pixels of the shorter side of most files
Pixels = NDArray[np.float32]
ORIENTATION = 0x112  # EXIF's tag


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a photograph is written.

    Args:
        size: Width and height in pixels.
        mode: Pillow's mode.
        save: Options of `Image.save`.
        turned: EXIF's orientation.
        edit: Applied to the file's bytes.
    """

    form: str = "JPEG"
    size: tuple[int, int] = (3 * SIDE // 2, SIDE)
    mode: str = "RGB"
    save: Mapping[str, Any] = field(default_factory=dict)
    turned: int = 1
    edit: Callable[[bytes], bytes] = bytes


def without_adobe_marker(data: bytes) -> bytes:
    """A CMYK JPEG without the segment that says who inverted it."""
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]


def as_ycck(data: bytes) -> bytes:
    """Says of a JPEG of four channels that they are YCCK, as Photoshop writes CMYK."""
    return data.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2")


KINDS: Mapping[str, Kind] = {
    "JPEG 4:2:0": Kind(save={"subsampling": "4:2:0"}),
    "JPEG 4:2:2": Kind(save={"subsampling": "4:2:2"}),
    "JPEG 4:4:4": Kind(save={"subsampling": "4:4:4"}),
    "JPEG, quality 30": Kind(save={"quality": 30}),
    "JPEG, progressive": Kind(save={"progressive": True}),
    "JPEG, restart markers": Kind(save={"restart_marker_rows": 1}),
    "JPEG, grey": Kind(mode="L"),
    "JPEG, CMYK": Kind(mode="CMYK"),
    "JPEG, CMYK without Adobe's marker": Kind(mode="CMYK", edit=without_adobe_marker),
    "JPEG, YCCK": Kind(mode="YCCK", edit=as_ycck),
    **{f"JPEG, EXIF orientation {turned}": Kind(turned=turned) for turned in range(2, 9)},
    "JPEG, 32x32": Kind(size=(32, 32)),
    "JPEG, 47x33": Kind(size=(47, 33)),
    "JPEG, 255x511": Kind(size=(255, 511)),
    "JPEG, 2000x1333": Kind(size=(2000, 1333)),
    "PNG": Kind(form="PNG"),
    "PNG, alpha": Kind(form="PNG", mode="RGBA"),
    "PNG, grey and alpha": Kind(form="PNG", mode="LA"),
    "PNG, palette": Kind(form="PNG", mode="P"),
    "PNG, transparent palette": Kind(form="PNG", mode="P", save={"transparency": 0}),
    "PNG, 1 bit": Kind(form="PNG", mode="1"),
    "PNG, 16-bit grey": Kind(form="PNG", mode="I;16"),
    "WebP": Kind(form="WEBP"),
    "WebP, lossless with alpha": Kind(form="WEBP", mode="RGBA", save={"lossless": True}),
    "BMP": Kind(form="BMP"),
    "TIFF": Kind(form="TIFF"),
    "GIF": Kind(form="GIF", mode="P"),
}


@cache
def photograph(name: str) -> Image.Image:
    """A whole photograph."""
    package, _, path = PHOTOGRAPHS[name].partition("/")
    spec = find_spec(package)  # not imported, as that takes a second
    assert spec is not None
    assert spec.origin is not None
    image = Image.open(Path(spec.origin).parent / path).convert("RGB")
    return Image.fromarray(np.asarray(image))  # without its colour profile


def crop(name: str, size: tuple[int, int]) -> Image.Image:
    """A central crop of that size, enlarged if the photograph is smaller."""
    image, (width, height) = photograph(name), size
    factor = max(width / image.width, height / image.height)
    if factor > 1:
        image = image.resize((math.ceil(image.width * factor), math.ceil(image.height * factor)))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """An RGB image in another mode, with an alpha channel that is not constant."""
    if mode == "YCCK":
        bands = image.convert("YCbCr").point(lambda value: 255 - value).split()
        return Image.merge("CMYK", (*bands, image.convert("L").point(lambda value: value // 4)))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 251)
    if mode == "P":
        return image.quantize(200)
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(image.convert("L").transpose(Image.Transpose.ROTATE_180))
        return image
    return image.convert(mode)


def write(path: Path, name: str, kind: Kind) -> Path:
    """Writes a photograph as a file of that kind."""
    exif = Image.Exif()
    exif[ORIENTATION] = kind.turned
    stream = io.BytesIO()
    image = in_mode(crop(name, kind.size), kind.mode)
    image.save(stream, kind.form, **({"exif": exif} if kind.turned > 1 else {}), **kind.save)
    path.write_bytes(kind.edit(stream.getvalue()))
    return path


def images_of(files: Sequence[Path], size: int) -> Images:
    """A source with these files, and what Pillow makes of them."""
    return Images(
        images=torch.from_numpy(np.stack([read_image(path, size) for path in files])),
        labels=torch.arange(len(files)) % len(CLASSES),
        classes=CLASSES,
        mean=MEAN,
        std=STD,
        files=tuple(files),
    )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Levels of 255 between a pipeline's images and `read_image`'s.

    Args:
        inside: The largest, without the outermost rows and columns of pixels.
        border: The largest in these.
        mean: The mean of all pixels.
        why: The reason in a few words, if it is expected.
    """

    inside: float = 1.0
    border: float = 1.0
    mean: float = 1.0
    why: str = ""


TORCH_RESIZE = {"": Difference(border=2, mean=0.01, why="torch's weights are less precise")}
# What is expected of a library for all kinds ("") and for some; None if it refuses them.
EXPECTED: Mapping[str, Mapping[str, Difference | None]] = {
    "native": TORCH_RESIZE,
    "kornia": TORCH_RESIZE,
    "torchvision_batch": TORCH_RESIZE,
    "grain": TORCH_RESIZE,
    "albumentations": TORCH_RESIZE,
    "turboloader": {
        "": Difference(inside=6, border=5, mean=1.0, why="a faster, coarser inverse DCT")
    },
    "dali": {
        "": Difference(border=14, mean=0.2, why="the filter repeats the outermost pixels"),
        "GIF": None,
        "JPEG, CMYK without Adobe's marker": Difference(
            inside=255, border=255, mean=115, why="taken as not inverted"
        ),
        "JPEG, YCCK": Difference(inside=2, border=2, mean=0.6, why="rounds to RGB otherwise"),
        "PNG, 16-bit grey": Difference(
            inside=2, border=3, mean=0.5, why="rounds to 8 bits, where Pillow cuts"
        ),
    },
    "spdl": {
        "": Difference(inside=36, border=29, mean=1.8, why="FFmpeg's colours, coarser in 4:2:0")
    },
}


def expected(variant: str, kind: str) -> Difference | None:
    """What a pipeline is expected to make of a kind of files; None if it refuses them."""
    of_library = EXPECTED.get(building.parse(variant).library.name, {})
    return of_library.get(kind, of_library.get("", Difference()))


def decoding_variants() -> list[str]:
    """Every pipeline that decodes files and can be used here, without worker processes."""
    libraries = [each for each in building.catalog.entries.values() if each.decodes]
    alone = {each.name: ["workers=0"] for each in libraries if "workers" in each.options}
    names = {each.name for each in libraries}
    variants = [building.parse(spelling) for spelling in building.variants(alone)]
    return [
        variant.name
        for variant in variants
        if variant.library.name in names
        and variant.mode != "compiled"
        and not variant.library.problem(variant.mode, "cpu")
    ]


def files_of(folder: Path, kind: str) -> list[Path]:
    """Each photograph as a file of that kind."""
    stem = f"{list(KINDS).index(kind):02d}"
    return [
        write(folder / f"{stem}-{name}.{KINDS[kind].form.lower()}", name, KINDS[kind])
        for name in PHOTOGRAPHS
    ]


def delivered(variant: str, images: Images) -> Pixels:
    """What a pipeline makes of the files, 0 to 255, in the source's order."""
    nothing = Augmentation(ops=())
    blank = replace(images, images=torch.zeros_like(images.images))  # what is read is the files
    size = len(images.files) // len(PHOTOGRAPHS)
    with building.build(variant, blank, nothing, batch_size=size) as pipeline:
        found = np.concatenate([pixels(x_BCHW) for x_BCHW, _ in pipeline.epoch(0)])
        order = pipeline.permutation(0).flatten().numpy()
    return found[np.argsort(order)]


def differences(variant: str, images: Mapping[str, Images]) -> dict[str, Difference]:
    """How far a pipeline's images are from Pillow's, for each kind that it doesn't refuse."""
    kinds = [kind for kind in images if expected(variant, kind) is not None]
    every = replace(
        images[kinds[0]],
        images=torch.cat([images[kind].images for kind in kinds]),
        labels=torch.cat([images[kind].labels for kind in kinds]),
        files=tuple(path for kind in kinds for path in images[kind].files),
    )
    levels = np.abs(delivered(variant, every) - every.images.numpy())
    found = {}
    for kind, levels_BHWC in zip(kinds, np.split(levels, len(kinds)), strict=True):
        inside_BHWC = levels_BHWC[:, 1:-1, 1:-1]
        border = max(levels_BHWC[:, [0, -1]].max(), levels_BHWC[:, :, [0, -1]].max())
        found[kind] = Difference(
            inside=float(inside_BHWC.max()), border=float(border), mean=float(levels_BHWC.mean())
        )
    return found
