"""What the benchmarks found, beside what the project wants of them, as one table.

    python tests/benchmarks/table.py [FOLDER]

Reads the JSON that they left in a folder (the committed figures of the two-core machine unless
said) and writes `benchmarks.md` there. A figure is told as it was measured, also where it misses
what is wanted; benchmarks that left nothing are named below the table.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference" / "amd-epyc-2-cores_cifar10_cpu"
NAME = "benchmarks.md"
HEAD = ("benchmark", "what", "measured", "wanted", "holds", "date", "load before")

PLAIN = {
    "plain": "a plain program of the same recipe",
    "plain, our memory settings": "the same with our memory settings",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    Args:
        what: In words, with the unit.
        measured: As it is shown.
        wanted: Likewise; "" where nothing is asked for.
        holds: Whether `measured` is as wanted; None where nothing is asked for.
    """

    what: str
    measured: str
    wanted: str = ""
    holds: bool | None = None


Found = Mapping[str, Any]


def at_most(what: str, value: float, most: float, unit: str = "", more: str = "") -> Figure:
    """A figure with an upper bound."""
    return Figure(
        what=what,
        measured=f"{value:g}{unit}{more}",
        wanted=f"<= {most:g}{unit}",
        holds=value <= most,
    )


def at_least(what: str, value: float, least: float, more: str = "") -> Figure:
    """A figure with a lower bound."""
    return Figure(
        what=what, measured=f"{value:g}{more}", wanted=f">= {least:g}", holds=value >= least
    )


def suite_steps(found: Found) -> Iterator[Figure]:
    """The step against a bare loop."""
    for net, sides in found["nets"].items():
        ratio = sides["suite_over_bare_throughput"]
        interval = f" ({ratio['low_95']:g} to {ratio['high_95']:g})"
        yield at_least(f"throughput over a bare loop's: {net}", ratio["ratio"], 0.98, interval)


def cpu_settings(found: Found) -> Iterator[Figure]:
    """What is fastest on a CPU, against the first setting."""
    for net, settings in found["nets"].items():
        first = next(iter(settings))
        best = min(settings, key=lambda name: float(settings[name]["step_ms"]))
        ratio = settings[best]["throughput_over_first"]
        interval = f"{ratio['ratio']:g} ({ratio['low_95']:g} to {ratio['high_95']:g})"
        more = "" if best == first else f", {interval} x the throughput of {first}"
        yield Figure(what=f"fastest setting of {net}", measured=best + more)


def airnet94(found: Found) -> Iterator[Figure]:
    """Our training of airnet94 against a plain program's."""
    for other, ratios in found["suite_over"].items():
        what = f"seconds of {found['steps']} steps of airnet94 over those of {PLAIN[other]}"
        ratio, step = ratios["train_s"], ratios["step_s"]
        more = f" (a step: {step['low_95']:g} to {step['high_95']:g})"
        if other == "plain":
            yield at_most(what, ratio, 0.8, more=more)
        else:
            yield Figure(what=what, measured=f"{ratio:g}{more}")
    for side, (six, one) in found.get("accuracies_six_views_one_view", {}).items():
        what = f"accuracy after {found['steps']} steps, %: {side}"
        yield Figure(what=what, measured=f"{100 * six:.2f} by six views, {100 * one:.2f} by one")


def loaders(found: Found) -> Iterator[Figure]:
    """Native against the others, at a batch size of 512."""
    rows = {row["pipeline"]: row for row in found["rows"] if row["batch_size"] == 512}
    native = rows["native"]["images_per_s"]
    yield Figure(what="native, images/s at batch size 512", measured=f"{native:,.0f}")
    for other, least in (("dali", 1.5), ("kornia", 4), ("torchvision[workers=2]", 30)):
        row = rows[other]
        low, high = (
            rows["native"][a] / row[b]
            for a, b in (
                ("images_per_s_q1", "images_per_s_q3"),
                ("images_per_s_q3", "images_per_s_q1"),
            )
        )
        spread = f" (quartiles {low:.1f} to {high:.1f})"
        ratio = round(native / row["images_per_s"], 1)
        yield at_least(f"native over {other}", ratio, least, spread)


def native_stall(found: Found) -> Iterator[Figure]:
    """What the native pipeline costs a training."""
    low, high = found["stall_pct_95"]
    stall_pct = round(found["stall_pct"], 2)
    more = f" ({low:.2f} to {high:.2f})"
    yield at_most("stall of native, ResNet-18 at scale cpu, %", stall_pct, 2, more=more)


def native_memory(found: Found) -> Iterator[Figure]:
    """What the native pipeline holds beside the source."""
    own = found["loop_lets_go"]["median_in_batches"]
    yield at_most("peak of native above the source, batches, its own", own, 2)
    held = found["loop_holds_the_last"]["median_in_batches"]
    yield Figure(what="the same in a loop that holds the last batch", measured=f"{held:g}")


def grid_overhead(found: Found) -> Iterator[Figure]:
    """The grid around the runs."""
    what = f"wall time over training clocks, {len(found['runs'])} short runs"
    yield Figure(what=what, measured=f"{found['wall_over_training']:g}")
    beside_s = found["parts"]["beside_runs_s"]
    what = "of it beside the runs: start, plan, imports, tables, end"
    yield Figure(what=what, measured=f"{beside_s:g} of {found['wall_s']:g} s")
    yield Figure(
        what="the same grid again, nothing to do", measured=f"{found['nothing_to_do_s']:g} s"
    )


def scheduling(found: Found) -> Iterator[Figure]:
    """A cell beyond its training, trained elsewhere."""
    for way, cells in found["ms_a_cell"].items():
        shown = ", ".join(f"{ms:g} ({int(count):,})" for count, ms in cells.items())
        what = f"a cell beyond its training, ms (of so many cells), {way}"
        yield Figure(what=what, measured=shown)


def start_up(found: Found) -> Iterator[Figure]:
    """Start-up and tables."""
    yield at_most("bench --help", round(median(found["--help"]["wall_s"]), 2), 0.3, " s")
    for label, times in found.items():
        if label.startswith("table"):
            wall_s = round(median(times["wall_s"]), 2)
            what = f"bench {label}"
            if label == "table, 10000 records":
                yield at_most(what, wall_s, 3, " s")
            else:
                yield Figure(what=what, measured=f"{wall_s:g} s")


def soak(found: Found) -> Iterator[Figure]:
    """A long grid."""
    runs = found["runs"]
    growth = found["growth_pct"]
    yield at_most(f"memory of the parent, growth over {runs} runs, %", growth["parent_mib"], 5)
    yield at_most(f"memory of the worker, growth over {runs} runs, %", growth["worker_mib"], 5)
    more = sum(found["files_more"].values())
    yield at_most("open files at the end more than at the start", more, 0)
    first, last = (found["write_ms_median"][name] for name in ("first", "last"))
    yield Figure(what="writing a record, first and last, ms", measured=f"{first:g}, {last:g}")


def report_size(found: Found) -> Iterator[Figure]:
    """The page of many runs."""
    runs = f"{found['cells']} x {found['seeds']} runs"
    yield at_most(f"bench report of {runs}", found["make_s"], 20, " s")
    yield at_most("size of its page, MB", found["size_mb"], 15)
    if found["browser"]:
        yield at_most("opening it in Chromium", median(found["browser"]["open_s"]), 2, " s")


def tensorboard_size(found: Found) -> Iterator[Figure]:
    """TensorBoard with many runs."""
    runs = found["cells"] * found["seeds"]
    yield Figure(what=f"TensorBoard has read {runs} runs", measured=f"{found['loaded_s']:g} s")
    if found["browser"]:
        tabs = found["browser"]["tabs"]
        first, *others = tabs.values()
        shown = f"{first['first_chart_s']:g} s, whole after {first['seen_s']:g} s"
        yield Figure(what="first chart of its throughput view", measured=shown)
        slowest = max(tab["seen_s"] for tab in others)
        yield Figure(what="its slowest other tab", measured=f"{slowest:g} s")


def compare_alike(found: Found) -> Iterator[Figure]:
    """How often equal sides are called different."""
    rates = [
        rate["different_pct"]
        for ways in found["different"]["marks removed"].values()
        for rate in ways["at random"].values()
    ]
    what = "equal sides called different, split at random, mean over metrics and sizes, %"
    spread = f" ({min(rates):g} to {max(rates):g})"
    yield at_most(what, round(mean(rates), 1), 5, more=spread)


FIGURES: dict[str, Callable[[Found], Iterator[Figure]]] = {
    "suite_steps": suite_steps,
    "cpu_settings": cpu_settings,
    "airnet94": airnet94,
    "airnet94_whole": airnet94,
    "loaders": loaders,
    "native_stall": native_stall,
    "native_memory": native_memory,
    "grid_overhead": grid_overhead,
    "scheduling": scheduling,
    "start_up": start_up,
    "soak": soak,
    "report_size": report_size,
    "tensorboard_size": tensorboard_size,
    "compare_alike": compare_alike,
}


def lines(folder: Path) -> Iterator[tuple[str, ...]]:
    """The rows of the table."""
    for name, figures in FIGURES.items():
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        told = json.loads(path.read_text())
        conditions = told.get("conditions", {"date": str(told.get("started", ""))[:10]})
        load = " ".join(map(str, conditions.get("load_before", [])))
        for figure in figures(told.get("figures", told)):
            holds = {None: "", True: "yes", False: "**no**"}[figure.holds]
            yield (
                name,
                figure.what,
                figure.measured,
                figure.wanted,
                holds,
                conditions["date"],
                load,
            )


def table(folder: Path) -> str:
    """The page in Markdown."""
    rows = [HEAD, ("---",) * len(HEAD), *lines(folder)]
    missing = [name for name in FIGURES if not (folder / f"{name}.json").exists()]
    page = [
        "# Figures of the benchmarks",
        "",
        "Made by `python tests/benchmarks/table.py` from the JSON files beside it; their commands",
        "are in [results/README.md](../../README.md). Ratios are of what ran in turns; in brackets",
        "is a 95 % interval, or the lowest and highest where they do not say quartiles.",
        "",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    if missing:
        page += ["", f"Not measured here: {', '.join(missing)}."]
    return "\n".join(page) + "\n"


def main(folder: Path = REFERENCE) -> None:
    """Writes the page."""
    (folder / NAME).write_text(table(folder))
    print(folder / NAME)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
