"""What to keep in mind before believing a figure, as far as the records tell it.

Failed runs enter no average: where one level of a factor failed more than another, that chooses.

An effect is then one of the cells that survived, and what failed more looks better than it is.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.cell import Cell, fields_of
from bench.recipe import DEFAULT_ORIGIN
from bench.record import LAUNCHED, Record
from bench.report.sentences import against, code, listed, percent
from bench.report.statistics.outcomes import FACTORS, Matched, Outcome, match, match_all
from bench.text import count

FAILED = ("diverged", "oom", "timeout", "crashed")
MOST_NAMES = 6


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How much of a comparison failed.

    Args:
        level: Of a factor.
        reference: What it is compared with.
        cells: Matched cells, with those that failed.
        left_out: Those of them that no average has, since all runs of a side failed.
        failed: Runs that failed, of the level and of the reference.
        runs: All runs of these cells, likewise.
    """

    level: str
    reference: str
    cells: int
    left_out: int
    failed: tuple[int, int]
    runs: tuple[int, int]

    @property
    def unevenness(self) -> float:
        """Difference of the shares that failed."""
        level, reference = (lost / all_ for lost, all_ in zip(self.failed, self.runs, strict=True))
        return level - reference


def told(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The caveats; nothing where failures are spread evenly over what is compared."""
    found = uneven(outcomes)
    if found:
        names = [_said(loss) for loss in found[:MOST_NAMES]]
        if len(found) > MOST_NAMES:
            names.append(f"{len(found) - MOST_NAMES} more")
        yield (
            "Failed runs enter no average and are unevenly spread, so these are effects on the "
            f"cells that survived, which flatters what failed more: {'; '.join(names)}."
        )
    gone = lost_levels(outcomes)
    if gone:
        names = [f"{code(level)} ({count(number, 'run')})" for level, number in gone]
        yield f"No run ended well, so that no average or effect has it: {', '.join(names)}."


def uneven(outcomes: Sequence[Outcome]) -> list[Loss]:
    """The comparisons of which one side failed more than the other, the most uneven first."""
    found = []
    for factor in FACTORS:
        known = match(outcomes, factor)
        if known is not None:
            every = match_all(_tried(outcomes), factor, known.reference)
            assert every is not None
            found += [loss for level in known.pairs if (loss := _loss(every, level)) is not None]
    uneven = [loss for loss in found if loss.unevenness]
    return sorted(uneven, key=lambda one: (-abs(one.unevenness), -sum(one.failed), one.level))


def lost_levels(outcomes: Sequence[Outcome]) -> list[tuple[str, int]]:
    """Entries that were tried and of which no run ended well, with the number of their runs."""
    found: dict[str, int] = {}
    for factor in FACTORS[:-1]:
        good = {getattr(outcome.cell, factor) for outcome in outcomes if outcome.good}
        for outcome in _tried(outcomes) if good else ():
            level = getattr(outcome.cell, factor)
            if level not in good:
                found[level] = found.get(level, 0) + len(_counted(outcome))
    return sorted(found.items())


def _tried(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if _counted(outcome)]


def _counted(outcome: Outcome) -> list[Record]:
    """Runs that came to an end of their own: what was skipped or interrupted says nothing."""
    return [run for run in outcome.runs if run in outcome.good or run.status in FAILED]


def _loss(every: Matched, level: str) -> Loss | None:
    pairs = every.pairs.get(level, ())
    if not pairs:
        return None
    sides = [
        [run for pair in pairs for outcome in getattr(pair, side) for run in _counted(outcome)]
        for side in ("level", "reference")
    ]
    failed = [sum(run.status in FAILED for run in runs) for runs in sides]
    return Loss(
        level=level,
        reference=every.reference,
        cells=len(pairs),
        left_out=sum(
            not all(any(one.good for one in side) for side in (pair.level, pair.reference))
            for pair in pairs
        ),
        failed=(failed[0], failed[1]),
        runs=(len(sides[0]), len(sides[1])),
    )


def _said(loss: Loss) -> str:
    left_out = f"; {loss.left_out} of {count(loss.cells, 'matched cell')} left out"
    return (
        f"{against(loss.level, loss.reference)} ({loss.failed[0]} of {count(loss.runs[0], 'run')} "
        f"failed, with {code(loss.reference)} {loss.failed[1]} of {loss.runs[1]}"
        f"{left_out if loss.left_out else ''})"
    )


CIFAR10_TEST_IMAGES = 10_000
MOST_REASONS = 5


def caveats(outcomes: Sequence[Outcome], intervals: int) -> Iterator[str]:
    """The caveats of one group.

    Args:
        outcomes: Of one machine, scale and source.
        intervals: How many effects are given with an interval.
    """
    good = [outcome for outcome in outcomes if outcome.good]
    cells = [outcome.cell for outcome in outcomes]
    yield from _scale(cells)
    yield from _source(cells)
    if good:
        yield from _seeds(good)
        yield from _recipes(good)
        yield from _suspect(good)
        yield from _targets(good)
        yield from _draws(good)
        yield from _steps(good)
        yield from _compiled(good)
    yield from _failures(outcomes)
    yield from told(outcomes)
    if intervals > 1:
        yield (
            f"Each of the {intervals} intervals of effects holds at 95 % by itself; about "
            f"{intervals / 20:.1f} of them are to be expected to miss the truth."
        )


def _scale(cells: Sequence[Cell]) -> Iterator[str]:
    small = [cell for cell in cells if cell.scale == "cpu"]
    if not small:
        return
    yield (
        f"Scale `cpu`: nets of width {_range(cell.width for cell in small)}, "
        f"{_range(cell.train_images for cell in small)} training images, "
        f"{_epochs(small)}. It shows what works and what feeds what, "
        "not what a net can reach; ranks at full scale may differ."
    )


def _range(values: Iterable[float | None]) -> str:
    known = sorted({value for value in values if value is not None})
    if not known:
        return "all"
    if len(known) == 1:
        return f"{known[0]:,g}"
    return f"{known[0]:,g} to {known[-1]:,g}"


def _epochs(cells: Sequence[Cell]) -> str:
    said = _range(cell.epochs for cell in cells)
    return f"{said} epoch{'' if said == '1' else 's'}"


def _source(cells: Sequence[Cell]) -> Iterator[str]:
    if any(cell.source == "shapes" for cell in cells):
        yield (
            "The images are generated (`shapes`): accuracies say nothing of photographs, and what "
            "an augmentation does here it may not do there."
        )


def _seeds(good: Sequence[Outcome]) -> Iterator[str]:
    single = sum(len(outcome.good) == 1 for outcome in good)
    cell, images = good[0].cell, _test_images(good)
    if cell.scale == "full" and cell.source == "cifar10" and images == [CIFAR10_TEST_IMAGES]:
        moves = "one seed on the full test set of CIFAR-10 is worth ±0.26 points at 95 %"
    else:
        moves = (
            f"with {_range(images)} test images one seed moves an accuracy by more than the "
            "±0.26 points at 95 % of CIFAR-10's 10,000 at full scale"
        )
    if single:
        whole = "the only cell has" if len(good) == 1 else f"{single} of {len(good)} cells have"
        luck = "; the best of many is partly luck" if len(good) > 1 else ""
        yield f"{whole[0].upper()}{whole[1:]} one seed: {moves}{luck}."


def _test_images(good: Sequence[Outcome]) -> list[int]:
    return sorted(
        {
            sum(one.support for one in run.metrics.per_class)
            for outcome in good
            for run in outcome.good
            if run.metrics is not None
        }
    )


def _recipes(good: Sequence[Outcome]) -> Iterator[str]:
    sizes = sorted({outcome.cell.batch_size for outcome in good})
    if len(sizes) > 1:
        yield (
            f"The batch size is part of a recipe ({', '.join(map(str, sizes))} here): nets and "
            "optimizers are compared each with its own, which moves images/s too."
        )
    plain: set[str] = set()
    other: set[str] = set()
    for outcome in good:
        recipe = outcome.good[0].cell.recipe
        if recipe is not None:
            default = recipe.origin == DEFAULT_ORIGIN
            pair = f"{outcome.cell.architecture} with {outcome.cell.optimizer}"
            (plain if default else other).add(pair)
    if plain and other:
        yield (
            "Trained with the optimizer's defaults, not tuned for the net: "
            f"{listed(sorted(plain))}. {_others(len(other))}, so a comparison of "
            "these is one of recipes too."
        )
    several = _several_recipes(good)
    if several:
        yield (
            f"{listed(several)}: trained with more than one recipe; effects of nets and optimizers "
            "take their mean."
        )


def _others(number: int) -> str:
    if number == 1:
        return "The other pair of net and optimizer has a recipe of its own"
    return f"The other {number} pairs of net and optimizer have recipes of their own"


def _several_recipes(good: Sequence[Outcome]) -> list[str]:
    recipes: dict[Cell, set[object]] = defaultdict(set)
    for outcome in good:
        cell = outcome.cell
        recipes[cell.without(*fields_of("recipe"))].add((cell.recipe, cell.batch_size))
    return sorted({cell.name for cell, found in recipes.items() if len(found) > 1})


def _suspect(good: Sequence[Outcome]) -> Iterator[str]:
    runs = [run for outcome in good for run in outcome.good if run.timing_suspect]
    if runs:
        yield (
            f"Suspect timings, left out of every speed and time but not of the scores: "
            f"{count(len(runs), 'run')} ({listed(sorted(run.name for run in runs))})."
        )


def _targets(good: Sequence[Outcome]) -> Iterator[str]:
    aims: dict[float, list[Outcome]] = defaultdict(list)
    for outcome in good:
        if outcome.aimed:
            aims[outcome.cell.target_accuracy].append(outcome)
    for target, found in sorted(aims.items()):
        said = f"the target of {percent(target)} validation accuracy"
        reached = sum(outcome.reached for outcome in found)
        if not reached:
            yield f"No run reached {said}: it says nothing of which cell is sooner there."
            continue
        nets = _never(found)
        if nets:
            yield f"No run of {listed(nets)} reached {said}."
        first = sum(_at_first_look(run) for outcome in found for run in outcome.good)
        if first:
            which = "The only run" if reached == 1 else f"{first} of the {reached:,} runs"
            times = "its time is that" if first == 1 else "their times are those"
            yield (
                f"{which} that reached {said} had done so at the first evaluation: {times} of one "
                "interval between evaluations, and a higher target would tell more."
            )


def _never(found: Sequence[Outcome]) -> list[str]:
    reached: dict[str, int] = defaultdict(int)
    for outcome in found:
        reached[outcome.cell.architecture] += outcome.reached
    return sorted(net for net, number in reached.items() if not number)


def _at_first_look(run: Record) -> bool:
    looks = [point for point in run.curve if point.validation_accuracy is not None]
    reached_s = run.metrics.time_to_accuracy_s if run.metrics else None
    return bool(looks) and reached_s is not None and reached_s <= looks[0].train_s


def _draws(good: Sequence[Outcome]) -> Iterator[str]:
    ops: dict[str, set[str]] = defaultdict(set)
    for outcome in good:
        for run in outcome.good:
            for op, draws in run.augmentation_draws.items():
                if draws != "per sample":
                    ops[outcome.cell.pipeline].add(op)
    for pipeline in sorted(ops):
        yield (
            f"{code(pipeline)} draws once for a whole batch ({listed(sorted(ops[pipeline]))}): "
            "with it an augmentation is not quite the same."
        )


def _steps(good: Sequence[Outcome]) -> Iterator[str]:
    runs = [run for outcome in good for run in outcome.good if run.stepping]
    why = [run.stepping.removeprefix(LAUNCHED) for run in runs if run.stepping.startswith(LAUNCHED)]
    if 0 < len(why) < len(runs):
        yield (
            f"{len(why)} of {count(len(runs), 'run')} launched their steps one operation at a time "
            f"({'; '.join(sorted(set(why))[:MOST_REASONS])}), the others replayed each as one CUDA "
            "graph, for which a GPU waits less: mind that when small nets are compared."
        )


def _compiled(good: Sequence[Outcome]) -> Iterator[str]:
    runs = [run for outcome in good for run in outcome.good if run.compiled]
    cached = sum(run.compiled != "anew" for run in runs)
    if cached:
        yield (
            f"{cached} of {count(len(runs), 'run')} with compiled code took it, or part of it, "
            "from torch's cache on disk: compilation took less there than it takes at first."
        )


def _failures(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for skipped in (False, True):
        runs = [
            run
            for outcome in outcomes
            for run in outcome.runs
            if run not in outcome.good and (run.status == "skipped") == skipped
        ]
        if not runs:
            continue
        reasons = Counter(_reason(run) for run in runs)
        ranked = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
        told = [f"{reasons[reason]} {reason}" for reason in ranked[:MOST_REASONS]]
        if len(ranked) > MOST_REASONS:
            told.append(f"{len(ranked) - MOST_REASONS} more reasons")
        verb = "skipped" if skipped else "did not end well"
        were = ("was " if len(runs) == 1 else "were ") if skipped else ""
        yield f"{count(len(runs), 'run')} {were}{verb} and enter no average: {'; '.join(told)}."


def _reason(run: Record) -> str:
    message = run.error.message.strip() if run.error else ""
    first = message.splitlines()[0] if message else ""
    status = "" if run.status == "skipped" else run.status
    return " ".join(filter(None, (status, code(first) if first else ""))) or "without a reason"
