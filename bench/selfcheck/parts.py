"""The parts of a self-check in the order of their importance, and the time each may have."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.machine.environment import python_module
from bench.selfcheck.process import GRACE_S
from bench.selfcheck.published import NETS

ROOT = Path(__file__).resolve().parents[2]
GPU_TESTS = Path("tests") / "gpu"
SWAPPED = "PIPELINE_BENCH_GPU_TESTS_ON"  # the device on which tests/gpu tries itself
# A grid that is to end ends its worker, files the run that was cut off and writes the tables.
TIDYING_S = 25.0
GRID: dict[str, Any] = {"grid": True, "always": True, "grace_s": TIDYING_S}
QUICK_REPEATS = ("--repeats", "3", "--seconds", "0.3")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One command of a part.

    Args:
        name: Unique among all parts.
        command: Program and arguments.
        folder: Where it runs.
        grid: Whether it tells its progress as JSON, as `bench run --progress json` does.
        always: Whether it runs although it ended well before.
        grace_s: How long it may take to end when it is asked to.
    """

    name: str
    command: Sequence[str]
    folder: Path
    grid: bool = False
    always: bool = False
    grace_s: float = GRACE_S


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is tried or measured together.

    Args:
        name: What `--part` takes.
        why: What it tells, in a few words.
        share: Of the whole time; what the parts before leave over comes on top.
        tasks: In order.
        missing: Why it cannot run here; "" if it can.
    """

    name: str
    why: str
    share: float
    tasks: Sequence[Task] = ()
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the parts are made for.

    Args:
        device: "cuda" or "cpu".
        source: Of the images, as its name is.
        data_dir: Where sources are cached; None for the usual place.
        out: The results folder.
        group: The group's folder in it.
        folder: Where `bench` runs: relative paths mean the same as in this process.
    """

    device: str
    source: str
    data_dir: Path | None
    out: Path
    group: Path
    folder: Path


def parts(place: Place) -> list[Part]:
    """All parts, the most important first; the last one needs what the others leave."""
    return [
        Part(name="doctor", why="what works here", share=40, tasks=[_doctor(place)]),
        _tests(place),
        _speedrun(place, "airnet94", share=130, seeds=40),
        _speedrun(place, "airnet96", share=90, seeds=10),
        _loaders(place),
        _contract(place),
        _default_grid(place),
        _roofline(place),
    ]


def bench(place: Place, *words: str, name: str, **more: Any) -> Task:
    """A task that is a `bench` command."""
    return Task(name=name, command=[*python_module("bench"), *words], folder=place.folder, **more)


def _data_dir(place: Place) -> list[str]:
    return [] if place.data_dir is None else ["--data-dir", str(place.data_dir)]


def _doctor(place: Place) -> Task:
    words = ("doctor", *_data_dir(place), "--out", str(place.out))
    return bench(place, *words, name="doctor", always=True)


def _tests(place: Place) -> Part:
    missing, why = "", "the tests that need a GPU"
    files = sorted((ROOT / GPU_TESTS).glob("test_*.py"))
    if not files:
        missing = "there is no checkout with tests/gpu beside this installation"
    elif missing_packages := [name for name in ("pytest", "hypothesis") if find_spec(name) is None]:
        missing = f"{' and '.join(missing_packages)} not installed: pip install '.[dev]'"
    command = ["env", f"{SWAPPED}={place.device}", *python_module("pytest")]
    options = ["-m", "gpu", "-q", "--color=no", "-p", "no:cacheprovider"]
    tasks = [
        Task(
            name=f"tests {path.stem.removeprefix('test_')}",
            command=[*command, str(path.relative_to(ROOT)), *options],
            folder=ROOT,
        )
        for path in files
    ]
    return Part(name="tests", why=why, share=110, tasks=tasks, missing=missing)


def _speedrun(place: Place, net: str, *, share: float, seeds: int) -> Part:
    assert net in NETS
    words = ("run", "--grid", "speedrun", "-k", net, "--seeds", str(seeds))
    task = bench(place, *words, *_grid_options(place), name=net, **GRID)
    why = f"{seeds} seeds by the speed records' protocol"
    return Part(name=net, why=why, share=share, tasks=[task])


def _grid_options(place: Place) -> list[str]:
    return [*_common(place), "--progress", "json"]


def _common(place: Place) -> list[str]:
    options = ["--device", place.device, "--source", place.source, "--out", str(place.out)]
    return options + _data_dir(place)


def _loaders(place: Place) -> Part:
    words = ("loaders", *QUICK_REPEATS, *_common(place), "--format", "md")
    why = "each pipeline alone, at all batch sizes"
    task = bench(place, *words, name="loaders", grace_s=TIDYING_S)
    return Part(name="loaders", why=why, share=80, tasks=[task])


def _contract(place: Place) -> Part:
    """A task for each pipeline in each mode, so that a second call need not begin anew."""
    from bench.loaders.plan import Options, choose_candidates

    found = choose_candidates(Options(augmentation="none"), place.device)
    found.sort(key=lambda candidate: candidate.compiled)  # first those that take seconds
    tasks = [
        bench(
            place,
            *("loaders", "--verify", "--pipeline", candidate.name, "--device", place.device),
            *("--format", "md"),
            name=f"contract {candidate.name}",
        )
        for candidate in found
        if not candidate.problem
    ]
    why = "each pipeline held to what each op says"
    return Part(name="contract", why=why, share=60, tasks=tasks)


def _default_grid(place: Place) -> Part:
    words, why = ["run", "--grid", "default", *_grid_options(place)], "the default grid, one seed"
    if find_spec("kornia") is None:  # through which nearly all of its cells go
        words += ["--pipeline", "native"]
        why += ", through native: kornia is not installed"
    task = bench(place, *words, name="default grid", **GRID)
    return Part(name="default", why=why, share=65, tasks=[task])


def _roofline(place: Place) -> Part:
    command = [*python_module("bench.machine.roofline"), str(place.group), place.device]
    task = Task(name="roofline", command=command, folder=place.folder, always=True)
    why = "each net against what the device can do"
    return Part(name="roofline", why=why, share=25, tasks=[task])
