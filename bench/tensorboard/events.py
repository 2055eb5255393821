"""One event file: scalars, text, images and precision-recall curves as TensorBoard reads them.

Written with TensorBoard's own writer. Torch's `SummaryWriter.add_hparams` would make a second run
for the hparams of each, and `add_scalars` one for every curve, which makes a large grid unusable.
"""

import errno
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.pr_curve import metadata as pr_curves
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

if TYPE_CHECKING:
    import numpy as np

PATTERN = "events.out.tfevents.*"
RGB = 3  # channels, as TensorBoard counts an image's colours


class Events:
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
