"""Runs everything that needs a GPU, the most valuable first, and logs it in a Markdown file.

    python tests/gpu/check.py                 # `make gpu`
    python tests/gpu/check.py --device cpu    # rehearses it with small budgets on generated images

Each step is a child process with a time limit. Calling it again skips the steps that the Markdown
file records as passed, and continues grids where they stopped. Needs only the standard library.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEVICE_VARIABLE = "PIPELINE_BENCH_GPU_TESTS_ON"  # read by tests/gpu/device.py
GROUP = "GROUP"  # in a command: the group that the steps before wrote
MIN_STEP_S = 10.0  # with less time left no step is started
INTERRUPT_S = 30.0  # for a grid to write its tables after Ctrl-C
TAIL_LINES = 40
FIRST = ("first_checks", "dali", "replay")  # the most informative tests; three minutes


@dataclass(frozen=True, kw_only=True)
class Step:
    """One child process: arguments of Python, and a time limit."""

    name: str
    arguments: Sequence[str]
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a step ended: "passed", "failed" or "time limit", and its last lines of output."""

    status: str
    duration_s: float
    tail: str


def gpu_steps(device: str, out: Path, source: str, more: Sequence[str] = ()) -> list[Step]:
    """The tests file by file, then the measurements in order of worth."""
    files = sorted(path.stem for path in (ROOT / "tests" / "gpu").glob("test_*.py"))
    names = [file.removeprefix("test_") for file in files if file != "test_check"]
    tests = [
        Step(
            name=f"tests of {name}",
            arguments=["-m", "pytest", "-q", "-s", "-m", "gpu", f"tests/gpu/test_{name}.py"],
            limit_s=300.0,
        )
        for name in dict.fromkeys((*FIRST, *names))
    ]
    common = ["--device", device, "--out", str(out), "--source", source, *more]
    run = ["-m", "bench", "run", "--progress", "json", *common]
    loaders = ["-m", "bench", "loaders", *common]
    seeds, default = ("40", "10"), ["--grid", "default"]
    if device == "cpu":
        run += ["--epochs", "1"]
        loaders += ["--batch-size", "128", "--repeats", "1", "--seconds", "0.05"]
        seeds, default = ("2", "2"), ["--grid", "smoke"]
    speedrun = [*run, "--grid", "speedrun"]
    roofline = ["-m", "bench", "roofline", GROUP, "--device", device]
    measurements = [
        ("airnet94", [*speedrun, "-k", "airnet94", "--seeds", seeds[0]], 900.0),
        ("loaders", loaders, 600.0),
        ("default grid", [*run, *default], 7200.0),
        ("airnet96", [*speedrun, "-k", "airnet96", "--seeds", seeds[1]], 900.0),
        ("roofline", roofline, 300.0),
    ]
    return tests + [Step(name=name, arguments=a, limit_s=s) for name, a, s in measurements]


def run_steps(
    steps: Sequence[Step], report: Path, *, device: str = "cuda", budget_s: float = float("inf")
) -> bool:
    """Runs and reports the steps that have not passed yet; True if all have passed."""
    report.parent.mkdir(parents=True, exist_ok=True)
    passed = passed_steps(report)
    missing = [step for step in steps if step.name not in passed]
    for step in steps:
        if step.name in passed:
            print(f"{step.name}: passed earlier")
    if missing:
        _append(report, environment(device))
    deadline = time.monotonic() + budget_s
    for step in missing:
        left_s = deadline - time.monotonic()
        if left_s < MIN_STEP_S:
            print(f"{step.name}: not started, the budget is used up; call this again to continue")
            continue
        print(f"{step.name}: ", end="", flush=True)
        command = [sys.executable, *_with_group(step.arguments, report.parent)]
        limit_s = min(step.limit_s, left_s)
        outcome = run_step(command, limit_s, report.parent / "logs", step.name, device)
        print(f"{outcome.status} after {outcome.duration_s:.0f} s", flush=True)
        if outcome.status == "passed":
            passed.add(step.name)
        _append(report, _section(step, command, limit_s, outcome))
    return all(step.name in passed for step in steps)


def passed_steps(report: Path) -> set[str]:
    if not report.exists():
        return set()
    return set(re.findall(r"^## (.+): passed$", report.read_text(), re.MULTILINE))


def run_step(command: Sequence[str], limit_s: float, logs: Path, name: str, device: str) -> Outcome:
    """Runs a command with its output in a log; after the limit it is interrupted, then killed."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"gpu-{name.replace(' ', '-')}.log"
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {DEVICE_VARIABLE: device},
        )
        try:
            status = "failed" if process.wait(limit_s) else "passed"
        except subprocess.TimeoutExpired:
            status = "time limit"
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(INTERRUPT_S)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = log.read_text(errors="replace").splitlines()
    duration_s = time.monotonic() - start
    return Outcome(status=status, duration_s=duration_s, tail="\n".join(lines[-TAIL_LINES:]))


def environment(device: str) -> str:
    gpu = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"# GPU check of {now}",
        "",
        f"- device: {device}",
        f"- GPU and driver: {gpu.replace(chr(10), '; ') or 'none'}",
        f"- torch: {version('torch')}",
        f"- commit: {_output('git', '-C', str(ROOT), 'rev-parse', 'HEAD') or 'unknown'}",
    ]
    return "\n".join(lines)


def _section(step: Step, command: Sequence[str], limit_s: float, outcome: Outcome) -> str:
    return (
        f"## {step.name}: {outcome.status}\n\n"
        f"- command: `{' '.join(['python', *command[1:]])}`\n"
        f"- duration: {outcome.duration_s:.1f} s (limit {limit_s:.0f} s)\n\n"
        f"````\n{outcome.tail}\n````"
    )


def _with_group(arguments: Sequence[str], out: Path) -> list[str]:
    groups = sorted(out.glob("*/records"), key=lambda path: path.stat().st_mtime)
    newest = str(groups[-1].parent) if groups else str(out)
    return [newest if argument == GROUP else argument for argument in arguments]


def _append(report: Path, section: str) -> None:
    with report.open("a") as file:
        file.write(section + "\n\n")


def _output(*command: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()
    return ""


def main() -> int:
    """Exit code 0 if all steps have passed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="results folder")
    parser.add_argument("--source", help="default: auto, on a CPU shapes")
    parser.add_argument("--data-dir", help="where datasets are cached")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds in all")
    parser.add_argument("--only", action="append", metavar="STEP", help="can be repeated")
    options = parser.parse_args()
    source = options.source or ("shapes" if options.device == "cpu" else "auto")
    out = options.out.resolve()
    more = ["--data-dir", options.data_dir] if options.data_dir else []
    steps = gpu_steps(options.device, out, source, more)
    if options.only:
        unknown = set(options.only) - {step.name for step in steps}
        if unknown:
            parser.error(f"no step {unknown.pop()!r}; steps: {', '.join(s.name for s in steps)}")
        steps = [step for step in steps if step.name in options.only]
    report = out / ("gpu.md" if options.device == "cuda" else "gpu-rehearsal.md")
    done = run_steps(steps, report, device=options.device, budget_s=options.budget)
    print(f"written to {report}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
