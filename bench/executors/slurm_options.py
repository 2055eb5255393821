"""What `--slurm KEY=VALUE` may say; known without submitit."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bench.errors import UsageError
from pipelines.catalog import unknown_name

CLUSTERS = ("slurm", "local")


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """How jobs are submitted.

    Args:
        cluster: "slurm", or "local" for processes of this machine, to try a grid without Slurm.
        folder: Where jobs and their words are kept while they run; all nodes must see it.
        at_once: Jobs that are in the queue or run at once, at most.
        time_min: Of a job; left out, what the longest run may take and ten minutes more.
        cpus: Of a job; left out, what this process may use.
        mem_gb: Of a job; left out, what Slurm gives.
        exclusive: Whether a job has its node alone, which its times need.
        partition, account, qos, constraint: As in `sbatch`; left out, what Slurm gives.
    """

    cluster: str = "slurm"
    folder: Path | None = None
    at_once: int = 64
    time_min: int | None = None
    cpus: int | None = None
    mem_gb: int | None = None
    exclusive: bool = False
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None


def read(words: Sequence[str]) -> SlurmOptions:
    """The options that are spelled KEY=VALUE.

    Raises:
        UsageError: One has no such key or value, or a key comes twice.
    """
    known = [field.name for field in fields(SlurmOptions)]
    found: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known:
            raise UsageError(unknown_name("key of --slurm", key, known))
        if not equals or not value:
            raise UsageError(f"--slurm {word}: write {key}=VALUE")
        if key in found:
            raise UsageError(f"--slurm {key} is given twice: leave one of them out")
        found[key] = _value(key, value)
    return SlurmOptions(**found)  # type: ignore[arg-type]


def _value(key: str, value: str) -> object:
    if key in ("at_once", "time_min", "cpus", "mem_gb"):
        if not (value.isascii() and value.isdecimal() and 0 < int(value) < 10**6):
            raise UsageError(f"--slurm {key}={value}: it must be a whole number from 1 to 999999")
        return int(value)
    if key == "exclusive":
        if value not in ("yes", "no"):
            raise UsageError(f"--slurm exclusive={value}: it is yes or no")
        return value == "yes"
    if key == "cluster" and value not in CLUSTERS:
        raise UsageError(unknown_name("value of --slurm cluster", value, list(CLUSTERS)))
    if key == "folder":
        return Path(value)
    if any(not character.isprintable() for character in value):
        raise UsageError(f"--slurm {key}: {value!r} has characters that sbatch cannot be given")
    return value


__all__ = ["SlurmOptions", "read"]
