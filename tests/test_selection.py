"""-k selects, reports typos and refuses malformed expressions; shards divide a grid evenly."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cell import Run
from bench.errors import UsageError
from bench.selection import Shard, matching, parse_shard, select
from tests.made import made_cell, made_record, made_run

CELLS = [
    made_cell(architecture=architecture, optimizer=optimizer, pipeline="kornia[compiled]")
    for architecture in ("resnet18", "resnet34", "vit_tiny")
    for optimizer in ("sgd", "adamw")
]


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("", 6),
        ("resnet18", 2),
        ("resnet", 4),
        ("resnet and sgd", 2),
        ("resnet18 or vit_tiny", 4),
        ("not resnet", 2),
        ("not (resnet18 or vit_tiny) and adamw", 1),
        ("sgd and resnet18 or adamw and vit_tiny", 2),
        ("resnet18/sgd", 1),
        ("kornia[compiled]", 6),
    ],
)
def test_expressions(expression: str, count: int) -> None:
    assert len(select(CELLS, expression)) == count


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("25 epochs", {1, 3}),
        ("'1 epoch' or sgd and 25 epochs", {0, 1, 3}),
        ("not 25 epochs", {0, 2}),
        ("native (width 0.5, 25 epochs)", {1}),
        ("cnn4/sgd/none/native (25 epochs)", {1}),
        ("cnn4/sgd/none/native[x] (25 epochs)", {3}),
        ("/native (25 epochs)", {1, 3}),
    ],
)
def test_labels_and_names_can_be_used_as_shown(expression: str, chosen: set[int]) -> None:
    one = {"architecture": "cnn4", "augmentation": "none", "pipeline": "native", "epochs": 25}
    changes = [{"epochs": 1}, {"width": 0.5}, {"epochs": 5}, {"pipeline": "native[x]"}]
    cells = [made_cell(**one | change) for change in changes]
    assert {cells.index(cell) for cell in select(cells, expression)} == chosen


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("6 epochs", "no cell has '6 epochs': did you mean 4 epochs"),
        ("sgd (6 epochs)", "no cell has '6 epochs'"),
        ("sgd/flip_crop/kornia/seed0 (4 epochs)", "leave '/seed0' out"),
        ("resnet18 adn sgd", "unexpected 'adn' .did you mean and"),
        ("resnt18", "did you mean resnet18"),
        ("cnn4", "no cell has 'cnn4': words are"),
        ("resnet18 and vit_tiny", "matches none of the 6 cells"),
        ("resnet18 and", "is malformed: a word is missing"),
        *(
            (text, "malformed")
            for text in ("and", "(resnet18", "resnet18)", "()", "sgd ()", "sgd (")
        ),
    ],
)
def test_wrong_expressions_are_refused(expression: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(CELLS, expression)


def test_a_word_needs_to_be_known_in_one_group_only() -> None:
    groups = {"a": [made_record(), made_record(pipeline="dali")], "b": [made_record()], "c": []}
    found = matching(groups, "dali")
    assert found == {"a": groups["a"][1:], "b": [], "c": []}
    assert matching(groups, "") == groups
    assert matching({"c": []}, "dali") == {"c": []}
    with pytest.raises(UsageError, match="-a: no cell has 'dly'"):
        matching(groups, "dly", option="-a")


@given(st.text(alphabet="()abnotrdsgd ", max_size=30))
def test_any_text_selects_or_is_refused(expression: str) -> None:
    try:
        chosen = select(CELLS, expression)
    except UsageError:
        return
    assert set(chosen) <= set(CELLS)


QUICK = settings(max_examples=40, deadline=None, database=None)
# Cells of each net: how many policies it is trained with.
NETS = st.lists(st.integers(1, 6), min_size=1, max_size=6)
SEEDS, SHARDS = st.integers(1, 3), st.integers(1, 12)


def runs_of(nets: list[int], seeds: int) -> list[Run]:
    """A grid of compiled nets; `nets` has the number of policies of each."""
    return [
        made_run(seed, architecture=f"net{net}", augmentation=f"policy{policy}", compile=True)
        for net, policies in enumerate(nets)
        for seed in range(seeds)
        for policy in range(policies)
    ]


def parts(runs: list[Run], of: int) -> list[list[Run]]:
    return [Shard(number=number, of=of).part(runs) for number in range(1, of + 1)]


def homes(runs: list[Run], of: int) -> dict[str, int]:
    """The shard of each run, by id."""
    return {run.id: number for number, found in enumerate(parts(runs, of)) for run in found}


@QUICK
@given(nets=NETS, seeds=SEEDS, of=SHARDS)
def test_shards_divide_a_grid_evenly_and_compile_few_nets(
    nets: list[int], seeds: int, of: int
) -> None:
    runs = runs_of(nets, seeds)
    found = parts(runs, of)
    assert Counter(run.id for one in found for run in one) == Counter(run.id for run in runs)
    sizes = [len(one) for one in found]
    assert max(sizes) - min(sizes) <= 1
    for one in found:
        assert one == [run for run in runs if run in one]
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
def test_added_runs_move_at_most_as_many_across_each_cut(
    nets: list[int], seeds: int, of: int, policies: int
) -> None:
    before = homes(runs_of(nets, seeds), of)
    after = homes(runs_of([*nets, policies], seeds), of)
    for cut in range(1, of):
        moved = [run for run, home in before.items() if (home < cut) is not (after[run] < cut)]
        assert len(moved) <= policies * seeds


@QUICK
@given(nets=NETS, seeds=SEEDS, more=st.integers(1, 4), of=SHARDS)
def test_more_seeds_move_one_cell_at_a_cut(nets: list[int], seeds: int, more: int, of: int) -> None:
    runs = runs_of(nets, seeds)
    before, after = homes(runs, of), homes(runs_of(nets, seeds * more), of)
    for cut in range(1, of):
        moved = {run.cell for run in runs if (before[run.id] < cut) is not (after[run.id] < cut)}
        assert len(moved) <= 1


def test_shards_are_the_same_in_every_process() -> None:
    """A host computes its part by itself; Python's own hashes differ between processes."""
    runs = [made_run(seed, architecture=f"net{seed}", compile=True) for seed in range(9)]
    assert [[run.seed for run in part] for part in parts(runs, 3)] == [
        [3, 6, 7],
        [1, 4, 5],
        [0, 2, 8],
    ]
    runs = runs_of([2, 1], seeds=2)
    assert parse_shard(None) == parse_shard("1/1") == Shard()
    assert parse_shard(None).part(runs) == runs


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_an_invalid_shard_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shard(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200
