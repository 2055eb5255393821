"""Programs that end at once: all is printed, all handlers are called, the code is the program's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import atexit, sys, threading, time
from bench.ending import ending_at_once

class Slow:
    def __del__(self):
        time.sleep(0.2)
        print("taken apart", flush=True)

kept = Slow()

def program():
    atexit.register(print, "a handler", end="")
    threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
    print("unflushed", end=" ")
    {last}

ending_at_once(program)
"""
DONE = "unflushed a thread\na handler"


def ended(last: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(last=last)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("last", "code"), [("pass", 0), ("sys.exit(0)", 0), ("sys.exit(3)", 3), ("sys.exit(130)", 130)]
)
def test_nothing_is_taken_apart(last: str, code: int) -> None:
    done = ended(last)
    assert (done.returncode, done.stdout, done.stderr) == (code, DONE, "")


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        ("raise ValueError('boom')", 1, "ValueError: boom"),
        ("sys.exit('a sentence')", 1, "a sentence"),
        ("raise KeyboardInterrupt", -2, "KeyboardInterrupt"),
    ],
)
def test_what_ends_otherwise_ends_as_python_has_it(last: str, code: int, said: str) -> None:
    done = ended(last)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout.startswith(DONE)
    assert done.stdout.endswith("taken apart\n")


def test_a_reader_that_is_gone_is_told_as_python_does() -> None:
    program = "from bench.ending import ending_at_once; ending_at_once(lambda: print('lost'))"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 120
    assert process.stderr is not None
    assert "BrokenPipeError" in process.stderr.read()
