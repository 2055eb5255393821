"""Settings that must stand before anything imports torch."""

import os

from hypothesis import settings

# As in the suite's workers: threads that spin make tests crawl on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is no fault of an example.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
