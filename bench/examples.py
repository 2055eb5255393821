"""Augmented images as the net gets them: one strip for each policy and pipeline of a group."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cell import Cell
from bench.files import StrangeFile, read_file, slug
from bench.store import Store, StoreError

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.sources.base import Images

LARGEST = 2**26  # bytes of a strip
SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"IEND\xaeB`\x82"  # the last chunk, with its sum
SHOWN = 16  # images of a strip
SIDE = 64  # pixels that an image has at least when magnified, about this when made smaller


def example_name(cell: Cell) -> str:
    """Name of the strip of a cell's policy and pipeline: "flip_crop__torchvision-workers-2"."""
    return f"{slug(cell.augmentation, keep='_')}__{slug(cell.pipeline, keep='_')}"


def keep_example(store: Store, cell: Cell, images_BCHW: "Tensor", source: "Images") -> None:
    """Writes a strip to the group's `examples/` unless its policy and pipeline have one.

    A strip that cannot be written is told on standard output and costs no run.

    Args:
        store: Of the group.
        cell: Whose policy and pipeline made the images.
        images_BCHW: As a pipeline delivers them: normalised, any floating dtype.
        source: What they were made of, for mean and standard deviation.
    """
    name = f"examples/{example_name(cell)}.png"
    if (store.folder / name).exists():
        return
    try:
        store.write_derived(name, strip_png(images_BCHW, source))
    except StoreError as error:
        print(f"no example is kept, the run goes on: {error}", flush=True)


def kept_examples(store: Store) -> dict[str, bytes]:
    """The group's strips as PNG, by name, in its order; what is no such picture is left out."""
    paths = sorted((store.folder / "examples").glob("*.png"))
    return {path.stem: png for path in paths if (png := picture(path))}


def picture(path: Path) -> bytes:
    """A PNG file's content; b"" for one that cannot be read or is something else."""
    try:
        content = read_file(path, LARGEST)
    except (OSError, StrangeFile):
        return b""
    return content if content.startswith(SIGNATURE) and content.endswith(END) else b""


def strip_png(images_BCHW: "Tensor", source: "Images") -> bytes:
    """The first images of a batch beside each other, de-normalised.

    Small images are magnified by a whole number so that every pixel stays one, large ones reduced.
    """
    import torch
    from PIL import Image

    x_BCHW = images_BCHW[:SHOWN].detach().float().cpu()
    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (source.mean, source.std))
    x_BCHW = ((x_BCHW * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    row_HWC = torch.cat(list(x_BCHW), dim=2).permute(1, 2, 0)
    pixels = row_HWC.expand(-1, -1, 3) if row_HWC.shape[2] == 1 else row_HWC
    image = Image.fromarray(pixels.contiguous().numpy())
    side = x_BCHW.shape[2]
    if side < SIDE:
        factor = SIDE // side
        image = image.resize(
            (image.width * factor, image.height * factor), Image.Resampling.NEAREST
        )
    elif side >= 2 * SIDE:
        image = image.reduce(side // SIDE)
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
