"""What the speed records' authors published, and ours beside it in plain words.

Read in the sources that are named; none of it was run here. None that was found is for an H100.
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cell import Cell
from bench.record import Record

LEAST_SEEDS = 5  # a claim needs as many
AIM_ON = "H100"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure of somebody else's.

    Args:
        name: Of the script.
        accuracy_pct: Mean over the runs, on the test set.
        seconds: Mean, with the final evaluation, without compilation.
        runs: How many.
        gpu: On which.
        views: Of each test image.
        source: Where it stands.
    """

    name: str
    accuracy_pct: float
    seconds: float
    runs: int
    gpu: str
    views: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What a net is to be compared with.

    Args:
        target_pct: The accuracy that the records are about.
        aim_s: Seconds within which the suite is to be there, on `AIM_ON`.
        published: Figures, the quickest first.
    """

    target_pct: float
    aim_s: float
    published: tuple[Published, ...]


_A100 = "an A100"
_AIRBENCH = "https://github.com/KellerJordan/cifar10-airbench"
NETS = {
    "airnet94": Contest(
        target_pct=94.0,
        aim_s=0.95,
        published=(
            Published(
                name="hiverge cifar10-speedrun", accuracy_pct=94.008, seconds=2.015, runs=2000,
                gpu=_A100, views="6 for the least confident quarter",
                source="https://github.com/hiverge/cifar10-speedrun",
            ),
            Published(
                name="airbench94_muon", accuracy_pct=94.01, seconds=2.59, runs=200, gpu=_A100,
                views="6", source=_AIRBENCH,
            ),
        ),
    ),
    "airnet96": Contest(
        target_pct=96.0,
        aim_s=11.0,
        published=(
            Published(
                name="airbench96_faster", accuracy_pct=96.00, seconds=27.3, runs=200, gpu=_A100,
                views="6", source=_AIRBENCH,
            ),
            Published(
                name="airbench96", accuracy_pct=96.03, seconds=34.7, runs=400, gpu=_A100,
                views="6", source=_AIRBENCH,
            ),
        ),
    ),
}  # fmt: skip


def compare(records: Sequence[Record]) -> list[str]:
    """Sentences on each net: what came out over seeds, and how that stands to what is published."""
    said: list[str] = []
    for net, contest in NETS.items():
        found = latest_cell([record for record in records if _counts(record, net)])
        said += _told(net, contest, found) if found else [f"{net}: no run that ended well."]
    return said


def _counts(record: Record, net: str) -> bool:
    cell = record.cell
    return cell.architecture == net and cell.protocol == "speedrun" and record.status == "ok"


def latest_cell(records: Sequence[Record]) -> list[Record]:
    """Those of the cell that was trained last; a recipe may have changed since the others."""
    cells: dict[Cell, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.finished):
        cells[record.cell.identity].append(record)
    return max(cells.values(), key=lambda found: found[-1].finished, default=[])


def _told(net: str, contest: Contest, found: Sequence[Record]) -> list[str]:
    cell = found[0].cell
    accuracies = [100 * record.metrics.accuracy for record in found if record.metrics]
    seconds = [record.timings.train_s for record in found]
    whole = [record.timings.train_s + record.timings.evaluate_s for record in found]
    device = found[-1].environment.get("gpu") or found[-1].environment.get("cpu") or cell.device
    seeds = "1 seed" if len(found) == 1 else f"{len(found)} seeds"
    said = [
        f"{net}, {seeds}, {cell.eval_views} views, {cell.source} at {cell.scale} scale on "
        f"{device}: accuracy {_mean(accuracies, 2, '%')}; training {_mean(seconds, 3, 's')}, "
        f"with the final evaluation {_mean(whole, 3, 's')}."
    ]
    suspect = sum(bool(record.timing_suspect) for record in found)
    if suspect:
        said.append(f"  The times of {suspect} of them are suspect; `bench table` says why.")
    if cell.scale != "full" or cell.source != "cifar10":
        return [*said, "  What is published is about all of CIFAR-10: it cannot be compared."]
    said.append("  " + _judged(contest, accuracies))
    said += ["  " + _beside(one, accuracies, whole, str(device)) for one in contest.published]
    if AIM_ON in str(device):
        reached = statistics.fmean(whole) <= contest.aim_s
        said.append(
            f"  The suite's aim on an {AIM_ON}, {contest.aim_s:g} s, is "
            f"{'reached' if reached else 'missed'}."
        )
    return said


def _mean(values: Sequence[float], digits: int, unit: str) -> str:
    from bench.report.statistics.intervals import student

    found = student(values)
    if found is None:
        return f"{values[0]:.{digits}f} {unit} (one seed, no interval)"
    low, high = f"{found.low:.{digits}f}", f"{found.high:.{digits}f}"
    return f"{found.middle:.{digits}f} {unit} (95 % interval {low} to {high})"


def _judged(contest: Contest, accuracies: Sequence[float]) -> str:
    from bench.report.statistics.intervals import student

    found = student(accuracies)
    target = f"{contest.target_pct:g} %"
    if found is None or len(accuracies) < LEAST_SEEDS:
        return f"Too few seeds to say whether the mean is at {target}: it takes {LEAST_SEEDS}."
    side = found.side(contest.target_pct)
    if side > 0:
        return f"The mean is above {target}."
    if side < 0:
        return f"The mean is below {target}: the target is missed."
    return f"The interval holds {target}: more seeds would have to tell on which side the mean is."


def _beside(
    one: Published, accuracies: Sequence[float], whole: Sequence[float], device: str
) -> str:
    points = statistics.fmean(accuracies) - one.accuracy_pct
    ratio = one.seconds / statistics.fmean(whole)
    quick = f"{ratio:.2f} times as quick" if ratio >= 1 else f"{1 / ratio:.2f} times as slow"
    same = "" if "A100" in device else ", of another card: the card has its part in that"
    return (
        f"Beside {one.name} ({one.accuracy_pct:g} % in {one.seconds:g} s on {one.gpu}, "
        f"{one.runs} runs, views: {one.views}): {points:+.2f} points, {quick}{same}."
    )
