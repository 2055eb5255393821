"""What a worker prints goes to its log, and never costs a run."""

import os
from pathlib import Path

from bench.output import forgiving


def test_lines_are_in_the_file_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        stream = forgiving(file.fileno())
        print("räksmörgås \udc80", file=stream)
        assert (tmp_path / "log").read_text() == "räksmörgås \\udc80\n"
        assert stream.fileno() == file.fileno()


def test_a_full_disk_is_no_error() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        stream = forgiving(full)
        print("x" * 100_000, file=stream, flush=True)
        stream.flush()
    finally:
        os.close(full)
