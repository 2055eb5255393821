"""Event files for TensorBoard, and small pictures in them.

They are written by TensorBoard's own writer. Torch's `SummaryWriter.add_hparams` and `add_scalars`
would add runs of their own, which makes a large grid unusable.
"""

import errno
import struct
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image, ImageDraw, ImageFont
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

if TYPE_CHECKING:
    import numpy as np

PATTERN = "events.out.tfevents.*"
RGB_CHANNELS = 3

CELL, FONT_SIZE = 44, 13  # pixels of a confusion matrix
MAX_NUMBERED_CLASSES = 20  # with more, cells are small and have neither names nor numbers
DARK, LIGHT, GREY = (8, 48, 107), (247, 251, 255), (90, 90, 90)
IMAGES_PER_ROW = 4
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class EventFile:
    """The event file of a run's folder; files of an earlier attempt are removed.

    Args:
        wall_time: Time of all events in seconds since 1970; None for now.

    Raises:
        OSError: The folder is a link, or cannot be written.
    """

    def __init__(self, folder: Path, *, wall_time: float | None = None) -> None:
        if folder.is_symlink():  # never remove files of the target
            raise OSError(errno.ELOOP, "it is a link and not a folder", str(folder))
        for earlier in folder.glob(PATTERN):
            earlier.unlink()
        self._writer = EventFileWriter(str(folder))
        self.wall_time = wall_time

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def summary(self, summary: Any, step: int = 0) -> None:
        """Writes a summary of one of TensorBoard's plugins."""
        wall_time = time.time() if self.wall_time is None else self.wall_time
        self._writer.add_event(Event(summary=summary, step=step, wall_time=wall_time))

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Writes each value under its tag, except for None."""
        found = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in values.items()
            if value is not None
        ]
        self.summary(Summary(value=found), step)

    def table(self, tag: str, values: Mapping[str, object]) -> None:
        """Writes names and values as a table in Markdown."""
        lines = [f"| {name} | {_escaped(value)} |" for name, value in values.items()]
        self.summary(text_pb(tag, "\n".join(["| field | value |", "| --- | --- |", *lines])))

    def image(self, tag: str, png: bytes, step: int = 0) -> None:
        """Writes a PNG."""
        width, height = struct.unpack(">II", png[16:24])  # from the header
        image = Summary.Image(
            width=width, height=height, colorspace=RGB_CHANNELS, encoded_image_string=png
        )
        self.summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def pr_curve(self, tag: str, positives_2T: "np.ndarray", support: int, images: int) -> None:
        """Writes one precision-recall curve.

        Args:
            positives_2T: True and false positives at evenly spaced thresholds from 0 to 1.
        """
        import numpy as np

        true, false = positives_2T.astype(float)
        predicted = true + false
        # Where nothing is predicted the precision is 1, as in scikit-learn.
        precision = np.divide(true, predicted, out=np.ones_like(true), where=predicted > 0)
        recall = true / max(1, support)
        rows = (true, false, images - support - false, support - true, precision, recall)
        value = Summary.Value(
            tag=tag,
            metadata=pr_curve_metadata.create_summary_metadata(tag, "", positives_2T.shape[1]),
            tensor=make_tensor_proto(np.stack(rows).astype(np.float32)),
        )
        self.summary(Summary(value=[value]))

    def flush(self) -> None:
        """Writes buffered events to disk."""
        self._writer.flush()

    def close(self) -> None:
        """Writes buffered events to disk and closes the file."""
        self._writer.close()


def _escaped(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def confusion_png(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> bytes:
    """A PNG of a confusion matrix, rows true; a cell is as dark as its share of the row."""
    numbered = len(confusion) <= MAX_NUMBERED_CLASSES
    side = CELL if numbered else max(2, CELL * MAX_NUMBERED_CLASSES // len(confusion))
    font = ImageFont.load_default(FONT_SIZE)
    margin = round(max(map(font.getlength, names), default=0)) + 12 if numbered else 4
    size = margin + side * len(confusion) + 4
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for row, counts in enumerate(confusion):
        total = max(1, sum(counts))
        for column, count in enumerate(counts):
            left, top = margin + side * column, margin + side * row
            shade = _shade(count / total)
            draw.rectangle((left, top, left + side - 1, top + side - 1), fill=shade)
            if numbered and count:
                ink = "white" if count / total > 0.5 else "black"
                middle = (left + side / 2, top + side / 2)
                draw.text(middle, str(count), fill=ink, font=font, anchor="mm")
    if numbered:
        _draw_names(image, names, margin, font)
    buffer = BytesIO()
    # Faster than the default method, with better colors.
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _shade(share: float) -> tuple[int, int, int]:
    red, green, blue = (
        round(light + share * (dark - light)) for light, dark in zip(LIGHT, DARK, strict=True)
    )
    return red, green, blue


def _draw_names(image: Image.Image, names: Sequence[str], margin: int, font: Font) -> None:
    draw = ImageDraw.Draw(image)
    for index, name in enumerate(names):
        middle = margin + CELL * index + CELL // 2
        draw.text((margin - 6, middle), name, fill="black", font=font, anchor="rm")
        upright = Image.new("RGB", (margin, FONT_SIZE + 6), "white")
        ImageDraw.Draw(upright).text((2, 0), name, fill="black", font=font)
        turned = upright.rotate(90, expand=True)
        image.paste(turned, (middle - turned.width // 2, -4))
    draw.multiline_text((4, 4), "rows: true\ncolumns:\npredicted", fill=GREY, font=font)


def tiled_png(strip: bytes) -> bytes:
    """A strip of square images as rows of `IMAGES_PER_ROW`, as TensorBoard's cards are narrow."""
    image = Image.open(BytesIO(strip)).convert("RGB")
    side = image.height
    count = image.width // side
    rows = -(-count // IMAGES_PER_ROW)
    tiled = Image.new("RGB", (min(count, IMAGES_PER_ROW) * side, rows * side), "white")
    for index in range(count):
        row, column = divmod(index, IMAGES_PER_ROW)
        part = image.crop((index * side, 0, (index + 1) * side, side))
        tiled.paste(part, (column * side, row * side))
    buffer = BytesIO()
    tiled.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
