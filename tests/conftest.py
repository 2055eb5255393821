"""Settings that must stand before anything imports torch."""

import os
import signal

from hypothesis import settings

# As in the suite's workers: threads that spin make tests crawl on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is no fault of an example.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a sixth of the time tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


# A job in the background inherits that it ignores these; the processes that tests stop must not.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
