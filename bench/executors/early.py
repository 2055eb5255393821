"""The worker that a command hires before its plan is made.

To plan, a command has to know the device, which only a process of its own may touch: it imports
torch and tries. That takes as long as all else before the first run, so this process goes on to
be the first worker, and imports what it needs while the plan is made.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench import environment
from bench.environment import PROBE_TIMEOUT_S, Probe
from bench.executors.local import Worker, WorkerLost
from bench.files import StoreError
from bench.importing import importing
from bench.messages import read_probed
from bench.signals import stops_held


@dataclass(kw_only=True)
class Early:
    """What a command begins with. Close it when the command ends, or when nobody will take it.

    Args:
        probe: What the device can do.
        worker: Imports, or waits for its first run; None if there is none, or no more.
    """

    probe: Probe
    worker: Worker | None = None

    def take(self, device: str) -> Worker | None:
        """Hands the worker over; what has touched a GPU is of no use where a CPU is measured."""
        if device == "cpu" and self.probe.cuda:
            self.close()
        worker, self.worker = self.worker, None
        return worker

    def close(self) -> None:
        """Ends the worker, unless it was taken."""
        if self.worker is not None:
            with stops_held():
                self.worker.stop()
            self.worker = None


def begin(*, hire: bool) -> Early:
    """Tries the device, and imports torch meanwhile.

    Args:
        hire: Whether who tries is to be a worker afterwards.
    """
    if not hire:
        return Early(probe=environment.probe_while_importing("torch"))
    try:
        worker = Worker.start("", Path(os.devnull), module="bench.first_worker")
    except (OSError, StoreError):
        return begin(hire=False)
    early = Early(probe=Probe(), worker=worker)
    with importing("torch"):
        try:
            early.probe = worker.read(time.monotonic() + PROBE_TIMEOUT_S, read_probed).probe
        except TimeoutError:
            early.close()
            early.probe = environment.unanswered(PROBE_TIMEOUT_S)
        except WorkerLost:
            early.close()
            return begin(hire=False)  # its answer says what is wrong
        except BaseException:
            early.close()
            raise
    return early


__all__ = ["Early", "begin"]
