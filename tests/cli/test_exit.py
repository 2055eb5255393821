"""Output whose reader goes away stops the command once, and what follows is said elsewhere."""

import subprocess
import sys

from bench.machine import environment

# Standard output is a pipe that nobody reads.
PROGRAM = """
import os, signal, sys
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(writer)
os.close(reader)
{before}
from bench.cli.exit import Outlet
outlet = Outlet(sys.stdout)
for word in ("one", "two"):
    try:
        outlet.write(word + "\\n")
    except KeyboardInterrupt:
        print("asked to stop", file=sys.stderr)
print("dropped, not complained of")
"""


def said(before: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        env=environment.python_environment(),
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )


def test_it_asks_to_stop_once_and_goes_on_in_standard_error() -> None:
    assert said().stderr == "asked to stop\ntwo\n"


def test_under_nohup_the_command_goes_on() -> None:
    found = said("signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    assert found.stderr == "one\ntwo\n"
