"""`--shard 3/8`: parts that are disjoint, whole, equal, hold a net together, and stay."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.cell import Run
from bench.cli import app
from bench.errors import UsageError
from bench.executors import runner as executing
from bench.grid import plan as planning
from bench.grid.options import RunOptions
from bench.grid.shards import WHOLE, Shard, parse, part, told
from bench.machine.environment import Probe
from tests.checkout import ROOT
from tests.made import made_run
from tests.made_device import device_is

QUICK = settings(max_examples=40, deadline=None, database=None)
# Cells of each net: how many policies it is trained with.
NETS = st.lists(st.integers(1, 6), min_size=1, max_size=6)
SEEDS, SHARDS = st.integers(1, 3), st.integers(1, 12)


def runs_of(nets: list[int], seeds: int) -> list[Run]:
    """A grid: nets that are compiled, each with so many policies, and so many seeds."""
    return [
        made_run(seed, architecture=f"net{net}", augmentation=f"policy{policy}", compile=True)
        for net, policies in enumerate(nets)
        for seed in range(seeds)
        for policy in range(policies)
    ]


def parts(runs: list[Run], of: int) -> list[list[Run]]:
    return [part(runs, Shard(number=number, of=of)) for number in range(1, of + 1)]


def homes(runs: list[Run], of: int) -> dict[str, int]:
    """In which shard each run is."""
    return {run.id: number for number, found in enumerate(parts(runs, of)) for run in found}


@QUICK
@given(nets=NETS, seeds=SEEDS, of=SHARDS)
def test_shards_are_disjoint_whole_and_equal_and_keep_the_order(
    nets: list[int], seeds: int, of: int
) -> None:
    runs = runs_of(nets, seeds)
    found = parts(runs, of)
    assert Counter(run.id for one in found for run in one) == Counter(run.id for run in runs)
    sizes = [len(one) for one in found]
    assert max(sizes) - min(sizes) <= 1
    for one in found:
        assert one == [run for run in runs if run in one]


@QUICK
@given(nets=NETS, seeds=SEEDS, of=SHARDS)
def test_a_net_is_compiled_in_few_shards(nets: list[int], seeds: int, of: int) -> None:
    found = parts(runs_of(nets, seeds), of)
    compiled = sum(len({run.cell.model_key for run in one}) for one in found)
    assert compiled <= len(nets) + of - 1


@QUICK
@given(nets=NETS, seeds=SEEDS, of=SHARDS, data=st.data())
def test_a_shard_does_not_depend_on_the_order_in_which_the_grid_names_its_runs(
    nets: list[int], seeds: int, of: int, data: st.DataObject
) -> None:
    runs = runs_of(nets, seeds)
    assert homes(data.draw(st.permutations(runs)), of) == homes(runs, of)


@QUICK
@given(nets=NETS, seeds=SEEDS, of=SHARDS, policies=st.integers(1, 4))
def test_runs_that_are_added_move_as_many_over_each_cut_at_most(
    nets: list[int], seeds: int, of: int, policies: int
) -> None:
    before = homes(runs_of(nets, seeds), of)
    after = homes(runs_of([*nets, policies], seeds), of)
    for cut in range(1, of):
        moved = [run for run, home in before.items() if (home < cut) is not (after[run] < cut)]
        assert len(moved) <= policies * seeds


@QUICK
@given(nets=NETS, seeds=SEEDS, more=st.integers(1, 4), of=SHARDS)
def test_seeds_that_are_added_move_one_cell_at_most_over_each_cut(
    nets: list[int], seeds: int, more: int, of: int
) -> None:
    runs = runs_of(nets, seeds)
    before, after = homes(runs, of), homes(runs_of(nets, seeds * more), of)
    for cut in range(1, of):
        moved = {run.cell for run in runs if (before[run.id] < cut) is not (after[run.id] < cut)}
        assert len(moved) <= 1


ELSEWHERE = """
from bench.grid.shards import Shard, part
from tests.made import made_run
runs = [made_run(seed, architecture=f"net{seed}", compile=True) for seed in range(9)]
print([[run.seed for run in part(runs, Shard(number=number, of=3))] for number in (1, 2, 3)])
"""


def test_shards_are_the_same_in_every_process() -> None:
    """A host works its part out by itself: Python's own hashes are others in each process."""
    said = {
        subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    (one,) = said
    assert one.count("[") == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0/8", "--shard 0/8: shards are counted from 1 to 8"),
        ("9/8", "--shard 9/8: shards are counted from 1 to 8"),
        ("3/0", "--shard 3/0: a grid has 1 to 10,000 shards"),
        ("1/10001", "--shard 1/10001: a grid has 1 to 10,000 shards"),
        ("x", "--shard takes K/N, as in 3/8 for the third of eight, got 'x'"),
        ("", "got ''"),
        ("3", "got '3'"),
        ("-1/8", "got '-1/8'"),
        ("3/8/9", "got '3/8/9'"),
        ("٣/8", "got '٣/8'"),
        ("3/8\n", r"got '3/8\n'"),
        ("1" * 5000 + "/8", "got '1"),
    ],
)
def test_what_is_no_shard_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200


def test_the_whole_is_told_as_nothing_and_a_part_by_its_number() -> None:
    assert parse(None) == WHOLE == parse("1/1")
    assert told(WHOLE, 96, 96) == ""
    assert told(parse("3/8"), 12, 96) == "shard 3/8: 12 of the grid's 96 runs"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a GPU and with generated images only; nothing may be trained."""
    monkeypatch.chdir(tmp_path)
    device_is(monkeypatch, Probe(cuda_problem="none"))
    sources = SimpleNamespace(
        default_data_dir=lambda: tmp_path,
        resolve=lambda asked, data_dir, report: (asked, ""),
        load=lambda name, data_dir, report: SimpleNamespace(fingerprint="f00d"),
    )
    monkeypatch.setattr(planning, "sources", sources)
    monkeypatch.setattr(executing, "LocalExecutor", lambda **_: pytest.fail("it trained"))


GRID = ["--source", "shapes", "--device", "cpu", "-k", "resnet18 and sgd", "--seeds", "5"]


def bench(*words: str) -> Any:
    return CliRunner().invoke(app.app, ["run", *GRID, *words])


@pytest.mark.usefixtures("machine")
def test_the_shards_of_a_command_are_the_grid_of_the_command_without() -> None:
    options = RunOptions(source="shapes", device="cpu", select="resnet18 and sgd", seeds=5)
    whole = planning.make(options, print)
    shards = [planning.make(replace(options, shard=f"{k}/2"), print) for k in (1, 2)]
    todo = [run.id for shard in shards for run in shard.todo]
    assert whole.shard == ""
    assert sorted(todo) == sorted(run.id for run in whole.todo)
    assert len(todo) == len(set(todo)) > 10
    assert shards[1].shard == f"shard 2/2: {len(shards[1].runs)} of the grid's {len(todo)} runs"


@pytest.mark.usefixtures("machine")
def test_a_dry_run_says_which_shard_it_shows() -> None:
    done = bench("--dry-run", "--shard", "2/4")
    assert done.exit_code == 0, done.output
    assert "shard 2/4: " in done.stdout
    assert 0 < done.stdout.count("to run   ") < bench("--dry-run").stdout.count("to run   ")


@pytest.mark.usefixtures("machine")
def test_the_summary_says_which_shard_it_is_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = executing.GridOutcome(counts=executing.Counter(ok=1), interrupted=False)
    monkeypatch.setattr(executing, "run_plan", lambda *args, **kwargs: outcome)
    done = bench("--shard", "2/4")
    assert done.exit_code == 0, done.output
    first, *_, above = done.stdout[: done.stdout.index("\n1 run: 1 ok")].splitlines()
    assert above.startswith("shard 2/4: ")
    assert first != above or done.stdout.count("shard 2/4: ") == 2


@pytest.mark.usefixtures("machine")
def test_a_shard_of_more_shards_than_runs_may_be_empty() -> None:
    words = ["--source", "shapes", "--device", "cpu", "-k", "resnet18/sgd/none/kornia", "--dry-run"]
    sizes = []
    for number in range(1, 4):
        done = CliRunner().invoke(app.app, ["run", *words, "--shard", f"{number}/3"])
        assert done.exit_code == 0, done.output
        sizes.append(done.stdout.count("to run   resnet18"))
    assert sorted(sizes) == [0, 0, 1]
