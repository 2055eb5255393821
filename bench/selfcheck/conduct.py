"""Goes through the parts, each within its time, and files how every task ended."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.errors import UsageError
from bench.machine.environment import command_line
from bench.process import signals_allowed, signals_deferred, signals_raise
from bench.selfcheck import hearing, journal, process
from bench.selfcheck.journal import Call, Journal, Outcome, Status
from bench.selfcheck.parts import Part, Task
from bench.store.files import explained, make_folder, slug
from pipelines.catalog import unknown_name

LEAST_S = 2.0  # a task with less time is not begun
RESERVE = 0.03  # of the whole time: what stopping the last part takes

Report = Callable[[str], None]
KEPT = 0.5  # of a part's time, for those of its tasks that are to come
DATA = "data"  # the task that is done before all parts
BENCH = ["python", "-m", "bench"]
EXIT = {"ok": 0, "skipped": 0, "stopped": 1, "not begun": 1, "failed": 1, "interrupted": 130}
LOOK = 0.15  # of its share, for a part that is done and only looked at again


@dataclass(frozen=True, kw_only=True)
class Conduct:
    """What to go through.

    Args:
        parts: In order.
        group: The group's folder; gets the journal, and logs of the tasks under `logs`.
        budget_s: The whole call is to take no longer.
        code: Digest of the suite's code; what the same code did well is not done again.
        chosen: Names of the parts to go through, whether done or not; all others are left out.
            Empty for all that are not done.
        report: Gets a line at the begin and the end of each task.
    """

    parts: Sequence[Part]
    group: Path
    budget_s: float
    code: str
    chosen: Sequence[str]
    report: Report

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        for name in self.chosen:
            if name not in names:
                raise UsageError(unknown_name("part", name, names))

    def go(self, before: Journal, call: Call, start: float) -> Journal:
        """Goes through the parts and keeps the journal up to date after each task.

        Args:
            before: What earlier calls left.
            call: This call; its tasks and its time are filled in.
            start: When it began, on the monotonic clock.

        Raises:
            StoreError: The folder cannot be written.
        """
        with explained(f"make the folder {self.logs}"):
            make_folder(self.logs)
        names = {task.name for part in self.parts for task in part.tasks}
        present = replace(
            before.only(names | {part.name for part in self.parts} | {DATA}),
            calls=(*before.calls, call),
        )
        with signals_raise(), signals_deferred():
            for part, deadline in self._deadlines(start, before):
                tasks = _in_turn(part, before)
                for number, task in enumerate(tasks, start=1):
                    now = time.monotonic()
                    # One that hangs must not cost those after it in its part all their time.
                    share = 1.0 - KEPT * (len(tasks) - number) / len(tasks)
                    outcome = self._one(part, task, now + share * (deadline - now), present)
                    present = _noted(present, outcome, time.monotonic() - start)
                    journal.write(self.group, present)
                    if outcome.status == "interrupted":
                        return present
        return present

    @property
    def logs(self) -> Path:
        """Where what the tasks print goes."""
        return self.group / "logs"

    def _deadlines(self, start: float, before: Journal) -> Iterator[tuple[Part, float]]:
        """Each part and when it is to end: what is left over goes to those that follow.

        What is done already has next to no share, so that the others get the more of the time.
        """
        wanted = [part for part in self.parts if not self.chosen or part.name in self.chosen]
        shares = [self._share(part, before) for part in wanted]
        usable_s = start + self.budget_s * (1 - RESERVE) - time.monotonic()
        begun = time.monotonic()
        used = 0.0
        for part, share in zip(wanted, shares, strict=True):
            used += share
            yield part, begun + usable_s * used / max(sum(shares), 1e-9)

    def _share(self, part: Part, before: Journal) -> float:
        if part.missing:
            return 0.0
        outcomes = [before.last(task.name) for task in part.tasks]
        done = [
            one is not None and one.status == "ok" and one.code == self.code for one in outcomes
        ]
        if self.chosen or not all(done):
            return part.share
        return LOOK * part.share if any(task.always for task in part.tasks) else 0.0

    def _one(self, part: Part, task: Task | None, deadline: float, present: Journal) -> Outcome:
        name = part.name if task is None else task.name
        outcome = Outcome(
            part=part.name, task=name, status="skipped", started=_now(), code=self.code
        )
        if task is None or part.missing:
            return self._told(replace(outcome, said=part.missing or "there is nothing to do"))
        earlier = present.last(name)
        if earlier is not None and self._done(task, earlier):
            self.report(f"{name}: done before ({earlier.said})")
            return earlier
        left_s = deadline - time.monotonic()
        if left_s < LEAST_S:
            said = "no time was left; call it again to go on"
            if earlier is not None and earlier.status == "ok":
                return earlier
            return self._told(replace(outcome, status="not begun", said=said))
        try:
            with signals_allowed():
                pass  # a stop that comes between two tasks cuts nothing off
        except KeyboardInterrupt:
            return self._told(replace(outcome, status="interrupted", said="before it began"))
        return self._told(self._carried_out(task, outcome, deadline))

    def _done(self, task: Task, earlier: Outcome) -> bool:
        """Whether the same code did it well, and nobody asks for it by name."""
        again = task.always or bool(self.chosen) or earlier.code != self.code
        return earlier.status == "ok" and not again

    def _carried_out(self, task: Task, outcome: Outcome, deadline: float) -> Outcome:
        log = self.logs / f"selfcheck-{slug(task.name)}.log"
        command = shown(task.command)
        self.report(f"{task.name}: at most {deadline - time.monotonic():.0f} s: {command}")
        try:
            ended = process.carry_out(
                task.command,
                log=log,
                deadline=deadline,
                folder=task.folder,
                grace_s=task.grace_s,
            )
        except OSError as error:
            said = f"it cannot be started: {error.strerror}"
            return replace(outcome, status="failed", said=said, command=command)
        status: Status = "ok" if ended.code == 0 else "failed"
        if ended.how != "exited":
            status = "stopped" if ended.how == "overran" else "interrupted"
        hear = hearing.grid if task.grid else hearing.last_line
        hear_tail = hearing.grid_tail if task.grid else hearing.tail
        said = hear(log)
        if status == "stopped":
            said = f"its time was up{f': {said}' if said else ''}"
        elif status == "failed":
            said = f"exit code {ended.code}{f': {said}' if said else ''}"
        return replace(
            outcome,
            status=status,
            said=said,
            command=command,
            seconds=round(ended.seconds, 2),
            tail=() if status == "ok" else hear_tail(log),
        )

    def _told(self, outcome: Outcome) -> Outcome:
        took = f" after {outcome.seconds:.0f} s" if outcome.seconds else ""
        self.report(f"{outcome.task}: {outcome.status}{took}: {outcome.said}")
        return outcome


def _in_turn(part: Part, before: Journal) -> list[Task | None]:
    """The part's tasks, those that took too long the last time at the end; None if it has none."""
    if part.missing:
        return [None]
    stopped = {one.task for one in before.outcomes if one.status == "stopped"}
    return [*sorted(part.tasks, key=lambda task: task.name in stopped)] or [None]


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when all is done, 1 when something failed or is left, 130 when stopped from outside."""
    return max((EXIT[outcome.status] for outcome in outcomes), default=0)


def shown(command: Sequence[str]) -> str:
    """A command as a person would type it."""
    words = ["python" if word == sys.executable else word for word in command if word != "-P"]
    return command_line(["bench", *words[3:]] if words[:3] == BENCH else words)


def _noted(present: Journal, outcome: Outcome, seconds: float) -> Journal:
    *earlier, call = present.calls
    call = replace(
        call,
        seconds=round(seconds, 2),
        tasks=(*call.tasks, outcome.task),
        interrupted=outcome.status == "interrupted",
    )
    return replace(present.with_outcome(outcome), calls=(*earlier, call))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
