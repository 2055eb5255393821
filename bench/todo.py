"""Which runs of a plan are this process's to do: not done meanwhile, and not held by another."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.cell import Run
from bench.claims import Claims, Holder
from bench.record import Record
from bench.store import Store
from bench.wording import count

if TYPE_CHECKING:  # a plan knows the libraries; who carries it out need not load them
    from bench.plan import Plan

RERUN = ("interrupted", "skipped")  # statuses that are tried again without being asked


@dataclass(kw_only=True)
class Todo:
    """Hands out the runs of a plan.

    Args:
        plan: Says which records were seen when it was made.
        store: Of its group.
        claims: By which runs are shared; None when this process has the folder for itself.
        overtaken: Gets the records of runs that another process has done since the plan was made.
        left: Runs that others hold, filled in as runs are handed out.
    """

    plan: "Plan"
    store: Store
    claims: Claims | None
    overtaken: Callable[[Record], None]
    left: dict[str, Holder] = field(default_factory=dict)

    def ours(self, runs: Sequence[Run]) -> Iterator[Run]:
        """Those to do now, each when it is asked for; `finish` ends it.

        Runs that others hold are tried again at the end, as long as some can be had.

        Raises:
            StoreError: A claim cannot be written, or a record not be read.
        """
        waiting = list(runs)
        while waiting:
            held: dict[str, Holder] = {}
            for run in waiting:
                holder = self.claims.take(run.id) if self.claims else None
                if holder is not None:
                    held[run.id] = holder
                elif (record := self._done_since(run)) is not None:
                    self.finish(run.id)
                    self.overtaken(record)
                else:
                    yield run
            if len(held) == len(waiting):
                break
            waiting = [run for run in waiting if run.id in held]
        for run in waiting:
            record = self._done_since(run)
            if record is None:
                self.left[run.id] = held[run.id]
            else:
                self.overtaken(record)

    def finish(self, run_id: str) -> None:
        """The run is recorded, or need not be done: others may look at it again."""
        if self.claims is not None:
            self.claims.release(run_id)

    def _done_since(self, run: Run) -> Record | None:
        record = self.store.read(run.id)
        if record is None or record.status in RERUN:
            return None
        return None if record.content_hash == self.plan.seen.get(run.id) else record

    @property
    def left_told(self) -> str:
        """A sentence on the runs that were left to others; "" when there are none."""
        if not self.left:
            return ""
        whose = {str(holder): holder for holder in self.left.values()}
        runs = count(len(self.left), "run is", "runs are")
        return f"{runs} left to others that have claimed them: {'; '.join(whose)}"


__all__ = ["RERUN", "Todo"]
