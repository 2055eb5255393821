"""The worker that a command hires before its plan is made.

To plan, a command has to know the device, which only a process of its own may touch: it imports
torch and tries. That takes as long as all else before the first run, so this process goes on to
be the first worker, and imports what it needs while the plan is made.

A worker that tries the device first and tells of it; see `bench.executors.warm_start`.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench.executors import worker
from bench.executors.local import Worker, WorkerLost
from bench.executors.protocol import Probed, read_probed, send
from bench.machine import environment
from bench.machine.environment import PROBE_TIMEOUT_S, Probe
from bench.machine.probe import probe_here
from bench.process import import_in_background, signals_deferred
from bench.store.files import StoreError


@dataclass(kw_only=True)
class WarmStart:
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
            with signals_deferred():
                self.worker.stop()
            self.worker = None


def start(*, hire: bool) -> WarmStart:
    """Tries the device, and imports torch meanwhile.

    Args:
        hire: Whether who tries is to be a worker afterwards.
    """
    if not hire:
        return WarmStart(probe=environment.probe_while_importing("torch"))
    try:
        worker = Worker.start("", Path(os.devnull), module="bench.executors.warm_start")
    except (OSError, StoreError):
        return start(hire=False)
    early = WarmStart(probe=Probe(), worker=worker)
    with import_in_background("torch"):
        try:
            early.probe = worker.read(time.monotonic() + PROBE_TIMEOUT_S, read_probed).probe
        except TimeoutError:
            early.close()
            early.probe = environment.unanswered(PROBE_TIMEOUT_S)
        except WorkerLost:
            early.close()
            return start(hire=False)  # its answer says what is wrong
        except BaseException:
            early.close()
            raise
    return early


def main() -> None:
    """Tells what the device can do, then does as every worker does."""
    messages = worker.begin()
    start = time.perf_counter()
    import torch  # noqa: F401 - what it takes is no part of the trial

    import_s = time.perf_counter() - start
    send(messages, Probed(probe=probe_here()))
    worker.work(messages, import_s)


if __name__ == "__main__":
    main()
