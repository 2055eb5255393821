"""The figures of the benchmarks and their targets as one table.

    python -m tests.benchmarks.table [FOLDER]

Reads the benchmarks' JSON files in a folder (by default the committed ones of the two-core machine)
and writes `benchmarks.md` beside them.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference" / "amd-epyc-2-cores_cifar10_cpu"
NAME = "benchmarks.md"
HEAD = ("benchmark", "figure", "measured", "target", "met", "date", "load before")

PLAIN = {
    "plain": "a plain program",
    "plain, our memory settings": "a plain program with the suite's memory settings",
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table; `target` is "" and `met` None where there is no target."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None


Found = Mapping[str, Any]


def at_most(what: str, value: float, most: float, unit: str = "", more: str = "") -> Figure:
    return Figure(
        what=what, measured=f"{value:g}{unit}{more}", target=f"<= {most:g}{unit}", met=value <= most
    )


def at_least(what: str, value: float, least: float, more: str = "") -> Figure:
    return Figure(
        what=what, measured=f"{value:g}{more}", target=f">= {least:g}", met=value >= least
    )


def suite_steps(found: Found) -> Iterator[Figure]:
    for net, sides in found["nets"].items():
        ratio = sides["suite_over_bare_throughput"]
        interval = f" ({ratio['low_95']:g} to {ratio['high_95']:g})"
        yield at_least(f"throughput relative to a bare loop: {net}", ratio["ratio"], 0.98, interval)


def cpu_settings(found: Found) -> Iterator[Figure]:
    for net, settings in found["nets"].items():
        first = next(iter(settings))
        best = min(settings, key=lambda name: float(settings[name]["step_ms"]))
        ratio = settings[best]["throughput_over_first"]
        interval = f"{ratio['ratio']:g} ({ratio['low_95']:g} to {ratio['high_95']:g})"
        more = "" if best == first else f", {interval} x the throughput of {first}"
        yield Figure(what=f"fastest setting of {net}", measured=best + more)


def airnet94(found: Found) -> Iterator[Figure]:
    for other, ratios in found["suite_over"].items():
        what = f"time of {found['steps']} steps of airnet94 relative to {PLAIN[other]}"
        ratio, step = ratios["train_s"], ratios["step_s"]
        more = f" (one step: {step['low_95']:g} to {step['high_95']:g})"
        if other == "plain":
            yield at_most(what, ratio, 0.8, more=more)
        else:
            yield Figure(what=what, measured=f"{ratio:g}{more}")
    for side, (six, one) in found.get("accuracies_six_views_one_view", {}).items():
        what = f"accuracy after {found['steps']} steps, %: {side}"
        yield Figure(
            what=what, measured=f"{100 * six:.2f} with six views, {100 * one:.2f} with one"
        )


def loaders(found: Found) -> Iterator[Figure]:
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
        yield at_least(f"throughput of native relative to {other}", ratio, least, spread)


def native_stall(found: Found) -> Iterator[Figure]:
    low, high = found["stall_pct_95"]
    stall_pct = round(found["stall_pct"], 2)
    more = f" ({low:.2f} to {high:.2f})"
    yield at_most(
        "training time spent waiting for native, ResNet-18 at scale cpu, %", stall_pct, 2, more=more
    )


def native_memory(found: Found) -> Iterator[Figure]:
    own = found["loop_lets_go"]["median_in_batches"]
    yield at_most("peak memory of native beyond the source, batches", own, 2)
    held = found["loop_holds_the_last"]["median_in_batches"]
    yield Figure(what="the same in a loop that holds the last batch, batches", measured=f"{held:g}")


def grid_overhead(found: Found) -> Iterator[Figure]:
    what = f"wall time relative to the training clocks, {len(found['runs'])} short runs"
    yield Figure(what=what, measured=f"{found['wall_over_training']:g}")
    beside_s = found["parts"]["beside_runs_s"]
    what = "wall time outside of runs: start, plan, imports, tables, end"
    yield Figure(what=what, measured=f"{beside_s:g} of {found['wall_s']:g} s")
    yield Figure(
        what="the same grid again, with nothing left to do",
        measured=f"{found['nothing_to_do_s']:g} s",
    )


def scheduling(found: Found) -> Iterator[Figure]:
    for way, cells in found["ms_a_cell"].items():
        shown = ", ".join(f"{ms:g} ({int(count):,})" for count, ms in cells.items())
        what = f"overhead per cell, ms (number of cells), {way}"
        yield Figure(what=what, measured=shown)


def start_up(found: Found) -> Iterator[Figure]:
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
    runs = found["runs"]
    growth = found["growth_pct"]
    yield at_most(f"growth of the parent's memory over {runs} runs, %", growth["parent_mib"], 5)
    yield at_most(f"growth of the worker's memory over {runs} runs, %", growth["worker_mib"], 5)
    more = sum(found["files_more"].values())
    yield at_most("increase of open files", more, 0)
    first, last = (found["write_ms_median"][name] for name in ("first", "last"))
    yield Figure(
        what="time to write a record at the start and at the end, ms",
        measured=f"{first:g}, {last:g}",
    )


def report_size(found: Found) -> Iterator[Figure]:
    runs = f"{found['cells']} x {found['seeds']} runs"
    yield at_most(f"time of bench report for {runs}", found["make_s"], 20, " s")
    yield at_most("size of the page, MB", found["size_mb"], 15)
    if found["browser"]:
        yield at_most(
            "time to open the page in Chromium", median(found["browser"]["open_s"]), 2, " s"
        )


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
}


def lines(folder: Path) -> Iterator[tuple[str, ...]]:
    for name, figures in FIGURES.items():
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        content = json.loads(path.read_text())
        conditions = content.get("conditions", {"date": str(content.get("started", ""))[:10]})
        load = " ".join(map(str, conditions.get("load_before", [])))
        for figure in figures(content.get("figures", content)):
            met = {None: "", True: "yes", False: "**no**"}[figure.met]
            measured = (figure.what, figure.measured, figure.target, met)
            yield (name, *measured, conditions["date"], load)


def table(folder: Path) -> str:
    rows = [HEAD, ("---",) * len(HEAD), *lines(folder)]
    missing = [name for name in FIGURES if not (folder / f"{name}.json").exists()]
    page = [
        "# Figures of the benchmarks",
        "",
        "Made by `python -m tests.benchmarks.table` from the JSON files in this folder;",
        "[results/README.md](../../README.md) has their commands. Sides of a ratio ran in turns.",
        "Brackets hold a 95 % interval, quartiles where they say so, or lowest and highest value.",
        "",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    if missing:
        page += ["", f"Not measured here: {', '.join(missing)}."]
    return "\n".join(page) + "\n"


def main(folder: Path = REFERENCE) -> None:
    (folder / NAME).write_text(table(folder))
    print(folder / NAME)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
