"""What a run leaves beside its record, and how it goes with the record from folder to folder.

That of its present record lies in the group's own folders, that of an earlier record in the
same folders below `records/.attempts/<run_id>.<attempt>/`: a newer one does not replace it.

Augmented images as the net gets them: one strip for each policy and pipeline of a group.
"""

import stat
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cell import Cell
from bench.record import Record
from bench.store.files import (
    OURS,
    StoreError,
    StrangeFile,
    explained,
    read_file,
    settle,
    slug,
    write_atomically,
)
from bench.store.store import Store

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.sources.base import Images

KINDS = ("predictions", "logs", "profiles", "tensorboard")
LARGEST_ARTIFACT = 2**31  # bytes of a file beside a record

Warn = Callable[[str], None]


def artifacts(base: Path, record: Record) -> dict[str, Path]:
    """What belongs to a record: where it is, by its name relative to `base`; links are left out.

    Args:
        base: The group's folder, or that of an earlier record.
        record: Of the run.
    """
    run_id = record.run_id
    paths = [
        base / "predictions" / f"{run_id}.npz",
        base / "logs" / f"{run_id}.log",
        base / "profiles" / f"{run_id}.json.gz",
        base / "profiles" / f"{run_id}.txt",
        *_entries(Store(base).tensorboard_path(record.run)),
    ]
    return {str(path.relative_to(base)): path for path in paths if is_plain(path)}


def _entries(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not OURS.search(path.name))


def is_plain(path: Path) -> bool:
    """Whether a file is one, and no link to another."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def copy(found: Mapping[str, Path], base: Path, warn: Warn) -> None:
    """Copies what belongs to a record; what cannot be read is told and left out.

    Raises:
        StoreError: One cannot be written.
    """
    for name, path in found.items():
        try:
            content = read_file(path, LARGEST_ARTIFACT)
        except (OSError, StrangeFile) as error:
            warn(f"{path} is left out: {error}")
        else:
            write_atomically(base / name, content)


def replace(found: Mapping[str, Path], base: Path, record: Record, warn: Warn) -> None:
    """Likewise, and removes what belongs to another record of the run and not to this one.

    Raises:
        StoreError: One cannot be written or removed.
    """
    for name, path in artifacts(base, record).items():
        if name not in found:
            with explained(f"remove {path}"):
                path.unlink(missing_ok=True)
                settle(path.parent)
    copy(found, base, warn)


def fill(found: Mapping[str, Path], base: Path, record: Record, warn: Warn) -> bool:
    """Copies what is missing; event files only where there are no others of the run.

    Returns:
        Whether anything was.

    Raises:
        StoreError: One cannot be written.
    """
    there = artifacts(base, record)
    foreign = [name for name in there if name.startswith("tensorboard/")]
    missing = {
        name: path
        for name, path in found.items()
        if name not in there and not (name.startswith("tensorboard/") and set(foreign) - set(found))
    }
    copy(missing, base, warn)
    return bool(missing)


LARGEST_STRIP = 2**26  # bytes of a strip
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
        content = read_file(path, LARGEST_STRIP)
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
