"""Sides of a benchmark as processes of their own, which sleep until it is their turn."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Ask = Callable[[str], Any]


@contextmanager
def side(script: str, *arguments: str, settings: Mapping[str, str]) -> Iterator[Ask]:
    """A process that runs `script`; gives what puts a question to it and waits for the answer.

    Args:
        script: A program that ends in `serve`.
        arguments: Its command line.
        settings: Variables of its environment that differ from ours.
    """
    process = subprocess.Popen(
        [sys.executable, script, *arguments],
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(question: str) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        print(question, file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()


def serve(answer: Ask) -> None:
    """Answers each line of standard input with a line of JSON."""
    for line in sys.stdin:
        print(json.dumps(answer(line.strip())), flush=True)
