"""The search of `bench tune`: recipes by successive halving over seeds, on the validation set.

Every candidate trains with one seed, the better half with twice the seeds, and so on. The winner
and the optimizer's defaults then train with fresh seeds, as the search favours lucky candidates.
"""

import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bench import optimizers
from bench.cell import Cell
from bench.grid.recipe_files import Entry, untuned
from bench.recipe import SCHEDULES

LR_RANGE = (-3.0, 3.0)  # powers of two times the default
WEIGHT_DECAY_RANGE = (-1.0, 1.0)  # powers of ten times the default
BATCH_SIZE_FACTORS = (0.5, 1.0, 2.0)
WARMUPS = (0.05, 0.1, 0.2, 0.3)
LABEL_SMOOTHINGS = (0.0, 0.1)
MAX_SEARCH_SEEDS = 4
FIRST_FRESH_SEED = 1000
TEST_IMAGES = 250  # the search uses only validation, but a run needs a test set
MIN_CANDIDATES = 3  # fewer are not halved


# Trains cells with each of some seeds: validation accuracies by cell.
Train = Callable[[Sequence[Cell], range], Mapping[Cell, Sequence[float]]]


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """The best candidate of one net and optimizer, and the optimizer's defaults."""

    winner: Cell
    default: Cell
    scores: Sequence[float]  # validation accuracy of the winner, by fresh seed
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
        """Interpretation of the margin."""
        if self.winner == self.default:
            return "the default won"
        if abs(self.margin) <= self.noise or not math.isfinite(self.noise):
            return "cannot tell"
        return "better" if self.margin > 0 else "worse"

    @property
    def chosen(self) -> Cell:
        """The winner, unless the defaults were as good on fresh seeds."""
        return self.winner if self.margin > 0 else self.default


def default_cells(cells: Sequence[Cell]) -> list[Cell]:
    """One cell per net and optimizer, with the optimizer's defaults."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.architecture, cell.optimizer), cell)
    return [with_default(replace(cell, test_images=TEST_IMAGES)) for cell in first.values()]


def with_default(cell: Cell) -> Cell:
    """The cell with the optimizer's defaults for its batch size."""
    return replace(cell, recipe=untuned(cell.optimizer, cell.batch_size))


def candidates(default: Cell, trials: int) -> list[Cell]:
    """The default and `trials` - 1 variations of it, deterministic for a net and optimizer.

    One learning rate is drawn from each of `trials` - 1 equal parts of the logarithmic range; other
    settings are drawn independently.
    """
    draw = random.Random(f"{default.architecture}/{default.optimizer}")
    others = trials - 1
    return [default, *(_variation(default, draw, step, others) for step in range(others))]


def _variation(cell: Cell, draw: random.Random, step: int, steps: int) -> Cell:
    batch_size = max(1, round(cell.batch_size * draw.choice(BATCH_SIZE_FACTORS)))
    default = with_default(replace(cell, batch_size=batch_size))
    assert default.recipe is not None
    low, high = LR_RANGE
    lr = default.recipe.lr * 2 ** (low + (high - low) * (step + draw.random()) / steps)
    weight_decay = default.recipe.weight_decay * 10 ** draw.uniform(*WEIGHT_DECAY_RANGE)
    needs_own_schedule = optimizers.catalog.get(cell.optimizer).schedule_free
    schedule = draw.choice(sorted(SCHEDULES))
    recipe = replace(
        default.recipe,
        lr=_two_digits(lr),
        weight_decay=_two_digits(weight_decay),
        schedule=default.recipe.schedule if needs_own_schedule else schedule,
        warmup=draw.choice(WARMUPS),
        label_smoothing=draw.choice(LABEL_SMOOTHINGS),
        origin="",
    )
    return replace(default, recipe=recipe)


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def rungs(trials: int) -> Iterator[tuple[int, int]]:
    """Numbers of candidates and seeds at each step of the halving."""
    left, seeds = trials, 1
    while True:
        yield left, seeds
        if left <= MIN_CANDIDATES or seeds >= MAX_SEARCH_SEEDS:
            return
        left, seeds = max(1, left // 2), 2 * seeds


def search(cells: Sequence[Cell], train: Train, *, trials: int, seeds: int) -> list[TuningResult]:
    """Searches for every net and optimizer of the cells.

    Args:
        seeds: Fresh seeds for the final comparison.
    """
    defaults = default_cells(cells)
    left = {cell: candidates(cell, trials) for cell in defaults}
    scores: Mapping[Cell, Sequence[float]] = {}
    for count, seeds_of_rung in rungs(trials):
        left = {default: ranked(cells, scores)[:count] for default, cells in left.items()}
        scores = train([cell for cells in left.values() for cell in cells], range(seeds_of_rung))
    winners = {default: ranked(cells, scores)[0] for default, cells in left.items()}
    fresh = range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + seeds)
    final = train([*winners.values(), *winners], fresh)
    return [
        TuningResult(winner=winner, default=cell, scores=final[winner], default_scores=final[cell])
        for cell, winner in winners.items()
    ]


def ranked(cells: Sequence[Cell], scores: Mapping[Cell, Sequence[float]]) -> list[Cell]:
    """Cells by mean score, best first; equal cells and those without scores keep their order."""
    return sorted(cells, key=lambda cell: -_mean(scores.get(cell, ())))


def _mean(scores: Sequence[float]) -> float:
    return statistics.fmean(scores) if scores else 0.0


def origin(result: TuningResult, machine: str, date: str) -> str:
    """Description of where a recipe comes from."""
    default = f"{100 * _mean(result.default_scores):.1f} %"
    if result.chosen == result.default:
        search = f"a search of {date} found nothing better"
        return f"the optimizer's default ({default} on validation): {search}"
    return (
        f"bench tune, {date}, {machine}: {100 * _mean(result.scores):.1f} % (standard deviation "
        f"{100 * _stdev(result.scores):.1f}) on validation over {len(result.scores)} fresh seeds, "
        f"the optimizer's default {default}: {result.verdict}"
    )


def entries(results: Sequence[TuningResult], machine: str, date: str) -> list[Entry]:
    """The chosen recipes, for a recipe file."""
    chosen = []
    for result in results:
        cell = result.chosen
        assert cell.recipe is not None
        chosen.append(
            Entry(
                architecture=cell.architecture,
                optimizer=cell.optimizer,
                batch_size=cell.batch_size,
                recipe=replace(cell.recipe, origin=origin(result, machine, date)),
            )
        )
    return chosen


def percent(scores: Sequence[float]) -> str:
    """Mean and standard deviation: "93.1 ± 0.2"."""
    return f"{100 * statistics.fmean(scores):.1f} ± {100 * _stdev(scores):.1f}"


def _stdev(scores: Sequence[float]) -> float:
    return statistics.stdev(scores) if len(scores) > 1 else 0.0
