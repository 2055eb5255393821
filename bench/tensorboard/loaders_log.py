"""What the pipelines alone deliver, for TensorBoard."""

from collections.abc import Callable, Mapping
from pathlib import Path


def write_loaders(
    folder: Path, images_per_s: Mapping[int, float], *, on_error: Callable[[str], None]
) -> None:
    """Writes what a pipeline alone delivers, the step being the batch size.

    Args:
        folder: The pipeline's own; event files of an earlier call in it are removed.
        images_per_s: Batch size to images a second.
        on_error: Gets one sentence when TensorBoard cannot be written.
    """
    try:
        from bench.tensorboard.events import Events

        with Events(folder) as events:
            for batch_size, rate in sorted(images_per_s.items()):
                events.scalars({"loaders/images_per_s": rate}, batch_size)
    except Exception as error:  # noqa: BLE001 - a log that fails must not cost what was measured
        on_error(f"TensorBoard files in {folder} are incomplete: {type(error).__name__}: {error}")
