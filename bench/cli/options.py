"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where sources are cached; may hold torchvision's CIFAR files."),
]
Source = Annotated[str, typer.Option(help="auto, cifar10, cifar100, shapes or folder:PATH.")]
ImageSize = Annotated[
    int | None, typer.Option(help="Pixels a side that a folder's images are brought to (32).")
]
Decode = Annotated[
    bool,
    typer.Option(
        "--decode", help="Let pipelines that can decode a folder's files anew in each epoch."
    ),
]
Instead = Annotated[
    str | None, typer.Option(help="Have this one in all cells instead of the grid's.")
]
Device = Annotated[str, typer.Option(help="auto, cuda or cpu.")]
Select = Annotated[
    str, typer.Option("-k", help="Only cells whose name contains: 'resnet18 and not adamw'.")
]
Scale = Annotated[str | None, typer.Option(help="full or cpu; chosen by the device if left out.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs instead of the scale's.")]
Timeout = Annotated[float, typer.Option(min=1.0, help="Longest that one run may take, in s.")]
Plugin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE_OR_MODULE", help="Entries of your own, see docs/plugins.md; can be repeated."
    ),
]
Out = Annotated[Path, typer.Option(help="Results folder.")]


def spelled(source: str, image_size: int | None, decode: bool) -> str:
    """The source's name with the size and the decoding that were asked for."""
    from pipelines.sources.tree_name import with_options

    return with_options(source, image_size=image_size, decode=decode)
