"""What a run of the suite trains with, for benchmarks that take its steps themselves."""

import torch

from bench.cell import Run
from bench.job import Job, RecordBuilder
from bench.training.setup import Parts, Shared, prepare
from pipelines import sources

CPU = torch.device("cpu")


def prepared(run: Run) -> tuple[RecordBuilder, Parts]:
    """Net, pipelines and images of a run on the CPU, which leaves nothing behind."""
    job = Job(run=run, folder="", data_dir=str(sources.default_data_dir()))
    draft = RecordBuilder(job=job)
    return draft, prepare(draft, Shared(), CPU)
