"""`bench roofline`: compares the speed of nets with the peaks of the device."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.verb import Debug, Device
from bench.errors import UsageError, check_choice
from bench.text import printable


def roofline(
    group: Annotated[Path, typer.Argument(help="One group of a results folder.")],
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Compare the speed of each net with the peaks of this device, measured now.

    Writes roofline.md and roofline.json into the group's folder.
    """
    check_choice("value of --device", device, ("auto", "cuda", "cpu"))
    if not (group / "records").is_dir():
        raise UsageError(f"{group} is not a group of a results folder: it has no records")
    import torch

    from bench.machine.roofline import measure

    usable = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and usable == "cpu":
        raise UsageError("--device cuda: torch finds no GPU here; see bench doctor")
    result = measure(group, usable if device == "auto" else device)
    result.write(group)
    typer.echo(printable(result.markdown()), nl=False)
