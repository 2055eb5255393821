"""`bench compare`: compares two sets of results cell by cell."""

import math
import re
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.verb import Debug, Select, screen
from bench.errors import UsageError, check_choice

if TYPE_CHECKING:
    from bench.report.columns import Metric
    from bench.report.compare.compare import Limit

LIMIT = re.compile(r"(slower|accuracy|macro_f1):(\d{1,4}(?:\.\d+)?)\s*(%|points?|)")


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
    every: Annotated[bool, typer.Option("--all", help="Show cells without a verdict too.")] = False,
    form: Annotated[str, typer.Option("--format", help="rich, md, csv or json.")] = "rich",
    debug: Debug = False,
) -> int:
    """Compare two sets of results cell by cell: faster, slower, or cannot tell."""
    from bench.report.compare.compare import METRICS
    from bench.report.compare.compare import compare as compare_sides
    from bench.report.compare.sides import read_sides
    from bench.report.compare.text import FORMS, render
    from bench.report.statistics.effects import CLUSTERS_NEEDED
    from bench.report.statistics.intervals import SEEDS_NEEDED

    check_choice("format", form, FORMS)
    check_choice("metric", metric, list(METRICS))
    judged = METRICS[metric]
    limits = [parse_limit(text, judged) for text in fail_on or ()]
    sides = read_sides(a, b, both=select, select_a=select_a, select_b=select_b)
    comparison = compare_sides(*sides, judged, limits)
    width, color = screen()
    typer.echo(render(comparison, form, every=every, width=width, color=color), nl=False)
    if any(limit.broken for limit in comparison.limits):
        return 1
    if untested := [limit.text for limit in comparison.limits if not limit.tested]:
        raise UsageError(
            f"--fail-on {', '.join(untested)} cannot be judged: that takes a cell with "
            f"{SEEDS_NEEDED} runs on each side that have the value, or {CLUSTERS_NEEDED} nets"
        )
    return 0


def parse_limit(text: str, metric: "Metric") -> "Limit":
    """Reads one `--fail-on`: how much worse side b may be.

        slower:3%      the time or speed that the verdict is on, images/s if that is a score
        accuracy:0.5   percentage points; macro_f1:0.5 works the same way

    Args:
        metric: What the verdict is on.

    Raises:
        UsageError: It is malformed.
    """
    from bench.report.columns import SPEED
    from bench.report.compare.compare import METRICS, Limit

    match = LIMIT.fullmatch(text.strip())
    if match is None or (match[1] == "slower") != (match[3] == "%"):
        raise UsageError(
            f"--fail-on {text!r} is malformed: write slower:3% for a time or speed, accuracy:0.5 "
            "or macro_f1:0.5 for percentage points"
        )
    amount = float(match[2])
    if match[1] != "slower":
        return Limit(text=match[0], metric=METRICS[match[1]], null=-amount)
    timing = metric if metric.timing else SPEED
    if timing.higher and amount >= 100:
        raise UsageError(
            f"--fail-on {text!r}: a speed cannot fall by 100 % or more; name less, or --metric "
            "train_s for a time"
        )
    null = math.log1p((-amount if timing.higher else amount) / 100)
    return Limit(text=match[0], metric=timing, null=null)
