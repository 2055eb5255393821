"""`bench data`: downloads, verifies and caches a dataset."""

from typing import Annotated

import typer

from bench.cli.verb import DataDir, Debug, ImageSize, log, source_name
from bench.text import printable


def data(
    source: Annotated[str, typer.Argument(help="cifar10, cifar100, shapes or folder:PATH.")],
    image_size: ImageSize = None,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Download, verify and cache a dataset, and describe it."""
    import pipelines

    name = source_name(source, image_size, decode=False)
    loaded = pipelines.load(name, data_dir, report=log)
    height, width = loaded.train.image_size
    text = (
        f"{loaded.name}: {len(loaded.train)} training and {len(loaded.test)} test images of "
        f"{width}x{height} in {len(loaded.train.classes)} classes, "
        f"fingerprint {loaded.fingerprint}"
    )
    typer.echo(printable(text))
