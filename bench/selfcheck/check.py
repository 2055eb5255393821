"""A self-check from the device to the folder that can be committed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.errors import UsageError
from bench.machine import environment
from bench.process import signals_deferred, signals_raise
from bench.selfcheck import hearing, journal, place, process, published, telling
from bench.selfcheck.conduct import DATA, Conduct, exit_code, shown
from bench.selfcheck.journal import Call, Journal, Outcome, Status
from bench.selfcheck.parts import Part, Place, parts
from bench.store.files import write_atomically
from bench.store.groups import group_folder
from bench.store.locks import held
from bench.store.store import Store
from pipelines import sources

FETCH_SHARE = 0.1  # of the time, for CIFAR-10 where it is not on this machine
LEAST_BUDGET_S = 10.0
LOCK = ".selfcheck.lock"

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `bench selfcheck` was asked for."""

    gpu: bool = False
    device: str = "auto"
    budget_s: float = 600.0
    source: str = "auto"
    data_dir: Path | None = None
    out: Path = Path("results")
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Checked:
    """How a call ended: its exit code and what it says."""

    exit_code: int
    said: str


def check(
    options: Options, report: Report, make_parts: Callable[[Place], list[Part]] = parts
) -> Checked:
    """Goes through all parts and writes what came out into the group's folder.

    Args:
        options: What was asked for.
        report: Gets a line now and then.
        make_parts: Gives the parts.

    Raises:
        UsageError: Something that was asked for does not exist or cannot be had.
        StoreError: The folder cannot be read or written, or another self-check has it.
    """
    start, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    if not LEAST_BUDGET_S <= options.budget_s < float("inf"):
        raise UsageError(f"--budget is at least {LEAST_BUDGET_S:g} s, got {options.budget_s:g}")
    place.check_source(options.source)
    probe = environment.probe()
    device = place.choose_device(options.device, gpu=options.gpu, probe=probe)
    code = place.code_digest()
    source, fetched = find_source(options, start, report)
    scale = "full" if device == "cuda" else "cpu"
    group = group_folder(options.out, environment.machine_name(device), source, scale)
    there = Place(
        device=device,
        source=source,
        data_dir=options.data_dir,
        out=options.out,
        group=group,
        folder=Path.cwd(),
    )
    conduct = Conduct(
        parts=make_parts(there),
        group=group,
        budget_s=options.budget_s,
        code=code,
        chosen=options.parts,
        report=report,
    )
    Store(group).check_writable()
    call = Call(started=started, budget_s=options.budget_s, environment=place.describe(probe))
    with held(group / LOCK, notice=report):
        before = journal.read(group) or Journal(device=device, source=source, scale=scale)
        present = conduct.go(before.with_outcome(replace(fetched, code=code)), call, start)
        return _told(present, conduct)


def find_source(options: Options, start: float, report: Report) -> tuple[str, Outcome]:
    """The source to use, and how it was come by.

    Raises:
        UsageError: CIFAR-10 was asked for and cannot be had, or it was stopped from outside.
    """
    outcome = Outcome(part=DATA, task=DATA, status="ok")
    if options.source == "shapes":
        return "shapes", replace(outcome, said="shapes, which are generated")
    folder = options.data_dir or sources.default_data_dir()
    if sources.is_cached("cifar10", folder):
        return "cifar10", replace(outcome, said="CIFAR-10 is on this machine")
    outcome = _fetched(options, start, outcome)
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    if outcome.status == "ok":
        return "cifar10", outcome
    if options.source == "cifar10":
        raise UsageError(
            f"--source cifar10: it cannot be had here: {outcome.said}. Name a folder that has it "
            "with --data-dir, or leave --source out to use generated images"
        )
    report(
        f"CIFAR-10 cannot be had here ({outcome.said}): all is tried with the generated source "
        "'shapes', and nothing can be compared with published figures. --data-dir names a folder "
        "that has it."
    )
    return "shapes", outcome


def _fetched(options: Options, start: float, outcome: Outcome) -> Outcome:
    data_dir = [] if options.data_dir is None else ["--data-dir", str(options.data_dir)]
    command = [*environment.python_module("bench"), "data", "cifar10", *data_dir]
    with TemporaryDirectory() as scratch, signals_raise(), signals_deferred():
        log = Path(scratch) / "data.log"
        deadline = start + FETCH_SHARE * options.budget_s
        ended = process.carry_out(command, log=log, deadline=deadline, folder=Path.cwd())
        said, tail = hearing.last_line(log), hearing.tail(log)
    done = replace(outcome, command=shown(command), seconds=round(ended.seconds, 2), said=said)
    if ended.how == "exited" and ended.code == 0:
        return done
    if ended.how == "exited":
        return replace(done, status="failed", tail=tail)
    status: Status = "stopped" if ended.how == "overran" else "interrupted"
    return replace(done, status=status, said="fetching it took too long", tail=tail)


def _told(present: Journal, conduct: Conduct) -> Checked:
    """Writes the words; what this call did decides the exit code."""
    compared = _compared(conduct.group)
    order = [DATA, *(part.name for part in conduct.parts)]
    text = telling.markdown(present, order, compared)
    write_atomically(conduct.group / telling.FILE, text.encode())
    done = [one for one in present.outcomes if one.task in present.calls[-1].tasks]
    said = telling.summary(done, compared, str(conduct.group))
    return Checked(exit_code=exit_code(done), said=said)


def _compared(group: Path) -> list[str]:
    try:
        return published.compare(Store(group).records())
    except ImportError as error:  # intervals need scipy; what was measured is filed without them
        return [f"nothing is compared with published figures: {error}"]
