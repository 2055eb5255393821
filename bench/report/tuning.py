"""What `bench tune` found, as a table and as recipes."""

import statistics
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from bench.recipe_files import Entry
from bench.tune import Found, origin


def entries(found: Sequence[Found], machine: str, date: str) -> list[Entry]:
    """The recipes that were chosen, for a recipe file."""
    chosen = []
    for one in found:
        cell = one.chosen
        assert cell.recipe is not None
        chosen.append(
            Entry(
                architecture=cell.architecture,
                optimizer=cell.optimizer,
                batch_size=cell.batch_size,
                recipe=replace(cell.recipe, origin=origin(one, machine, date)),
            )
        )
    return chosen


def table(found: Sequence[Found]) -> str:
    """Defaults and winners on fresh seeds, as Markdown."""
    rows = []
    for one in found:
        recipe = one.cell.recipe
        assert recipe is not None
        rows.append(
            {
                "architecture": one.cell.architecture,
                "optimizer": one.cell.optimizer,
                "default %": _percent(one.default_scores),
                "tuned %": _percent(one.scores),
                "margin": f"{100 * one.margin:+.1f}",
                "noise": f"{100 * one.noise:.1f}",
                "verdict": one.verdict,
                "lr": f"{recipe.lr:g}",
                "weight decay": f"{recipe.weight_decay:g}",
                "batch": one.cell.batch_size,
                "schedule": recipe.schedule,
                "warm-up": f"{recipe.warmup:g}",
                "smoothing": f"{recipe.label_smoothing:g}",
            }
        )
    text = pd.DataFrame(rows).to_markdown(index=False, tablefmt="pipe", disable_numparse=True)
    return (
        f"{text}\n\nValidation accuracy on seeds that the search has not seen, mean and standard "
        "deviation; noise is two standard errors of the margin.\n"
    )


def _percent(scores: Sequence[float]) -> str:
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    return f"{100 * statistics.fmean(scores):.1f} ± {100 * spread:.1f}"
