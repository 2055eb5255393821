"""A worker that tries the device first and tells of it; see `bench.executors.early`."""

import time

from bench import worker
from bench.messages import Probed, send
from bench.probing import probe_here


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
