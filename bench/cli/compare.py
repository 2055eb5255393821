"""`bench compare`: compares two sets of results cell by cell."""

from typing import Annotated

import typer

from bench.cli.verb import Debug, Select, screen


def compare(
    a: Annotated[str, typer.Argument(help="The baseline: a results folder, or one group in it.")],
    b: Annotated[
        str | None,
        typer.Argument(help="Compared with A (default: the folder of A, with -a and -b)."),
    ] = None,
    select_a: Annotated[
        str, typer.Option("-a", metavar="WORDS", help="Only these cells of A, as with -k.")
    ] = "",
    select_b: Annotated[
        str, typer.Option("-b", metavar="WORDS", help="Only these cells of B, as with -k.")
    ] = "",
    select: Select = "",
    metric: Annotated[
        str,
        typer.Option(
            help="What is compared: images_per_s, train_s, time_to_accuracy_s, accuracy or "
            "macro_f1."
        ),
    ] = "images_per_s",
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT",
            help="Exit with 1 if B is worse by more than slower:3%, accuracy:0.5 or macro_f1:0.5 "
            "(points); can be repeated.",
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="rich, md or json.")] = "rich",
    debug: Debug = False,
) -> int:
    """Compare two sets of results cell by cell: faster, slower, or cannot tell."""
    from bench.errors import UsageError, check_choice
    from bench.report.compare.compare import compare as compare_sides
    from bench.report.compare.compare import metric_named, parse_limit
    from bench.report.compare.sides import read_sides
    from bench.report.compare.statistics import CELLS_NEEDED
    from bench.report.compare.text import FORMS, render
    from bench.report.statistics.intervals import SEEDS_NEEDED

    check_choice("format", form, FORMS)
    judged = metric_named(metric)
    limits = [parse_limit(text, judged) for text in fail_on or ()]
    sides = read_sides(a, b, both=select, select_a=select_a, select_b=select_b)
    comparison = compare_sides(*sides, judged, limits)
    width, color = screen()
    typer.echo(render(comparison, form, width=width, color=color), nl=False)
    if comparison.untested and not comparison.broken:
        raise UsageError(
            f"--fail-on {', '.join(comparison.untested)} cannot be judged: that takes a cell with "
            f"{SEEDS_NEEDED} runs on each side that have the value, or {CELLS_NEEDED} cells"
        )
    return 1 if comparison.broken else 0
