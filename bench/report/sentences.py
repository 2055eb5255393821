"""How figures are said: plain sentences, and "cannot tell" wherever chance alone would do."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.statistics.effects import CELLS_NEEDED, CellByCell, Effect, Interaction
from bench.report.statistics.intervals import ALPHA, Interval
from bench.report.statistics.outcomes import SEEDS_NEEDED, TIME, Best, Matched, Metric, Outcome
from bench.text import count

MOST_NAMES = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclusion:
    """One thing that the records say.

    Args:
        kind: The section it belongs to: "best", "effects", ...
        text: One or more plain sentences, names between backticks.
        figures: Names of the pictures it rests on.
    """

    kind: str
    text: str
    figures: tuple[str, ...]


def code(name: str) -> str:
    """A name as it is said: between backticks, on one line."""
    return "`" + " ".join(name.replace("`", "'").split()) + "`"


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """The names, those beyond `most` as a number."""
    shown = ", ".join(map(code, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def figure(value: float, metric: Metric) -> str:
    """One value with its unit."""
    if metric.timing:
        return f"{value:.1f} s" if metric is TIME else f"{value:,.0f} images/s"
    return f"{value:.2f} %"


def percent(share: float) -> str:
    """A share in percent, without digits that are zero."""
    return f"{round(100 * share, 2):g} %"


def chance(p: float) -> str:
    """A probability as people read it."""
    return "p under 0.001" if p < 0.001 else f"p = {p:.2g}"


def points(value: float) -> str:
    """A difference of percents with its sign; what rounds to nothing has none."""
    text = f"{value:+.2f}"
    return text if float(text) else "0.00"


def _times(*values: float) -> list[str]:
    """Ratios, with a digit more where two would hide on which side of 1 one is."""
    digits = 3 if any(f"{value:.2f}" == "1.00" for value in values) else 2
    return [f"{value:,.0f}" if value >= 100 else f"{value:.{digits}f}" for value in values]


def bounds(interval: Interval, metric: Metric) -> str:
    """An estimate and its bounds."""
    if metric.ratio:
        middle, low, high = _times(interval.middle, interval.low, interval.high)
        return f"{middle} times, 95 % interval {low} to {high}"
    low, high = points(interval.low), points(interval.high)
    return f"{points(interval.middle)} points, 95 % interval {low} to {high}"


def against(level: str, reference: str) -> str:
    """Two levels as they are compared."""
    return f"{code(level)} instead of {code(reference)}"


def effect(one: Effect) -> str:
    """What a level did to one figure, as a part of a sentence."""
    said = _verdict(one)
    grounds = _grounds(one)
    label = one.metric.label
    if one.metric is TIME:
        level, reference = one.reached
        return f"{label}: {said} ({grounds}; {_reached(level, reference, one)})"
    return f"{label}: {said} ({grounds})"


def unmatched(levels: Sequence[str], matched: Matched) -> str:
    """That levels have no cell which a cell of the reference can be compared with."""
    each = ", each" if len(levels) > 1 else ""
    return (
        f"{listed(levels)}{each} instead of {code(matched.reference)}: cannot tell, no cell of the "
        f"one differs from a cell of the other in the {matched.factor} alone."
    )


def too_few(found: Sequence[Effect]) -> str:
    """What was seen of a level that has too few matched cells and seeds for any claim."""
    cells = max(one.cells for one in found)
    seen = [
        f"{one.metric.label} "
        + (
            f"{_times(one.estimate)[0]} times"
            if one.metric.ratio
            else f"{points(one.estimate)} points"
        )
        for one in found
        if one.estimate is not None
    ]
    missed = [one for one in found if one.metric is TIME and sum(one.reached) < sum(one.runs)]
    seen += [_reached(*one.reached, one, "the target") for one in missed]
    return (
        f"{against(found[0].level, found[0].reference)}: cannot tell, too few seeds "
        f"({count(cells, 'matched cell')}; {CELLS_NEEDED} of them, or {SEEDS_NEEDED} seeds on each "
        f"side, are needed). Seen: {', '.join(seen) or 'nothing'}."
    )


def _verdict(one: Effect) -> str:
    if one.side == 0:
        return "cannot tell" if one.enough else "cannot tell, too few seeds"
    if one.metric is TIME:
        return "longer" if one.side > 0 else "shorter"
    return "higher" if one.side > 0 else "lower"


def _grounds(one: Effect) -> str:
    cells = count(one.both, "matched cell")
    if one.metric is TIME:
        cells += " where both reached the target"
    if one.interval is None:
        return f"{cells}, no interval"
    over = f"over {cells}" if one.over == "matched cells" else f"over seeds of {cells}"
    return f"{bounds(one.interval, one.metric)} {over}"


def _reached(level: int, reference: int, one: Effect, what: str = "it") -> str:
    text = (
        f"{level} of {count(one.runs[0], 'run')} reached {what}, with {code(one.reference)} "
        f"{reference} of {one.runs[1]}"
    )
    missed = (one.runs[0] - level) + (one.runs[1] - reference)
    return text + ("; a miss counts as longer than any time" if missed else "")


def interaction(one: Interaction) -> str:
    """For which nets an effect was which, or that one cannot tell."""
    what = f"{against(one.level, one.reference)} on accuracy"
    nets = [name for name, _ in one.nets]
    if one.between is None:
        return (
            f"Cannot tell whether the effect of {what} depends on the net: too few seeds "
            f"({count(sum(n for _, n in one.nets), 'matched cell')} of {len(nets)} nets)."
        )
    parts = dict(zip(nets, one.between.parts, strict=True))
    order = sorted(parts, key=lambda name: (-parts[name].middle, name))
    if one.p >= ALPHA:
        least, most = order[-1], order[0]
        return (
            f"Cannot tell whether the effect of {what} depends on the net ({chance(one.p)}): from "
            f"{points(parts[least].middle)} points ({code(least)}) to "
            f"{points(parts[most].middle)} ({code(most)})."
        )
    cells = dict(one.nets)
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for name in order:
        sides[parts[name].side()].append(name)
    told = [
        f"{word} for {_nets(names, parts, cells)}"
        for word, names in (("higher", sides[1]), ("lower", sides[-1][::-1]))
        if names
    ]
    if sides[0]:
        told.append(f"cannot tell for {_nets(sides[0], parts, cells)}")
    return (
        f"The effect of {what} depends on the net ({chance(one.p)}): {'; '.join(told)}. The "
        "intervals hold at 95 % for all nets together."
    )


def _nets(names: Sequence[str], parts: dict[str, Interval], cells: dict[str, int]) -> str:
    shown = [
        f"{code(name)} ({points(parts[name].middle)} points, {points(parts[name].low)} to "
        f"{points(parts[name].high)}, {count(cells[name], 'cell')})"
        for name in names[:MOST_NAMES]
    ]
    rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(shown) + rest


def best(one: Best) -> str:
    """The best cell, and which cannot be told from it."""
    head = (
        f"Best {one.metric.label}: {code(one.outcome.label)} with {figure(one.value, one.metric)}"
        f" ({count(one.seeds, 'seed')})."
    )
    if not one.others:
        return f"{head} It is the only cell with this figure."
    parts = []
    if one.worse or one.alike:
        parts.append(
            f"{count(len(one.alike), 'other cell')} cannot be told from it"
            + (f": {listed(one.alike)}" if one.alike else "")
        )
        verb = "is" if one.worse == 1 else "are"
        parts.append(f"{one.worse:,} {verb} worse (Welch's test, Holm's correction)")
    if one.too_few:
        parts.append(
            f"too few seeds to tell it from {_of(one.too_few, one.others)} "
            f"({SEEDS_NEEDED} on each side are needed)"
        )
        if one.margin is not None:
            parts[-1] += (
                f", {one.near} of which within {one.margin:.1f} points, as far as the choice of "
                f"{one.test_images:,} test images alone moves an accuracy"
            )
    if one.missed:
        parts.append(f"of all others {one.missed} missed the target with a seed or more")
    text = "; ".join(parts)
    return f"{head} {text[0].upper()}{text[1:]}."


def no_time(outcomes: Sequence[Outcome]) -> str:
    """Why no cell of one setting has the best time to accuracy."""
    target = f"the target of {percent(outcomes[0].cell.target_accuracy)}"
    reached = sum(one.reached == len(one.runs) for one in outcomes)
    if not reached:
        return f"No cell reached {target} with all of its seeds."
    return (
        f"No best time to accuracy: {count(reached, 'cell')} reached {target} with all of "
        f"{'its' if reached == 1 else 'their'} seeds, none without a timing that is suspect."
    )


def _of(number: int, whole: int) -> str:
    return f"the other {count(whole, 'cell')}" if number == whole else f"{number} of {whole} others"


def cell_by_cell(one: CellByCell, level: str, reference: str, metric: Metric) -> str:
    """In how many matched cells a level was higher or lower, and where one cannot tell."""
    numbers = [len(names) for names in (one.higher, one.lower, one.cannot_tell)]
    tested, most = sum(numbers), max(numbers)
    parts = [
        f"{word} in {len(names)}" + (f" ({listed(names)})" if 0 < len(names) < most else "")
        for word, names in (
            ("higher", one.higher),
            ("lower", one.lower),
            ("cannot tell", one.cannot_tell),
        )
    ]
    few = f"; too few seeds in {one.too_few} more" if one.too_few else ""
    return (
        f"{against(level, reference)}, {metric.label} in each of "
        f"{count(tested, 'matched cell')} (Welch's test, Holm's correction): {', '.join(parts)}"
        f"{few}."
    )
