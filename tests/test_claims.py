"""Claims: one holder a run, the dead are overtaken once, the living never."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bench import claims
from bench.claims import Claims, Holder, birth, claims_in, living, none_left, place, told
from bench.store.files import StoreError

RUN = "0123456789abcdef"
ME = Holder(host=os.uname().nodename, pid=os.getpid(), born=birth(os.getpid()), place=place(),
            since="2026-01-01T00:00:00+00:00")  # fmt: skip


def never(text: str) -> None:
    pytest.fail(text)


def put(folder: Path, holder: Holder, number: int = 1, age_s: float = 0.0) -> Path:
    """A claim that somebody else has made."""
    path = folder / f"{RUN}.{number}.claim"
    path.write_bytes(msgspec.json.encode(holder))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


@pytest.fixture
def gone() -> Holder:
    """Who has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    holder = replace(ME, pid=process.pid, born=birth(process.pid))
    process.wait()
    return holder


def test_a_run_is_given_once_and_again_when_it_is_released(tmp_path: Path) -> None:
    with Claims(folder=tmp_path, notice=never) as one, Claims(folder=tmp_path, notice=never) as two:
        assert one.take(RUN) is None
        holder = two.take(RUN)
        assert holder is not None
        assert holder.pid == os.getpid()
        assert two.take("another") is None
        one.release(RUN)
        assert two.take(RUN) is None
    assert list(tmp_path.iterdir()) == []


def test_a_claim_of_a_dead_process_is_overtaken_with_a_note(tmp_path: Path, gone: Holder) -> None:
    put(tmp_path, gone)
    said: list[str] = []
    with Claims(folder=tmp_path, notice=said.append) as ours:
        assert ours.take(RUN) is None
        assert [path.name for path in tmp_path.iterdir()] == [f"{RUN}.2.claim"]
    assert said == [f"run {RUN} was claimed by {gone}, which is gone: taken over"]


def test_a_process_that_has_a_dead_ones_id_is_not_taken_for_it(tmp_path: Path) -> None:
    put(tmp_path, replace(ME, born="1"))
    with Claims(folder=tmp_path, notice=lambda text: None) as ours:
        assert ours.take(RUN) is None


@pytest.mark.parametrize(
    "elsewhere",
    [replace(ME, host="elsewhere"), replace(ME, place="another boot")],
    ids=["host", "boot or container"],
)
def test_a_process_that_cannot_be_seen_is_judged_by_its_heartbeat(
    tmp_path: Path, elsewhere: Holder
) -> None:
    elsewhere = replace(elsewhere, pid=1, born="1")
    with Claims(folder=tmp_path, notice=lambda text: None) as ours:
        put(tmp_path, elsewhere, age_s=claims.STALE_S / 2)
        assert ours.take(RUN) == elsewhere
        put(tmp_path, elsewhere, age_s=claims.STALE_S * 2)
        assert ours.take(RUN) is None


def test_a_claim_that_is_half_written_belongs_to_somebody_until_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / f"{RUN}.1.claim"
    path.touch()
    with Claims(folder=tmp_path, notice=lambda text: None) as ours:
        assert ours.take(RUN) == claims.UNKNOWN
        os.utime(path, (time.time() - claims.STALE_S * 2,) * 2)
        assert ours.take(RUN) is None


def test_claims_are_kept_alive_and_not_longer_than_they_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.01)
    with Claims(folder=tmp_path, notice=never) as ours:
        ours.take(RUN)
        (path,) = tmp_path.iterdir()
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 60
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline, "no heartbeat"
            time.sleep(0.01)
        ours.release(RUN)
        other = put(tmp_path, ME)
        os.utime(other, (0, 0))
        time.sleep(0.1)
        assert other.stat().st_mtime == 0


def test_a_claim_that_was_overtaken_is_left_to_who_has_it_now(tmp_path: Path) -> None:
    with Claims(folder=tmp_path, notice=never) as ours:
        ours.take(RUN)
        (path,) = tmp_path.iterdir()
        path.unlink()
        put(tmp_path, replace(ME, host="elsewhere"))
        ours.release(RUN)
    assert len(claims_in(tmp_path)) == 1


def test_two_that_find_one_claim_dead_do_not_both_get_the_run(
    tmp_path: Path, gone: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second overtakes, ends and is followed by a third between the first's look and claim."""
    put(tmp_path, gone)
    look, interposed = claims.is_dead, []
    third = replace(ME, host="third")

    def late(path: Path, holder: Holder) -> bool:
        found = look(path, holder)
        if not interposed:
            interposed.append(path)
            path.unlink()
            put(tmp_path, third)
        return found

    monkeypatch.setattr(claims, "is_dead", late)
    with Claims(folder=tmp_path, notice=never) as first:
        assert first.take(RUN) == third
    assert [path.name for path in tmp_path.iterdir()] == [f"{RUN}.1.claim"]


def test_of_two_that_find_no_claim_one_gets_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other claims between the first's look and its own claim."""
    look, other = claims.claims_in, replace(ME, host="elsewhere")

    def late(folder: Path, pattern: str = "*") -> dict[Path, Holder]:
        found = look(folder, pattern)
        if not found:
            put(tmp_path, other)
        return found

    monkeypatch.setattr(claims, "claims_in", late)
    with Claims(folder=tmp_path, notice=never) as ours:
        assert ours.take(RUN) is not None
    assert list(look(tmp_path).values()) == [other]


def test_one_that_shares_is_named_once_and_alike_whatever_it_claims(tmp_path: Path) -> None:
    with Claims(folder=tmp_path, notice=never) as ours:
        ours.take(RUN)
        before = told(tmp_path)
        ours.take("another")
        assert told(tmp_path) == before
        assert len(set(claims_in(tmp_path).values())) == 2


def test_a_folder_for_one_is_cleared_of_the_dead_and_refused_while_others_live(
    tmp_path: Path, gone: Holder
) -> None:
    put(tmp_path, gone)
    said: list[str] = []
    none_left(tmp_path, wait=False, notice=said.append)
    assert len(said) == 1
    assert list(tmp_path.iterdir()) == []
    put(tmp_path, replace(ME, host="elsewhere"))
    assert [holder.host for holder in living(tmp_path)] == ["elsewhere"]
    assert told(tmp_path).startswith(f"bench run --share: pid {os.getpid()} on elsewhere, since ")
    with pytest.raises(StoreError, match=r"is in use: already running .*elsewhere.*: go away"):
        none_left(tmp_path, wait=False, notice=never, advice=": go away")


def test_who_waits_for_claims_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "POLL_S", 0.01)
    path, said = put(tmp_path, replace(ME, host="elsewhere")), []

    def told_once(text: str) -> None:
        said.append(text)
        path.unlink()

    none_left(tmp_path, wait=True, notice=told_once)
    assert len(said) == 1
    assert "waiting: " in said[0]


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    try:
        deadline = time.monotonic() + 60
        while birth(process.pid):
            assert time.monotonic() < deadline, "it never ended"
            time.sleep(0.01)
    finally:
        process.wait()
    assert birth(os.getpid())
