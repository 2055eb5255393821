"""`bench tune`: finds recipes by successive halving over seeds, on the validation set.

Every contender trains with one seed; the better half trains with twice the seeds, and so on. The
winner and the optimizer's defaults then train with seeds that the search has not seen: a winner is
picked partly for its luck, and only new seeds tell. Each training is an ordinary run in a store of
its own, so a search that was cut off goes on where it was.

What `bench tune` found, as a table and as recipes.
"""

import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench import optimizers
from bench.cell import Cell, Run
from bench.executors.base import Reporter
from bench.executors.local import WarmStart
from bench.executors.runner import run_plan
from bench.grid import plan as planning
from bench.grid import registry
from bench.grid.plan import Plan
from bench.grid.recipe_files import Entry, untuned
from bench.recipe import SCHEDULES
from bench.record import Record
from bench.store.files import StoreError
from bench.store.store import Store

RATES = (-3.0, 3.0)  # powers of two on the default rate
DECAYS = (-1.0, 1.0)  # powers of ten on the default decay
BATCHES = (0.5, 1.0, 2.0)  # on the budget's batch size
WARMUPS = (0.05, 0.1, 0.2, 0.3)
SMOOTHINGS = (0.0, 0.1)
MOST_SEEDS = 4  # of one contender in the search
FRESH = 1000  # the first seed of the confirmation
TEST_IMAGES = 250  # the search looks at validation only; a run cannot do without a test set
LEAST = 3  # contenders that are not halved any more


class Interrupted(Exception):
    """The search was stopped from outside; what was trained is kept."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How thorough a search is.

    Args:
        trials: Contenders of each net and optimizer, the default among them.
        seeds: Of the confirmation.
    """

    trials: int = 12
    seeds: int = 5


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the search found for one net and optimizer.

    Args:
        cell: The winner.
        default: The cell with the optimizer's defaults.
        scores: Validation accuracies of the winner, by fresh seed.
        default_scores: Likewise of the default.
    """

    cell: Cell
    default: Cell
    scores: Sequence[float]
    default_scores: Sequence[float]

    @property
    def margin(self) -> float:
        """Mean accuracy above the default's."""
        return _mean(self.scores) - _mean(self.default_scores)

    @property
    def noise(self) -> float:
        """Two standard errors of the margin."""
        parts = (self.scores, self.default_scores)
        if any(len(scores) < 2 for scores in parts):
            return math.inf
        return 2 * math.sqrt(sum(statistics.variance(scores) / len(scores) for scores in parts))

    @property
    def verdict(self) -> str:
        """What may be said of the margin."""
        if self.cell == self.default:
            return "the default won"
        if abs(self.margin) <= self.noise or not math.isfinite(self.noise):
            return "cannot tell"
        return "better" if self.margin > 0 else "worse"

    @property
    def chosen(self) -> Cell:
        """The winner, unless the defaults did as well on fresh seeds."""
        return self.cell if self.margin > 0 else self.default


def base_cells(cells: Sequence[Cell]) -> list[Cell]:
    """One cell for each net and optimizer, with the optimizer's defaults."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.architecture, cell.optimizer), cell)
    return [with_default(replace(cell, test_images=TEST_IMAGES)) for cell in first.values()]


def with_default(cell: Cell) -> Cell:
    """The cell with the optimizer's defaults for its batch size."""
    return replace(cell, recipe=untuned(cell.optimizer, cell.batch_size))


def contenders(base: Cell, trials: int) -> list[Cell]:
    """The default and `trials` - 1 others around it, the same for the same names.

    Rates are spread evenly on a logarithmic scale, one in each of as many steps; all else is drawn.
    """
    draw = random.Random(f"{base.architecture}/{base.optimizer}")
    others = trials - 1
    return [base, *(_contender(base, draw, index, others) for index in range(others))]


def _contender(base: Cell, draw: random.Random, index: int, count: int) -> Cell:
    batch_size = max(1, round(base.batch_size * draw.choice(BATCHES)))
    default = with_default(replace(base, batch_size=batch_size))
    assert default.recipe is not None
    low, high = RATES
    rate = default.recipe.lr * 2 ** (low + (high - low) * (index + draw.random()) / count)
    decay = default.recipe.weight_decay * 10 ** draw.uniform(*DECAYS)
    settles = optimizers.catalog.get(base.optimizer).settles
    schedule = draw.choice(sorted(SCHEDULES))
    recipe = replace(
        default.recipe,
        lr=_rounded(rate),
        weight_decay=_rounded(decay),
        schedule=default.recipe.schedule if settles else schedule,
        warmup=draw.choice(WARMUPS),
        label_smoothing=draw.choice(SMOOTHINGS),
        origin="",
    )
    return replace(default, recipe=recipe)


def _rounded(value: float) -> float:
    """Two digits are all that a search can tell."""
    return float(f"{value:.2g}")


def rungs(trials: int) -> Iterator[tuple[int, int]]:
    """How many contenders are left at each step, and how many seeds they then have."""
    left, seeds = trials, 1
    while True:
        yield left, seeds
        if left <= LEAST or seeds >= MOST_SEEDS:
            return
        left, seeds = max(1, left // 2), 2 * seeds


def tune(
    base: Plan,
    search: Search,
    console: Reporter,
    *,
    command: str,
    timeout_s: float,
    early: WarmStart | None = None,
) -> list[Found]:
    """Searches for every net and optimizer of the plan's cells.

    Args:
        base: What to search for; its runs are not trained, its setting and folder are used.
        search: How thoroughly.
        console: Shows what is trained.
        command: For the records.
        timeout_s: Longest that one run may take.
        early: Has the first worker, perhaps.

    Raises:
        Interrupted: It was stopped; calling it again goes on.
        StoreError: The folder cannot be written or is in use.
    """
    train = _Trainer(base, console, command, timeout_s, early)
    defaults = base_cells([run.cell for run in base.runs])
    left = {cell: contenders(cell, search.trials) for cell in defaults}
    scores: Mapping[Cell, list[float]] = {}
    for count, seeds in rungs(search.trials):
        left = {cell: ranked(found, scores)[:count] for cell, found in left.items()}
        scores = train([one for found in left.values() for one in found], range(seeds))
    winners = {cell: ranked(found, scores)[0] for cell, found in left.items()}
    last = train([*winners.values(), *winners], range(FRESH, FRESH + search.seeds))
    return [
        Found(cell=winner, default=cell, scores=last[winner], default_scores=last[cell])
        for cell, winner in winners.items()
    ]


def ranked(cells: Sequence[Cell], scores: Mapping[Cell, Sequence[float]]) -> list[Cell]:
    """Best mean first; in their order where nothing is known or all is equal."""
    return sorted(cells, key=lambda cell: -_mean(scores.get(cell, ())))


def _mean(scores: Sequence[float]) -> float:
    return statistics.fmean(scores) if scores else 0.0


@dataclass(frozen=True)
class _Trainer:
    """Trains cells with seeds and tells their validation accuracies."""

    base: Plan
    console: Reporter
    command: str
    timeout_s: float
    early: WarmStart | None

    def __call__(self, cells: Sequence[Cell], seeds: range) -> Mapping[Cell, list[float]]:
        """Accuracies by cell; a run that did not end well counts as 0."""
        cells = list(dict.fromkeys(cells))
        fingerprint = self.base.runs[0].fingerprint
        runs = {
            cell: [
                Run(cell=cell, seed=seed, versions=registry.versions(cell), fingerprint=fingerprint)
                for seed in seeds
            ]
            for cell in cells
        }
        wanted = [run for of_cell in runs.values() for run in of_cell]
        step = replace(self.base, runs=wanted, notices=[])
        plan = planning.sort_out(step, False, self.console.progress)
        self.console.plan(plan)
        outcome = run_plan(
            plan,
            self.console,
            command=self.command,
            timeout_s=self.timeout_s,
            fail_fast=False,
            early=self.early,
        )
        if outcome.interrupted:
            raise Interrupted
        if outcome.problem:
            raise StoreError(outcome.problem)
        records = {record.run_id: record for record in Store(plan.folder).records()}
        return {
            cell: [_score(records.get(run.id)) for run in of_cell] for cell, of_cell in runs.items()
        }


def _score(record: Record | None) -> float:
    if record is None or record.status != "ok" or record.metrics is None:
        return 0.0
    return record.metrics.validation_accuracy or 0.0


def origin(found: Found, machine: str, date: str) -> str:
    """Where a recipe comes from, for people."""
    default = f"{100 * _mean(found.default_scores):.1f} %"
    if found.chosen == found.default:
        said = f"the optimizer's default ({default} on validation)"
        return f"{said}: a search of {date} found none better"
    spread = statistics.stdev(found.scores) if len(found.scores) > 1 else 0.0
    return (
        f"bench tune, {date}, {machine}: {100 * _mean(found.scores):.1f} % (standard deviation "
        f"{100 * spread:.1f}) on validation over {len(found.scores)} fresh seeds, the optimizer's "
        f"default {default}: {found.verdict}"
    )


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
