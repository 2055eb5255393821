"""What a Slurm job does instead of training; it is imported in the job, so it imports little."""

import os
import signal
from pathlib import Path
from typing import Any

import msgspec

from bench.executors.protocol import Done, EpochDone, Ready
from bench.job import Job, RecordBuilder
from tests.made import made_curve


def fake_job(line: bytes, messages: str, timeout_s: float, expected: Any, threads: Any) -> None:
    """Replaces `run_and_write`: does what the architecture says."""
    job = msgspec.json.decode(line, type=Job)
    folder, part = Path(job.folder), job.run.cell.architecture
    builder = RecordBuilder(job=job, curve=list(made_curve(1, 100, 0.5)))
    with Path(messages).open("ab", buffering=0) as file:
        file.write(msgspec.json.encode(Ready(import_s=0.0)) + b"\n")
        file.write(msgspec.json.encode(EpochDone(point=builder.curve[0])) + b"\n")
        tries = len(list(folder.glob("try*")))
        (folder / f"try{tries}").write_text(str(os.getpid()))
        if part == "is_preempted_once" and not tries:
            os.kill(os.getpid(), signal.SIGUSR2)
        if part == "is_killed_once" and not tries:
            os.kill(os.getpid(), signal.SIGKILL)
        file.write(msgspec.json.encode(Done(record=builder.record("ok"))) + b"\n")
