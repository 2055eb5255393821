"""One event file: scalars, text, images and precision-recall curves as TensorBoard reads them.

Written with TensorBoard's own writer. Torch's `SummaryWriter.add_hparams` would make a second run
for the hparams of each, and `add_scalars` one for every curve, which makes a large grid unusable.

Event files read back: enough to tell whether they are whole, and what their summaries are.

Small pictures: the confusion matrix, drawn without matplotlib, and blocks of images.
"""

import errno
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from PIL import Image, ImageDraw, ImageFont
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.pr_curve import metadata as pr_curves
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from bench.store.files import StrangeFile, read_file

if TYPE_CHECKING:
    import numpy as np

PATTERN = "events.out.tfevents.*"
RGB = 3  # channels, as TensorBoard counts an image's colours


class EventFile:
    """The event file of a folder; those of an earlier attempt in it are removed.

    Args:
        folder: The run's own.
        wall_time: Seconds since 1970 of all that is written; the present time when left out.

    Raises:
        OSError: The folder is a link, or cannot be written.
    """

    def __init__(self, folder: Path, *, wall_time: float | None = None) -> None:
        if folder.is_symlink():  # files of others may lie behind it, and some would be removed
            raise OSError(errno.ELOOP, "it is a link and no folder", str(folder))
        for earlier in folder.glob(PATTERN):
            earlier.unlink()
        self._writer = EventFileWriter(str(folder))
        self.wall_time = wall_time

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def summary(self, summary: Any, step: int = 0) -> None:
        """Writes a summary as the plugins make them."""
        wall_time = time.time() if self.wall_time is None else self.wall_time
        self._writer.add_event(Event(summary=summary, step=step, wall_time=wall_time))

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Writes each value under its tag; None is left out."""
        found = [
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in values.items()
            if value is not None
        ]
        self.summary(Summary(value=found), step)

    def table(self, tag: str, values: Mapping[str, object]) -> None:
        """Writes names and values as a table of text."""
        lines = [f"| {name} | {_escaped(value)} |" for name, value in values.items()]
        self.summary(text_pb(tag, "\n".join(["| field | value |", "| --- | --- |", *lines])))

    def image(self, tag: str, png: bytes, step: int = 0) -> None:
        """Writes a picture; its size is read from the PNG's header."""
        width, height = struct.unpack(">II", png[16:24])
        image = Summary.Image(width=width, height=height, colorspace=RGB, encoded_image_string=png)
        self.summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def pr_curve(self, tag: str, positives_2T: "np.ndarray", support: int, images: int) -> None:
        """Writes one precision-recall curve.

        Args:
            tag: Names it.
            positives_2T: True and false positives at thresholds that divide 0 to 1 evenly.
            support: Images of the class.
            images: All images.
        """
        import numpy as np

        true, false = positives_2T.astype(float)
        predicted = true + false
        # where nothing is predicted nothing is wrong: a precision of 1, as scikit-learn has it
        precision = np.divide(true, predicted, out=np.ones_like(true), where=predicted > 0)
        recall = true / max(1, support)
        rows = (true, false, images - support - false, support - true, precision, recall)
        value = Summary.Value(
            tag=tag,
            metadata=pr_curves.create_summary_metadata(tag, "", positives_2T.shape[1]),
            tensor=make_tensor_proto(np.stack(rows).astype(np.float32)),
        )
        self.summary(Summary(value=[value]))

    def flush(self) -> None:
        """Puts what was written so far on disk."""
        self._writer.flush()

    def close(self) -> None:
        """Puts everything on disk and closes the file."""
        self._writer.close()


def _escaped(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


LARGEST = 2**28  # bytes of an event file
_LENGTH = struct.Struct("<Q")
_SUM = struct.Struct("<I")


class DamagedEvents(ValueError):
    """An event file that is not whole; the message says where."""


def summaries(folder: Path) -> list[bytes]:
    """The summaries of a folder's event files, without the times at which they were written.

    Raises:
        DamagedEvents: A file is cut, garbled or too large; the message names it.
        OSError: One cannot be read.
    """
    found = []
    for path in sorted(folder.glob(PATTERN)):
        try:
            content = read_file(path, LARGEST)
        except StrangeFile as error:
            raise DamagedEvents(f"{path.name}: {error}") from error
        for number, event in enumerate(_events(content, path.name)):
            if event.HasField("summary"):
                found.append(event.summary.SerializeToString(deterministic=True))
            elif number == 0 and not event.file_version:
                raise DamagedEvents(f"{path.name} does not begin as an event file does")
    return found


def _events(content: bytes, name: str) -> Iterator[Event]:
    place = 0
    while place < len(content):
        body = place + _LENGTH.size + _SUM.size
        head = content[place : place + _LENGTH.size]
        if body > len(content):
            raise DamagedEvents(f"{name} is cut after {place} bytes")
        (said,) = _SUM.unpack_from(content, place + _LENGTH.size)
        (length,) = _LENGTH.unpack(head)
        if said != masked_crc32c(head):
            raise DamagedEvents(f"{name} is garbled after {place} bytes")
        if body + length + _SUM.size > len(content):
            raise DamagedEvents(f"{name} is cut after {place} bytes")
        try:
            yield Event.FromString(content[body : body + length])
        except DecodeError as error:
            raise DamagedEvents(f"{name} is garbled after {place} bytes") from error
        place = body + length + _SUM.size


CELL, FONT = 44, 13  # pixels
BLOCK = 4  # augmented images a row
MOST_NUMBERED = 20  # classes; with more of them cells are small and have neither name nor number
DARK, LIGHT = (8, 48, 107), (247, 251, 255)
GREY = (90, 90, 90)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def confusion_png(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> bytes:
    """A PNG of a confusion matrix: rows are true classes, columns predictions.

    A cell is as dark as its share of the row's images; its number is the count.

    Args:
        confusion: Square.
        names: Of the classes, in the order of the rows.
    """
    numbered = len(confusion) <= MOST_NUMBERED
    side = CELL if numbered else max(2, CELL * MOST_NUMBERED // len(confusion))
    font = ImageFont.load_default(FONT)
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
        _name(image, names, margin, font)
    return _png(image)


def tiled_png(strip: bytes) -> bytes:
    """A strip of square images as a block of `BLOCK` a row: TensorBoard's cards are narrow."""
    image = Image.open(BytesIO(strip)).convert("RGB")
    side = image.height
    count = image.width // side
    rows = -(-count // BLOCK)
    block = Image.new("RGB", (min(count, BLOCK) * side, rows * side), "white")
    for index in range(count):
        part = image.crop((index * side, 0, (index + 1) * side, side))
        block.paste(part, (index % BLOCK * side, index // BLOCK * side))
    buffer = BytesIO()
    block.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _shade(share: float) -> tuple[int, int, int]:
    red, green, blue = (
        round(light + share * (dark - light)) for light, dark in zip(LIGHT, DARK, strict=True)
    )
    return red, green, blue


def _name(image: Image.Image, names: Sequence[str], margin: int, font: Font) -> None:
    draw = ImageDraw.Draw(image)
    for index, name in enumerate(names):
        middle = margin + CELL * index + CELL // 2
        draw.text((margin - 6, middle), name, fill="black", font=font, anchor="rm")
        upright = Image.new("RGB", (margin, FONT + 6), "white")
        ImageDraw.Draw(upright).text((2, 0), name, fill="black", font=font)
        turned = upright.rotate(90, expand=True)
        image.paste(turned, (middle - turned.width // 2, -4))
    draw.multiline_text((4, 4), "rows: true\ncolumns:\npredicted", fill=GREY, font=font)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    # quicker than the method taken unasked, and nearer to the colours
    image.quantize(64, method=Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
