"""Limits of what the records show, a sentence each."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from bench.cell import fields_of
from bench.naming import Names
from bench.recipe import DEFAULT_ORIGIN
from bench.record import FAILED, LAUNCHED, RecordSummary
from bench.report.columns import ACCURACY, TIME
from bench.report.statistics.effects import FACTORS, Outcomes, match
from bench.report.statistics.intervals import SEEDS_NEEDED, detectable, sampling_error
from bench.text import code, count, listed

MAX_TEXTS = 6
UNEVEN = 0.05  # difference between shares of failed runs that may bias a comparison


def caveats(outcomes: Outcomes) -> Iterator[str]:
    """The caveats of the cells of one machine, scale and source."""
    good = [outcome for outcome in outcomes if outcome.good]
    runs = [run for outcome in good for run in outcome.good]
    yield from _scale_and_source(outcomes)
    if good:
        yield from _seeds(good)
        yield from _recipes(good)
        yield from suspect_times(good)
        yield from _targets(good)
        yield from _draws(runs)
        yield from _differs(runs)
        yield from _steps(runs)
    yield from failed_runs(outcomes)
    yield from uneven_failures(outcomes)


def _scale_and_source(outcomes: Outcomes) -> Iterator[str]:
    cells = [outcome.cell for outcome in outcomes]
    runs = [run for outcome in outcomes for run in outcome.runs]
    images = [run.training_images for run in runs if run.training_images is not None]
    if cells[0].scale == "cpu":
        yield (
            f"Scale `cpu`: width {_range(cell.width for cell in cells)}, training images "
            f"{_range(images or [cell.train_images for cell in cells])}, epochs "
            f"{_range(cell.epochs for cell in cells)}. It shows what works and where training "
            "waits for data; accuracies and rankings at full scale may differ."
        )
    if cells[0].source == "shapes":
        yield (
            "The images are generated (`shapes`): accuracies and the effects of augmentations do "
            "not carry over to photographs."
        )


def _range(values: Iterable[float | None]) -> str:
    known = sorted({value for value in values if value is not None})
    ends = dict.fromkeys(f"{value:,g}" for value in (*known[:1], *known[-1:]))
    return " to ".join(ends) or "all"


def _seeds(good: Outcomes) -> Iterator[str]:
    """How many cells have too few seeds, and how much the accuracy of one seed varies."""
    enough = sum(len(outcome.good) >= SEEDS_NEEDED for outcome in good)
    if enough < len(good):
        yield (
            f"Fewer than {SEEDS_NEEDED} seeds: {len(good) - enough} of {count(len(good), 'cell')} "
            f"(`--seeds {SEEDS_NEEDED}` trains the rest). No claim is made about such a cell "
            "alone, and the best of many is partly luck."
        )
    spread = ""
    repeated = [outcome.values(ACCURACY) for outcome in good if len(outcome.good) > 1]
    if repeated:
        freedom = sum(len(values) - 1 for values in repeated)
        squares = sum(statistics.variance(values) * (len(values) - 1) for values in repeated)
        deviation = math.sqrt(squares / freedom)
        spread = (
            f", and varies between seeds by {deviation:.2f} points (standard deviation, "
            f"{count(len(repeated), 'cell')})"
        )
        usual = statistics.median_low([len(values) for values in repeated])
        if usual >= SEEDS_NEEDED and enough > 1:
            least = detectable(deviation, seeds=usual, cells=enough)
            spread += f"; differences from the best cell are detectable from {least:.2f} points"
    images = min(
        sum(scores.support for scores in outcome.good[0].metrics.per_class) for outcome in good
    )
    if images:
        shares = [value / 100 for outcome in good for value in outcome.values(ACCURACY)]
        error = 100 * max(sampling_error(min(max(share, 0), 1), images) for share in shares)
        yield (
            f"The accuracy of one run on {images:,} test images has a sampling error of up to "
            f"\u00b1{error:.2f} points (95 %, binomial){spread}."
        )


def _recipes(good: Outcomes) -> Iterator[str]:
    sizes = sorted({outcome.cell.batch_size for outcome in good})
    if len(sizes) > 1:
        yield (
            f"Nets and optimizers are compared with the batch size of their recipe "
            f"({', '.join(map(str, sizes))}), which affects images/s too."
        )
    tuned: dict[bool, set[str]] = defaultdict(set)
    for outcome in good:
        recipe = outcome.good[0].cell.recipe
        if recipe is not None:
            pair = f"{outcome.cell.architecture} with {outcome.cell.optimizer}"
            tuned[recipe.origin != DEFAULT_ORIGIN].add(pair)
    if len(tuned) == 2:
        pairs = count(len(tuned[True]), "pair")
        yield (
            "Trained with the optimizer's defaults, not tuned for the net: "
            f"{listed(sorted(tuned[False]))}. The recipes of {pairs} of net and optimizer are "
            "tuned, so comparing these also compares recipes."
        )
    cells = {outcome.cell for outcome in good}
    recipes = Counter(cell.without(*fields_of("recipe")) for cell in cells)
    several = sorted({cell.name for cell, number in recipes.items() if number > 1})
    if several:
        yield f"Trained with more than one recipe, which effects average over: {listed(several)}."


def suspect_times(good: Outcomes) -> Iterator[str]:
    """How many runs have suspect timings."""
    runs = [run for outcome in good for run in outcome.good]
    shown = Names(run.cell for run in runs)
    names = sorted(shown(run.name, run.cell) for run in runs if not run.times_trusted)
    if names:
        yield (
            f"Suspect timings, excluded from speeds and times but not from scores: {len(names)} of "
            f"{count(len(runs), 'run')} ({listed(names)}). `--retry-suspect` measures them again."
        )


def _targets(good: Outcomes) -> Iterator[str]:
    runs = [run for one in good for run in one.good if run.cell.holds_out and not run.seeks_target]
    if runs:
        highest = max(run.metrics.commonest_share or 0.0 for run in runs if run.metrics)
        yield (
            f"No time to accuracy is given for {count(len(runs), 'run')}: up to "
            f"{100 * highest:.1f} % of the validation images are of one class, so a net that "
            "always answers with it reaches the target. Choose a higher `--target`."
        )
    for target in sorted({one.cell.target_accuracy for one in good if one.with_target}):
        text = f"the target of {100 * target:g} % validation accuracy"
        found = [one for one in good if one.with_target and one.cell.target_accuracy == target]
        reached = sum(outcome.reached for outcome in found)
        if not reached:
            yield f"No run reached {text}."
        first = sum(_at_first_evaluation(run) for outcome in found for run in outcome.good)
        if first:
            yield (
                f"{first:,} of {count(reached, 'run')} that reached {text} did so by the first "
                "evaluation, so their times are upper bounds; choose a higher target."
            )


def _at_first_evaluation(run: RecordSummary) -> bool:
    evaluated = [p for p in getattr(run, "curve", ()) if p.validation_accuracy is not None]
    reached_s = TIME.of(run)
    return bool(evaluated) and reached_s is not None and reached_s <= evaluated[0].train_s


def _draws(runs: Sequence[RecordSummary]) -> Iterator[str]:
    ops: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        draws = run.augmentation_draws.items()
        ops[run.cell.pipeline] |= {op for op, how in draws if how != "per sample"}
    for pipeline in sorted(name for name in ops if ops[name]):
        yield (
            f"{code(pipeline)} draws random parameters once per batch "
            f"({listed(sorted(ops[pipeline]))}), so its augmentations are weaker than per-sample "
            "ones."
        )


def _differs(runs: Sequence[RecordSummary]) -> Iterator[str]:
    words = {(r.cell.pipeline, *item) for r in runs for item in r.augmentation_differs.items()}
    for pipeline, op, how in sorted(words):
        yield f"{code(pipeline)} has its own {code(op)} and is not ranked with others: {how}."


def _steps(runs: Sequence[RecordSummary]) -> Iterator[str]:
    steps = [run.stepping for run in runs if run.stepping]
    why = [step.removeprefix(LAUNCHED) for step in steps if step.startswith(LAUNCHED)]
    if 0 < len(why) < len(steps):
        yield (
            f"{len(why)} of {count(len(steps), 'run')} launched their steps one operation at a "
            f"time ({'; '.join(sorted(set(why))[:MAX_TEXTS])}); the others replayed a CUDA "
            "graph, which keeps the GPU busier with small nets."
        )


def failed_runs(outcomes: Outcomes) -> Iterator[str]:
    """How many runs failed or were skipped, and why."""
    bad = [run for outcome in outcomes for run in outcome.runs if run not in outcome.good]
    for verb, skipped in (("did not succeed", False), ("skipped", True)):
        runs = [run for run in bad if (run.status == "skipped") == skipped]
        reasons = Counter(sorted(map(_reason, runs))).most_common()
        if runs:
            texts = _first([f"{number} {reason}" for reason, number in reasons])
            yield f"{count(len(runs), 'run')} {verb} (excluded from all means): {texts}."


def _reason(run: RecordSummary) -> str:
    first = next(iter(run.error.message.strip().splitlines()), "") if run.error else ""
    status = "" if run.status == "skipped" else run.status
    return " ".join(filter(None, (status, code(first) if first else ""))) or "without a reason"


def _first(texts: Sequence[str]) -> str:
    more = [f"{len(texts) - MAX_TEXTS} more"] if len(texts) > MAX_TEXTS else []
    return "; ".join([*texts[:MAX_TEXTS], *more])


def uneven_failures(outcomes: Outcomes) -> Iterator[str]:
    """Comparisons in which one side failed more often, the most uneven first.

    A difference of one run, or of less than `UNEVEN`, does not count.
    """
    found: list[tuple[float, str]] = []
    tried = [outcome for outcome in outcomes if _failed([outcome])[1]]
    for matched in filter(None, (match(tried, factor) for factor in FACTORS)):
        for level, pairs in matched.pairs.items():
            failed, runs = _failed([one for pair in pairs for one in pair.level])
            others, other_runs = _failed([one for pair in pairs for one in pair.reference])
            if abs(failed - others) < 2:
                continue
            difference = abs(failed / runs - others / other_runs)
            if difference >= UNEVEN:
                reference = f"{others} of {other_runs} with {code(matched.reference)}"
                found.append((-difference, f"{code(level)} ({failed} of {runs}, {reference})"))
    if found:
        yield (
            "Runs failed unevenly, so these effects are over the surviving cells, if any, which "
            f"favours the side that failed more: {_first([text for _, text in sorted(found)])}."
        )


def _failed(outcomes: Outcomes) -> tuple[int, int]:
    """Numbers of failed runs and of all runs, without skipped and interrupted ones."""
    failed = sum(run.status in FAILED for outcome in outcomes for run in outcome.runs)
    return failed, failed + sum(len(outcome.good) for outcome in outcomes)
