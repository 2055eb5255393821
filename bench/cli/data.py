"""`bench data`: downloads, verifies and caches a dataset, and describes it."""

from typing import Annotated

import typer

from bench.cli.verb import DataDir, Debug, ImageSize, SkipBad, log, source_name
from bench.text import in_one_line, printable

MOST_CLASSES = 30  # that are listed


def data(
    source: Annotated[
        str, typer.Argument(help="cifar10, cifar100, shapes, folder:PATH or npz:PATH.")
    ],
    image_size: ImageSize = None,
    skip_bad: SkipBad = False,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> int:
    """Download, verify and cache a dataset; show its classes, bad and skipped files."""
    import pipelines
    from pipelines.sources.describe import class_sizes, notices

    is_folder = source.startswith("folder:")
    name = source_name(source, image_size, skip_bad=is_folder or skip_bad)
    loaded = pipelines.load(name, data_dir, report=log)
    sets = {"training": loaded.train, "validation": loaded.validation, "test": loaded.test}
    found = {which: images for which, images in sets.items() if images is not None}
    height, width = loaded.train.image_size
    sizes = " and ".join(
        ", ".join(f"{len(images)} {which}" for which, images in found.items()).rsplit(", ", 1)
    )
    typer.echo(
        printable(
            f"{loaded.name}: {sizes} images of {width}x{height} in {len(loaded.train.classes)} "
            f"classes, fingerprint {loaded.fingerprint}"
        )
    )
    counts = [class_sizes(images) for images in found.values()]
    for label in list(counts[0])[:MOST_CLASSES]:
        each = ", ".join(
            f"{count[label]} {which}" for which, count in zip(found, counts, strict=True)
        )
        typer.echo(f"  {in_one_line(label)}: {each}")
    if len(counts[0]) > MOST_CLASSES:
        smallest = min(counts[0], key=lambda label: counts[0][label])
        typer.echo(
            f"  {len(counts[0]) - MOST_CLASSES:,} more classes; the smallest of all, "
            f"{in_one_line(smallest)}, has {counts[0][smallest]} training images"
        )
    for notice in notices(loaded):
        log(in_one_line(notice))
    if loaded.bad and not (skip_bad or "skip-bad" in source):
        log("bench run refuses this source unless the files are repaired, or with --skip-bad")
        return 1
    return 0
