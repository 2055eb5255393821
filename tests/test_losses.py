"""What failed enters no average; where that chooses between levels it is said, with how many."""

from typing import Any

from bench.record import Record
from bench.report.caveats import caveats
from bench.report.losses import Loss, lost_levels, uneven
from bench.report.outcomes import outcomes_by_group
from tests.made import made_failure, made_record

NETS = ("cnn2", "cnn4", "resnet18", "vit")


def grid(
    *, seeds: int = 1, diverged: tuple[Any, ...] = (), status: str = "diverged"
) -> list[Record]:
    """Four nets with two optimizers; (net, optimizer, seed) that did not end well."""
    return [
        made_failure(seed, status=status, architecture=net, optimizer=optimizer)
        if (net, optimizer, seed) in diverged
        else made_record(seed, architecture=net, optimizer=optimizer)
        for net in NETS
        for optimizer in ("sgd", "muon")
        for seed in range(seeds)
    ]


def of(records: list[Record]) -> list[Any]:
    (outcomes,) = outcomes_by_group(records).values()
    return outcomes


def told(records: list[Record]) -> str:
    return "\n".join(caveats(of(records), 0))


def loss(records: list[Record], level: str) -> Loss:
    (found,) = (one for one in uneven(of(records)) if one.level == level)
    return found


def test_an_optimizer_that_diverged_where_the_other_did_not_is_told_with_its_numbers() -> None:
    records = grid(diverged=(("vit", "muon", 0), ("cnn4", "muon", 0)))
    found = loss(records, "muon")
    assert (found.reference, found.cells, found.left_out) == ("sgd", 4, 2)
    assert (found.failed, found.runs) == ((2, 0), (4, 4))
    assert (
        "Failed runs enter no average and are unevenly spread, so these are effects on the cells "
        "that survived, which flatters what failed more: `muon` instead of `sgd` (2 of 4 runs "
        "failed, with `sgd` 0 of 4; 2 of 4 matched cells left out)" in told(records)
    )


def test_seeds_that_failed_count_though_their_cell_stays() -> None:
    found = loss(grid(seeds=3, diverged=(("vit", "muon", 0), ("vit", "muon", 2))), "muon")
    assert (found.failed, found.runs, found.left_out) == ((2, 0), (12, 12), 0)
    assert "left out" not in told(grid(seeds=2, diverged=(("vit", "muon", 0),)))


def test_the_most_uneven_stands_first_also_where_the_reference_failed() -> None:
    records = grid(diverged=tuple((net, "sgd", 0) for net in NETS[1:]))
    first = uneven(of(records))[0]
    assert (first.level, first.failed) == ("muon", (0, 3))
    assert "0 of 4 runs failed, with `sgd` 3 of 4; 3 of 4 matched cells left out" in told(records)


def test_what_failed_evenly_is_no_selection() -> None:
    diverged = tuple((net, optimizer, 0) for net in NETS for optimizer in ("sgd", "muon"))
    records = grid(seeds=2, diverged=diverged)
    assert uneven(of(records)) == []
    assert "unevenly" not in told(records)
    assert "unevenly" not in told(grid())


def test_what_was_skipped_or_interrupted_chooses_nothing() -> None:
    for status in ("skipped", "interrupted"):
        records = grid(diverged=(("vit", "muon", 0),), status=status)
        assert uneven(of(records)) == []
        assert lost_levels(of(records)) == []


def test_an_entry_of_which_nothing_ended_well_is_named() -> None:
    records = grid(diverged=tuple((net, "muon", 0) for net in NETS))
    assert lost_levels(of(records)) == [("muon", 4)]
    assert "no average or effect has it: `muon` (4 runs)." in told(records)
    assert uneven(of(records)) == []


def test_of_failures_alone_nothing_is_compared() -> None:
    records = [made_failure(0, optimizer=name) for name in ("sgd", "muon")]
    assert uneven(of(records)) == lost_levels(of(records)) == []
