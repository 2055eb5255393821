"""Artifacts: the files of a run other than its record, and how they are copied between folders.

The artifacts of a run's current record are in the group's folders, those of an earlier record in
the same folders below `records/.attempts/<run_id>.<attempt>/`.

Examples are augmented images as fed to the net: a strip per policy and pipeline of a group.
"""

import stat
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cell import Cell
from bench.record import Record
from bench.store.files import (
    TEMPORARY,
    StoreError,
    StrangeFile,
    explained,
    read_file,
    slug,
    sync_folder,
    write_atomically,
)
from bench.store.store import Store
from bench.text import Log

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.sources.base import Images

LARGEST_ARTIFACT = 2**31  # bytes
LARGEST_STRIP = 2**26  # bytes
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"  # the last chunk, with its checksum
STRIP_IMAGES = 16
MIN_SIDE = 64  # pixels; small images are magnified and large ones reduced to about this size


def artifacts(folder: Path, record: Record) -> dict[str, Path]:
    """The artifacts of a record by their name relative to `folder`; links are left out."""
    run_id = record.run_id
    paths = [
        folder / "predictions" / f"{run_id}.npz",
        folder / "logs" / f"{run_id}.log",
        folder / "weights" / f"{run_id}.safetensors",
        folder / "profiles" / f"{run_id}.json.gz",
        folder / "profiles" / f"{run_id}.txt",
    ]
    events = Store(folder).tensorboard_path(record.run)
    if events.is_dir() and not events.is_symlink():
        paths += sorted(path for path in events.iterdir() if not TEMPORARY.search(path.name))
    return {str(path.relative_to(folder)): path for path in paths if is_plain(path)}


def is_plain(path: Path) -> bool:
    """Whether the path is a regular file and not a link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def copy_artifacts(found: Mapping[str, Path], folder: Path, warn: Log) -> None:
    """Copies artifacts to a folder; reports and skips unreadable ones."""
    for name, path in found.items():
        try:
            content = read_file(path, LARGEST_ARTIFACT)
        except (OSError, StrangeFile) as error:
            warn(f"{path} is left out: {error}")
        else:
            write_atomically(folder / name, content)


def replace_artifacts(found: Mapping[str, Path], folder: Path, record: Record, warn: Log) -> None:
    """Copies artifacts of a record and removes those of the record it replaces."""
    for name, path in artifacts(folder, record).items():
        if name not in found:
            with explained(f"remove {path}"):
                path.unlink(missing_ok=True)
                sync_folder(path.parent)
    copy_artifacts(found, folder, warn)


def fill_artifacts(found: Mapping[str, Path], folder: Path, record: Record, warn: Log) -> bool:
    """Copies missing artifacts (event files only if it has no others); returns whether any."""
    there = artifacts(folder, record)
    other_events = {name for name in there if name.startswith("tensorboard/")} - set(found)
    missing = {
        name: path
        for name, path in found.items()
        if name not in there and not (other_events and name.startswith("tensorboard/"))
    }
    copy_artifacts(missing, folder, warn)
    return bool(missing)


def example_name(cell: Cell) -> str:
    """Name of the strip for a cell's policy and pipeline: "flip_crop__torchvision-workers-2"."""
    return f"{slug(cell.augmentation, keep='_')}__{slug(cell.pipeline, keep='_')}"


def keep_example(store: Store, cell: Cell, images_BCHW: "Tensor", source: "Images") -> None:
    """Writes a strip to the group's `examples/` unless its policy and pipeline have one.

    A failed write is reported on standard output, and the run continues.

    Args:
        images_BCHW: Output of a pipeline: normalised, any floating dtype.
        source: The original images, for mean and standard deviation.
    """
    name = f"examples/{example_name(cell)}.png"
    if (store.folder / name).exists():
        return
    try:
        store.write_derived(name, strip_png(images_BCHW, source))
    except StoreError as error:
        print(f"the example is not kept, the run continues: {error}", flush=True)


def kept_examples(store: Store) -> dict[str, bytes]:
    """The group's strips as PNG, sorted by name; invalid files are left out."""
    paths = sorted((store.folder / "examples").glob("*.png"))
    return {path.stem: png for path in paths if (png := picture(path))}


def picture(path: Path) -> bytes:
    """The content of a PNG file; b"" if it cannot be read or is not a complete PNG."""
    try:
        content = read_file(path, LARGEST_STRIP)
    except (OSError, StrangeFile):
        return b""
    return content if content.startswith(PNG_SIGNATURE) and content.endswith(PNG_END) else b""


def strip_png(images_BCHW: "Tensor", source: "Images") -> bytes:
    """The first images of a batch side by side, de-normalised.

    Small images are magnified by an integer factor so that pixels stay sharp, large ones reduced.
    """
    import torch
    from PIL import Image

    x_BCHW = images_BCHW[:STRIP_IMAGES].detach().float().cpu()
    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (source.mean, source.std))
    x_BCHW = ((x_BCHW * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    row_HWC = torch.cat(list(x_BCHW), dim=2).permute(1, 2, 0)
    pixels = row_HWC.expand(-1, -1, 3) if row_HWC.shape[2] == 1 else row_HWC
    image = Image.fromarray(pixels.contiguous().numpy())
    side = x_BCHW.shape[2]
    if side < MIN_SIDE:
        factor = MIN_SIDE // side
        image = image.resize(
            (image.width * factor, image.height * factor), Image.Resampling.NEAREST
        )
    elif side >= 2 * MIN_SIDE:
        image = image.reduce(side // MIN_SIDE)
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
