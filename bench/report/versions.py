"""The software that records were made with, in one line."""

from collections.abc import Iterable

from bench.record import Glance

NAMES = {"python": "Python", "pipeline_bench": "pipeline-bench"}
SOFTWARE = ("pipeline_bench", "torch", "torchvision", "kornia", "dali", "timm", "cuda", "python")


def versions(records: Iterable[Glance]) -> str:
    """ "pipeline-bench 0.1.0 (commit 1a2b3c4), torch 2.11.0, ..."; several of one with "and"."""
    found = list(records)
    said = []
    for name in SOFTWARE:
        values = _values(found, name)
        if name == "pipeline_bench" and (commits := _values(found, "commit")):
            short = " and ".join(commit[:7] for commit in commits[:3])
            more = f" and {len(commits) - 3} more" if len(commits) > 3 else ""
            values = [
                *values[:-1],
                f"{values[-1] if values else ''} (commit {short}{more})".strip(),
            ]
        if values:
            said.append(f"{NAMES.get(name, name)} {' and '.join(values)}")
    return ", ".join(said)


def _values(records: list[Glance], name: str) -> list[str]:
    values = {str(value) for record in records if (value := record.environment.get(name))}
    return sorted(values)
