"""Settings that must stand before anything imports torch."""

import os

# As in the suite's workers: threads that spin make tests crawl on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
