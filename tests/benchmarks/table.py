"""The figures of the benchmarks and their targets as one table.

    python -m tests.benchmarks.table [FOLDER]

Reads the benchmarks' JSON files in a folder (by default the committed ones of the two-core machine)
and writes `benchmarks.md` beside them.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference" / "amd-epyc-2-cores_cifar10_cpu"
NAME = "benchmarks.md"
HEAD = ("benchmark", "figure", "measured", "target", "met", "date", "load before")

OTHERS = {
    "plain": "a plain program",
    "plain, our memory settings": "a plain program with the suite's memory settings",
    "suite, fp32": "the suite in fp32",
}


Found = Mapping[str, Any]
Row = tuple[str, str, str, str]  # figure, measured, target, met


def row(what: str, measured: str) -> Row:
    """A figure without a target."""
    return what, measured, "", ""


def at_most(what: str, value: float, most: float, unit: str = "", more: str = "") -> Row:
    met = "yes" if value <= most else "**no**"
    return what, f"{value:g}{unit}{more}", f"<= {most:g}{unit}", met


def at_least(what: str, value: float, least: float, more: str = "") -> Row:
    return what, f"{value:g}{more}", f">= {least:g}", "yes" if value >= least else "**no**"


def suite_steps(found: Found) -> Iterator[Row]:
    for net, sides in found["nets"].items():
        ratio = sides["suite_over_bare_throughput"]
        interval = f" ({ratio['low_95']:g} to {ratio['high_95']:g})"
        yield at_least(f"throughput relative to a bare loop: {net}", ratio["ratio"], 0.98, interval)


def cpu_settings(found: Found) -> Iterator[Row]:
    for net, settings in found["nets"].items():
        first = next(iter(settings))
        best = min(settings, key=lambda name: float(settings[name]["step_ms"]))
        ratio = settings[best]["throughput_over_first"]
        interval = f"{ratio['ratio']:g} ({ratio['low_95']:g} to {ratio['high_95']:g})"
        more = "" if best == first else f", {interval} x the throughput of {first}"
        yield row(f"fastest setting of {net}", best + more)


def cpu_precision(found: Found) -> Iterator[Row]:
    for net, settings in found["nets"].items():
        _, ratio = (setting["throughput_over_first"] for setting in settings.values())
        interval = f"{ratio['ratio']:g} ({ratio['low_95']:g} to {ratio['high_95']:g})"
        yield row(f"throughput in bf16 relative to fp32, scale {found['scale']}: {net}", interval)


def precision_accuracy(found: Found) -> Iterator[Row]:
    for net, figures in found["nets"].items():
        gain = figures["bf16_minus_fp32"]
        interval = f"{gain['points']:+g} ({gain['low_95']:+g} to {gain['high_95']:+g})"
        what = f"accuracy of {net} in bf16 minus fp32, points, {found['seeds']} seeds"
        yield row(what, f"{interval}, fp32 {figures['fp32_accuracy_pct']:g} %")


def airnet94(found: Found) -> Iterator[Row]:
    bf16 = "suite, fp32" in found["suite_over"]
    for other, ratios in found["suite_over"].items():
        what = f"time of {found['steps']} steps of airnet94 relative to {OTHERS[other]}"
        ratio, step = ratios["train_s"], ratios["step_s"]
        more = f" (one step: {step['low_95']:g} to {step['high_95']:g})"
        plain = other == "plain"
        most = 0.45 if bf16 else 0.8
        yield at_most(what, ratio, most, more=more) if plain else row(what, f"{ratio:g}{more}")
    for side, (six, one) in found.get("accuracies_six_views_one_view", {}).items():
        what = f"accuracy after {found['steps']} steps, %: {side}"
        yield row(what, f"{100 * six:.2f} with six views, {100 * one:.2f} with one")


def loaders(found: Found) -> Iterator[Row]:
    rows = {each["pipeline"]: each for each in found["rows"] if each["batch_size"] == 512}
    ours = rows["native"]
    yield row("native, images/s at batch size 512", f"{ours['images_per_s']:,.0f}")
    for name, least in (("dali", 1.5), ("kornia", 4), ("torchvision[workers=2]", 30)):
        other = rows[name]
        low = ours["images_per_s_q1"] / other["images_per_s_q3"]
        high = ours["images_per_s_q3"] / other["images_per_s_q1"]
        spread = f" (quartiles {low:.1f} to {high:.1f})"
        ratio = round(ours["images_per_s"] / other["images_per_s"], 1)
        yield at_least(f"throughput of native relative to {name}", ratio, least, spread)


def native_stall(found: Found) -> Iterator[Row]:
    low, high = found["stall_pct_95"]
    what = "training time spent waiting for native, ResNet-18 at scale cpu, %"
    yield at_most(what, round(found["stall_pct"], 2), 2, more=f" ({low:.2f} to {high:.2f})")


def native_memory(found: Found) -> Iterator[Row]:
    own = found["loop_lets_go"]["median_in_batches"]
    yield at_most("peak memory of native beyond the source, batches", own, 2)
    held = found["loop_holds_the_last"]["median_in_batches"]
    yield row("the same in a loop that holds the last batch, batches", f"{held:g}")


def grid_overhead(found: Found) -> Iterator[Row]:
    what = f"wall time relative to the training clocks, {len(found['runs'])} short runs"
    yield at_most(what, found["wall_over_training"], 1.5)
    measured = f"{found['parts']['beside_runs_s']:g} of {found['wall_s']:g} s"
    yield row("wall time outside of runs: start, plan, imports, tables, end", measured)
    again_s = found["nothing_to_do_s"]
    yield at_most("the same grid again, with nothing left to do", again_s, 2, " s")


def scheduling(found: Found) -> Iterator[Row]:
    for way, cells in found["ms_a_cell"].items():
        shown = ", ".join(f"{ms:g} ({int(count):,})" for count, ms in cells.items())
        yield row(f"overhead per cell, ms (number of cells), {way}", shown)


def start_up(found: Found) -> Iterator[Row]:
    yield at_most("bench --help", round(median(found["--help"]["wall_s"]), 2), 0.3, " s")
    if ratios := found.get("doctor_over_torch"):
        yield at_most("bench doctor, imports of torch", max(ratios.values()), 4)
    for label, times in found.items():
        if label.startswith("table"):
            wall_s = round(median(times["wall_s"]), 2)
            what = f"bench {label}"
            large = label == "table, 10000 records"
            yield at_most(what, wall_s, 3, " s") if large else row(what, f"{wall_s:g} s")


def soak(found: Found) -> Iterator[Row]:
    runs = found["runs"]
    growth = found["growth_pct"]
    yield at_most(f"growth of the parent's memory over {runs} runs, %", growth["parent_mib"], 5)
    yield at_most(f"growth of the worker's memory over {runs} runs, %", growth["worker_mib"], 5)
    yield at_most("increase of open files", sum(found["files_more"].values()), 0)
    first, last = (found["write_ms_median"][name] for name in ("first", "last"))
    yield row("time to write a record at the start and at the end, ms", f"{first:g}, {last:g}")


def report_size(found: Found) -> Iterator[Row]:
    runs = f"{found['cells']} x {found['seeds']} runs"
    yield at_most(f"time of bench report for {runs}", found["make_s"], 20, " s")
    yield at_most("size of the page, MB", found["size_mb"], 15)
    if found["browser"]:
        open_s = median(found["browser"]["open_s"])
        yield at_most("time to open the page in Chromium", open_s, 2, " s")


def record_tricks(found: Found) -> Iterator[Row]:
    what = f"accuracy of a narrow airnet94, 6 epochs of 10,000 images, %, {found['seeds']} seeds"
    yield row(what, f"{found['plain_accuracy_pct']:g}")
    for name, gain in found["points"].items():
        interval = f"{gain['points']:+g} ({gain['low_95']:+g} to {gain['high_95']:+g})"
        yield row(f"the same with {name}, points", interval)


FIGURES: dict[str, Callable[[Found], Iterator[Row]]] = {
    "suite_steps": suite_steps,
    "cpu_settings": cpu_settings,
    "cpu_precision": cpu_precision,
    "precision_accuracy": precision_accuracy,
    "airnet94": airnet94,
    "airnet94_whole": airnet94,
    "record_tricks": record_tricks,
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
            yield (name, *figure, conditions["date"], load)


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
