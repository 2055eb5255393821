"""Limits of the conclusions that the records show."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cell import Cell, fields_of
from bench.recipe import DEFAULT_ORIGIN
from bench.record import LAUNCHED, Record
from bench.report.columns import ACCURACY
from bench.report.rows import Outcome
from bench.report.statistics.intervals import sampling_error
from bench.report.statistics.outcomes import (
    FACTORS,
    FAILED,
    Outcomes,
    Pair,
    match,
    test_images_of,
)
from bench.text import code, count, listed

MAX_UNEVEN = 6
MAX_REASONS = 5
UNEVEN = 0.05  # difference between shares of failed runs that may bias a comparison


def caveats(outcomes: Outcomes) -> Iterator[str]:
    """The caveats of the cells of one machine, scale and source."""
    good = [outcome for outcome in outcomes if outcome.good]
    cells = [outcome.cell for outcome in outcomes]
    yield from _scale(cells)
    if any(cell.source == "shapes" for cell in cells):
        yield (
            "The images are generated (`shapes`): accuracies and the effects of augmentations do "
            "not carry over to photographs."
        )
    if good:
        yield from _seeds(good)
        yield from _recipes(good)
        yield from _suspect(good)
        yield from _targets(good)
        yield from _draws(good)
        yield from _steps(good)
        yield from _compiled(good)
    yield from _failures(outcomes)
    yield from _selection(outcomes)


def _scale(cells: Sequence[Cell]) -> Iterator[str]:
    small = [cell for cell in cells if cell.scale == "cpu"]
    if not small:
        return
    epochs = _range(cell.epochs for cell in small)
    yield (
        f"Scale `cpu`: nets of width {_range(cell.width for cell in small)}, "
        f"{_range(cell.train_images for cell in small)} training images, "
        f"{epochs} epoch{'' if epochs == '1' else 's'}. It shows what works and where training "
        "waits for data, not what accuracy a net can reach; the ranking at full scale may differ."
    )


def _range(values: Iterable[float | None]) -> str:
    known = sorted({value for value in values if value is not None})
    ends = dict.fromkeys(f"{value:,g}" for value in (*known[:1], *known[-1:]))
    return " to ".join(ends) or "all"


def _seeds(good: Outcomes) -> Iterator[str]:
    single = [outcome for outcome in good if len(outcome.good) == 1]
    if not single:
        return
    images = min(test_images_of(outcome.good[0]) for outcome in single)
    cells = "The only cell has" if len(good) == 1 else f"{len(single)} of {len(good)} cells have"
    error = ""
    if images:
        accuracies = [value / 100 for one in single for value in one.values(ACCURACY)]
        points = 100 * max(sampling_error(accuracy, images) for accuracy in accuracies)
        error = (
            f": with {images:,} test images an accuracy has a sampling error of up to "
            f"\u00b1{points:.2f} points (95 %, binomial), and seeds differ too"
        )
    luck = "; the best of many is partly luck" if len(good) > 1 else ""
    yield f"{cells} one seed{error}{luck}."


def _recipes(good: Outcomes) -> Iterator[str]:
    sizes = sorted({outcome.cell.batch_size for outcome in good})
    if len(sizes) > 1:
        yield (
            f"The batch size is part of a recipe ({', '.join(map(str, sizes))} here): each net and "
            "optimizer is compared with its own, which affects images/s too."
        )
    plain: set[str] = set()
    tuned: set[str] = set()
    recipes: dict[Cell, set[object]] = defaultdict(set)
    for outcome in good:
        cell, recipe = outcome.cell, outcome.good[0].cell.recipe
        recipes[cell.without(*fields_of("recipe"))].add((cell.recipe, cell.batch_size))
        if recipe is not None:
            pairs = plain if recipe.origin == DEFAULT_ORIGIN else tuned
            pairs.add(f"{cell.architecture} with {cell.optimizer}")
    if plain and tuned:
        yield (
            f"Trained with the optimizer's defaults, not tuned for the net: "
            f"{listed(sorted(plain))}. The recipes of {count(len(tuned), 'other pair')} of net and "
            "optimizer are tuned, so comparing these also compares recipes."
        )
    several = sorted({cell.name for cell, found in recipes.items() if len(found) > 1})
    if several:
        yield (
            f"{listed(several)}: trained with more than one recipe; effects of nets and optimizers "
            "average over them."
        )


def _suspect(good: Outcomes) -> Iterator[str]:
    names = [run.name for outcome in good for run in outcome.good if run.timing_suspect]
    if names:
        runs = f"{count(len(names), 'run')} ({listed(sorted(names))})"
        yield f"Suspect timings, excluded from speeds and times but not from scores: {runs}."


def _targets(good: Outcomes) -> Iterator[str]:
    by_target: dict[float, list[Outcome[Any]]] = defaultdict(list)
    for outcome in good:
        if outcome.with_target:
            by_target[outcome.cell.target_accuracy].append(outcome)
    for target, found in sorted(by_target.items()):
        text = f"the target of {100 * target:g} % validation accuracy"
        reached = sum(outcome.reached for outcome in found)
        if not reached:
            yield f"No run reached {text}, so time to accuracy is unknown."
            continue
        by_net: dict[str, int] = defaultdict(int)
        for outcome in found:
            by_net[outcome.cell.architecture] += outcome.reached
        never = sorted(net for net, number in by_net.items() if not number)
        if never:
            yield f"No run of {listed(never)} reached {text}."
        first = sum(_at_first_evaluation(run) for outcome in found for run in outcome.good)
        if first:
            yield (
                f"{first:,} of {count(reached, 'run')} that reached {text} reached it by the first "
                "evaluation, so the time cannot be resolved; a higher target would help."
            )


def _at_first_evaluation(run: Record) -> bool:
    evaluated = [point for point in run.curve if point.validation_accuracy is not None]
    reached_s = run.metrics.time_to_accuracy_s if run.metrics else None
    return bool(evaluated) and reached_s is not None and reached_s <= evaluated[0].train_s


def _draws(good: Outcomes) -> Iterator[str]:
    ops: dict[str, set[str]] = defaultdict(set)
    for outcome in good:
        for run in outcome.good:
            for op, draws in run.augmentation_draws.items():
                if draws != "per sample":
                    ops[outcome.cell.pipeline].add(op)
    for pipeline in sorted(ops):
        yield (
            f"{code(pipeline)} draws random parameters once per batch "
            f"({listed(sorted(ops[pipeline]))}), so its augmentations are weaker than per-sample "
            "ones."
        )


def _steps(good: Outcomes) -> Iterator[str]:
    runs = [run for outcome in good for run in outcome.good if run.stepping]
    why = [run.stepping.removeprefix(LAUNCHED) for run in runs if run.stepping.startswith(LAUNCHED)]
    if 0 < len(why) < len(runs):
        yield (
            f"{len(why)} of {count(len(runs), 'run')} launched their steps one operation at a time "
            f"({'; '.join(sorted(set(why))[:MAX_REASONS])}); the others replayed each step as one "
            "CUDA graph, which keeps the GPU busier. Consider this when comparing small nets."
        )


def _compiled(good: Outcomes) -> Iterator[str]:
    runs = [run for outcome in good for run in outcome.good if run.compiled]
    cached = sum(run.compiled != "anew" for run in runs)
    if cached:
        yield (
            f"{cached} of {count(len(runs), 'run')} with compiled code took some or all of it from "
            "torch's cache on disk, so their compilation was faster than a first one."
        )


def _failures(outcomes: Outcomes) -> Iterator[str]:
    bad = [run for outcome in outcomes for run in outcome.runs if run not in outcome.good]
    for verb, skipped in (("did not end well", False), ("skipped", True)):
        runs = [run for run in bad if (run.status == "skipped") == skipped]
        ranked = Counter(sorted(map(_reason, runs))).most_common()
        texts = [f"{number} {reason}" for reason, number in ranked[:MAX_REASONS]]
        if len(ranked) > MAX_REASONS:
            texts.append(f"{len(ranked) - MAX_REASONS} more reasons")
        if runs:
            yield f"{count(len(runs), 'run')} {verb} (in no average): {'; '.join(texts)}."


def _reason(run: Record) -> str:
    message = run.error.message.strip() if run.error else ""
    first = message.splitlines()[0] if message else ""
    status = "" if run.status == "skipped" else run.status
    return " ".join(filter(None, (status, code(first) if first else ""))) or "without a reason"


@dataclass(frozen=True, kw_only=True)
class FailureBalance:
    """Failed runs on both sides of a comparison; pairs hold the level's and the reference's."""

    level: str
    reference: str
    cells: int  # matched cells, failed ones included
    left_out: int  # cells in no average, since all runs of a side failed
    failed: tuple[int, int]  # number of failed runs
    runs: tuple[int, int]  # number of all runs

    @property
    def imbalance(self) -> float:
        """Difference between the shares of failed runs."""
        return self.failed[0] / self.runs[0] - self.failed[1] / self.runs[1]


def _selection(outcomes: Outcomes) -> Iterator[str]:
    """Comparisons that are biased because one side failed more often."""
    found = uneven(outcomes)
    if found:
        names = [_balance_text(balance) for balance in found[:MAX_UNEVEN]]
        if len(found) > MAX_UNEVEN:
            names.append(f"{len(found) - MAX_UNEVEN} more")
        yield (
            "Failed runs are in no average and are unevenly distributed, so these effects are over "
            f"the surviving cells, which favours the side that failed more: {'; '.join(names)}."
        )
    gone = lost_levels(outcomes)
    if gone:
        names = [f"{code(level)} ({count(number, 'run')})" for level, number in gone]
        yield f"In no average or effect, because no run succeeded: {', '.join(names)}."


def _balance_text(balance: FailureBalance) -> str:
    left_out = f"; {balance.left_out} of {count(balance.cells, 'matched cell')} left out"
    return (
        f"{code(balance.level)} instead of {code(balance.reference)} ({balance.failed[0]} of "
        f"{count(balance.runs[0], 'run')} failed, with {code(balance.reference)} "
        f"{balance.failed[1]} of {balance.runs[1]}{left_out if balance.left_out else ''})"
    )


def uneven(outcomes: Outcomes) -> list[FailureBalance]:
    """The comparisons in which one side failed more often, the most uneven first.

    A difference of one run, or of less than `UNEVEN`, does not count.
    """
    good = [outcome for outcome in outcomes if outcome.good]
    found = []
    for factor in FACTORS:
        known = match(good, factor)
        every = match(_tried(outcomes), factor, known.reference) if known else None
        if known and every:
            found += [
                _balance(level, every.reference, pairs)
                for level in known.pairs
                if (pairs := every.pairs.get(level))
            ]
    uneven = [
        balance
        for balance in found
        if abs(balance.imbalance) >= UNEVEN and abs(balance.failed[0] - balance.failed[1]) > 1
    ]
    return sorted(uneven, key=lambda one: (-abs(one.imbalance), -sum(one.failed), one.level))


def lost_levels(outcomes: Outcomes) -> list[tuple[str, int]]:
    """Entries without a successful run, with the number of their failed runs."""
    found: dict[str, int] = {}
    for factor in FACTORS[:-1]:
        good = {getattr(outcome.cell, factor) for outcome in outcomes if outcome.good}
        for outcome in _tried(outcomes) if good else ():
            level = getattr(outcome.cell, factor)
            if level not in good:
                found[level] = found.get(level, 0) + len(_finished(outcome))
    return sorted(found.items())


def _tried(outcomes: Outcomes) -> list[Outcome[Any]]:
    return [outcome for outcome in outcomes if _finished(outcome)]


def _finished(outcome: Outcome[Any]) -> list[Record]:
    """Successful and failed runs, without skipped and interrupted ones."""
    return [run for run in outcome.runs if run in outcome.good or run.status in FAILED]


def _balance(level: str, reference: str, pairs: Sequence[Pair]) -> FailureBalance:
    sides = ([pair.level for pair in pairs], [pair.reference for pair in pairs])
    runs = [[run for side in found for one in side for run in _finished(one)] for found in sides]
    failed = [sum(run.status in FAILED for run in each) for each in runs]
    complete = [
        any(one.good for one in pair.level) and any(one.good for one in pair.reference)
        for pair in pairs
    ]
    return FailureBalance(
        level=level,
        reference=reference,
        cells=len(pairs),
        left_out=complete.count(False),
        failed=(failed[0], failed[1]),
        runs=(len(runs[0]), len(runs[1])),
    )
