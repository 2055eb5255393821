"""What to keep in mind before believing a figure, as far as the records tell it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from bench.cell import Cell
from bench.recipe_files import DEFAULT_ORIGIN
from bench.record import LAUNCHED, Record
from bench.report import losses
from bench.report.outcomes import Outcome
from bench.report.sentences import code, listed, percent
from bench.wording import count

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
    yield from losses.told(outcomes)
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
    recipes: dict[tuple[str, ...], set[object]] = defaultdict(set)
    for outcome in good:
        cell = outcome.cell
        place = (cell.name, str(cell.epochs), str(cell.width), str(cell.train_images))
        recipes[place].add((cell.recipe, cell.batch_size))
    return sorted({place[0] for place, found in recipes.items() if len(found) > 1})


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


__all__ = ["caveats"]
