"""`bench compare` on the command line."""

from typing import Annotated

import typer

from bench.cli.exit import run_verb
from bench.cli.options import Debug, Select


def compare(
    a: Annotated[
        str,
        typer.Argument(help="What is compared with: a results folder, a group, or a part of one."),
    ],
    b: Annotated[
        str | None,
        typer.Argument(help="What is judged; the same folder if left out, with -a and -b."),
    ] = None,
    select_a: Annotated[str, typer.Option("-a", help="Cells of side a only, as with -k.")] = "",
    select_b: Annotated[str, typer.Option("-b", help="Cells of side b only, as with -k.")] = "",
    select: Select = "",
    metric: Annotated[
        str,
        typer.Option(
            help="What the verdict is on: images_per_s, train_s, time_to_accuracy_s, accuracy or "
            "macro_f1."
        ),
    ] = "images_per_s",
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit 1 if b is worse by more: slower:3%, accuracy:0.5 or macro_f1:0.5 (points); "
            "can be repeated."
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="rich, md, json or html.")] = "rich",
    debug: Debug = False,
) -> None:
    """Compare two sides cell by cell: faster, slower, or cannot tell.

    A side is a folder, or a part of one: results@commit=3145b0a, @torch=2.14, @machine=epyc,
    @date=2026-11-25, with commas between several.
    """

    def work() -> int:
        from bench.errors import UsageError
        from bench.executors.progress import terminal
        from bench.report.compare.compare import compare as compare_sides
        from bench.report.compare.sides import Asked
        from bench.report.compare.statistics import CELLS_NEEDED
        from bench.report.compare.text import check_form, render
        from bench.report.statistics.outcomes import SEEDS_NEEDED

        check_form(form)
        asked = Asked(a=a, b=b, select=select, select_a=select_a, select_b=select_b)
        found = compare_sides(asked, metric=metric, fail_on=fail_on or ())
        screen = terminal()
        typer.echo(render(found, form, width=screen.width, color=screen.color), nl=False)
        if found.broken:
            return 1
        if found.unjudged:
            raise UsageError(
                f"--fail-on {', '.join(found.unjudged)} cannot be judged: that takes a cell with "
                f"{SEEDS_NEEDED} runs on each side that have the figure, or {CELLS_NEEDED} cells"
            )
        return 0

    raise typer.Exit(run_verb(work, debug=debug))
