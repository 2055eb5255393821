"""`bench selfcheck` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import DataDir, Debug, Device, Out
from bench.text import printable


def selfcheck(
    gpu: Annotated[bool, typer.Option("--gpu", help="Insist on a GPU.")] = False,
    device: Device = "auto",
    budget: Annotated[float, typer.Option(help="Seconds that all of it may take.")] = 600.0,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Only this part, also if it is done; can be repeated."),
    ] = None,
    source: Annotated[str, typer.Option(help="auto, cifar10 or shapes.")] = "auto",
    data_dir: DataDir = None,
    out: Out = Path("results"),
    debug: Debug = False,
) -> None:
    """Try and measure all that needs a GPU, unattended; call it again to go on."""

    def work() -> int:
        from bench.selfcheck.check import Options, check

        options = Options(
            gpu=gpu,
            device=device,
            budget_s=budget,
            source=source,
            data_dir=data_dir,
            out=out,
            parts=tuple(part or ()),
        )

        def report(text: str) -> None:
            typer.echo(printable(text), err=True)

        checked = check(options, report)
        typer.echo(checked.said, nl=False)
        return checked.exit_code

    raise typer.Exit(run_verb(work, debug=debug))
