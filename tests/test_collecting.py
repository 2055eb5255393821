"""The collector of cycles rests while records are read, and is as it was before afterwards."""

import gc
from pathlib import Path
from typing import Any

import pytest

from bench import cli_table
from bench import store as storing
from bench.collecting import collector_rests
from bench.record import Record
from bench.report import table as tables
from bench.store import Store
from tests.made import made_record


def fail_within() -> None:
    with collector_rests():
        assert not gc.isenabled()
        raise ValueError("it broke")


@pytest.mark.parametrize("was_on", [True, False])
def test_it_is_as_it_was_before_whatever_happens(was_on: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        with pytest.raises(ValueError, match="it broke"):
            fail_within()
        assert gc.isenabled() == was_on
    finally:
        (gc.enable if before else gc.disable)()


def test_it_rests_while_records_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).write(made_record())
    seen: list[bool] = []
    read = storing.read_record

    def watched(kind: type[Record], path: Path, *, legibly: bool = False) -> Record | None:
        seen.append(gc.isenabled())
        return read(kind, path, legibly=legibly)

    monkeypatch.setattr(storing, "read_record", watched)
    assert len(Store(tmp_path).records()) == 1
    assert seen == [False]
    assert gc.isenabled()


def test_it_rests_until_the_table_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path / "m_shapes_cpu").write(made_record())
    seen: list[bool] = []
    drawn = tables.drawn

    def watched(*args: Any, **kwargs: Any) -> str:
        seen.append(gc.isenabled())
        return drawn(*args, **kwargs)

    monkeypatch.setattr(tables, "drawn", watched)
    cli_table.table(tmp_path, form="md")
    assert seen == [False]
    assert gc.isenabled()
