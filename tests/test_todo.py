"""Which runs are ours: not what another has done since, not what another holds."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.claims import Claims
from bench.record import Record
from bench.store import Store
from bench.todo import Todo
from tests.made import made_failure, made_record, made_run

RUNS = [made_run(seed) for seed in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.check_writable()
    return made


def todo_of(store: Store, claims: Claims | None = None) -> tuple[Todo, list[Record]]:
    seen = {record.run_id: record.content_hash for record in store.records()}
    plan: Any = SimpleNamespace(seen=seen)
    overtaken: list[Record] = []
    return Todo(plan=plan, store=store, claims=claims, overtaken=overtaken.append), overtaken


def test_a_failed_run_that_is_to_be_tried_again_is_ours_unless_another_just_did(
    store: Store,
) -> None:
    for seed in (0, 1):
        store.write(made_failure(seed))
    todo, overtaken = todo_of(store)
    store.write(made_failure(1))
    assert list(todo.ours(RUNS)) == [RUNS[0], RUNS[2]]
    assert [record.attempt for record in overtaken] == [2]


def test_a_run_that_another_left_undone_is_ours(store: Store) -> None:
    todo, overtaken = todo_of(store)
    for seed, status in enumerate(("interrupted", "skipped")):
        store.write(made_failure(seed, status=status))
    assert (list(todo.ours(RUNS)), overtaken) == (RUNS, [])


def test_what_others_hold_is_tried_again_at_the_end_and_then_left_to_them(store: Store) -> None:
    with store.claims(pytest.fail) as theirs, store.claims(pytest.fail) as ours:
        for run in RUNS[:2]:
            theirs.take(run.id)
        todo, overtaken = todo_of(store, ours)
        given = todo.ours(RUNS)
        assert next(given) == RUNS[2]
        todo.finish(RUNS[2].id)
        theirs.release(RUNS[1].id)
        assert next(given) == RUNS[1]
        todo.finish(RUNS[1].id)
        assert list(given) == []
        assert (list(todo.left), overtaken) == ([RUNS[0].id], [])
        assert todo.left_told.startswith("1 run is left to others that have claimed them: pid ")


def test_what_another_has_just_recorded_and_still_holds_is_done(store: Store) -> None:
    with store.claims(pytest.fail) as theirs, store.claims(pytest.fail) as ours:
        theirs.take(RUNS[0].id)
        todo, overtaken = todo_of(store, ours)
        store.write(replace(made_record(0), run_id=RUNS[0].id))
        assert list(todo.ours(RUNS[:1])) == []
        assert ([record.seed for record in overtaken], todo.left_told) == ([0], "")
