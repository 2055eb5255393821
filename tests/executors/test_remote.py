"""Jobs on other nodes: as many at once as the cluster has room for, each recorded once."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.executors.base import Watcher
from bench.executors.protocol import Done, EpochDone, Message, Ready
from bench.executors.remote import MAX_ATTEMPTS, JobLost, RemoteExecutor, collect_files, save_files
from bench.job import Job, RecordBuilder
from bench.record import Record
from bench.store.store import Store
from tests.executors.fake_cluster import made_job, watcher
from tests.made import made_curve

READY = Ready(import_s=0.0)
News = tuple[int, Message | JobLost]


class Cluster:
    """Loses the jobs of a seed as often as `losses` says, then ends them, together or in turn."""

    def __init__(self, *, room: int, losses: dict[int, int], together: bool = True) -> None:
        self.size, self.losses, self.together = room, losses, together
        self.jobs: dict[int, Job] = {}
        self.submitted = self.most = 0
        self.cancelled: list[int] = []
        self.closed = False

    def capacity(self) -> int:
        return self.size

    def submit(self, jobs: Sequence[Job]) -> list[int]:
        first = self.submitted + 1
        self.submitted += len(jobs)
        self.jobs.update(enumerate(jobs, first))
        return list(range(first, self.submitted + 1))

    def poll(self, tickets: Sequence[int]) -> list[News]:
        self.most = max(self.most, len(tickets))
        return [self._end(ticket) for ticket in (tickets if self.together else tickets[:1])]

    def _end(self, ticket: int) -> News:
        job = self.jobs[ticket]
        if self.losses.get(job.run.seed, 0):
            self.losses[job.run.seed] -= 1
            return ticket, JobLost(reason="the node burned down")
        return ticket, Done(record=RecordBuilder(job=job).record("ok"))

    def cancel(self, tickets: Sequence[int]) -> None:
        self.cancelled += tickets

    def close(self) -> None:
        self.closed = True


def jobs_of(folder: Path, number: int) -> list[Job]:
    return [made_job(folder, "plays", seed) for seed in range(number)]


@pytest.mark.parametrize("together", [True, False])
def test_a_thousand_jobs_are_recorded_once_each_and_never_more_begun_than_there_is_room(
    tmp_path: Path, together: bool
) -> None:
    losses = {seed: seed % MAX_ATTEMPTS for seed in range(0, 1000, 7)}
    cluster = Cluster(room=8, losses=dict(losses), together=together)
    lost: list[Record] = []
    found = list(RemoteExecutor(cluster=cluster).run(jobs_of(tmp_path, 1000), watcher(lost)))
    assert sorted(record.seed for record in found) == list(range(1000))
    assert {record.status for record in found} == {"ok"}
    assert len(lost) == sum(losses.values())
    assert cluster.submitted == 1000 + len(lost)
    assert cluster.most == 8


def test_a_job_that_is_lost_every_time_is_a_row_whoever_watches(tmp_path: Path) -> None:
    lost: list[Record] = []
    executor = RemoteExecutor(cluster=Cluster(room=1, losses={0: MAX_ATTEMPTS}))
    bad, good = executor.run(jobs_of(tmp_path, 2), watcher(lost))
    assert (bad.status, good.status) == ("crashed", "ok")
    assert "lost 3 times, the last time because the node burned down" in bad.error.message
    assert [record.status for record in lost] == ["interrupted"] * (MAX_ATTEMPTS - 1)
    executor = RemoteExecutor(cluster=Cluster(room=1, losses={0: 1}))
    silent = Watcher(started=lambda job: None, epoch=lambda *epoch: None)
    assert [record.status for record in executor.run(jobs_of(tmp_path, 1), silent)] == ["ok"]


def test_a_job_is_asked_for_only_when_it_can_begin(tmp_path: Path) -> None:
    asked = []

    def jobs() -> object:
        for job in jobs_of(tmp_path, 5):
            asked.append(job)
            yield job

    cluster = Cluster(room=2, losses={}, together=False)
    records = RemoteExecutor(cluster=cluster).run(jobs(), watcher([]))  # type: ignore[arg-type]
    next(records)
    assert len(asked) == 2
    next(records)
    assert len(asked) == 3


def test_closing_gives_what_had_ended_and_what_was_cut_off(tmp_path: Path) -> None:
    class Slow(Cluster):
        def poll(self, tickets: Sequence[int]) -> list[News]:
            if self.submitted < 3:
                return []
            ended = [self._end(ticket) for ticket in tickets if ticket < 3]
            return [*ended, (3, EpochDone(point=made_curve(1, 100, 0.5)[0]))]

    cluster = Slow(room=3, losses={})
    executor = RemoteExecutor(cluster=cluster)
    records = executor.run(jobs_of(tmp_path, 5), watcher([]))
    assert next(records).seed == 0
    records.close()
    ended, cut_off = executor.interrupted()
    assert (ended.seed, ended.status) == (1, "ok")
    assert (cut_off.seed, cut_off.status, len(cut_off.curve)) == (2, "interrupted", 1)
    assert cluster.cancelled == [3]
    assert cluster.closed


def test_what_only_waits_in_a_queue_is_neither_shown_nor_cut_off(tmp_path: Path) -> None:
    class Full(Cluster):
        def poll(self, tickets: Sequence[int]) -> list[News]:
            return [(1, READY), self._end(1)] if 1 in tickets else []

    started: list[int] = []
    watcher = Watcher(started=lambda job: started.append(job.run.seed), epoch=lambda *epoch: None)
    executor = RemoteExecutor(cluster=Full(room=9, losses={}))
    records = executor.run(jobs_of(tmp_path, 4), watcher)
    assert next(records).seed == 0
    assert started == [0]
    records.close()
    assert executor.interrupted() == []


@pytest.mark.parametrize("anew", [1, MAX_ATTEMPTS - 1, MAX_ATTEMPTS])
def test_a_job_that_the_cluster_begins_anew_has_lost_a_try(tmp_path: Path, anew: int) -> None:
    class Preempting(Cluster):
        def poll(self, tickets: Sequence[int]) -> list[News]:
            point = EpochDone(point=made_curve(1, 100, 0.5)[0])
            restarts: list[News] = [(1, READY), (1, point)] * (anew + 1)
            return [*restarts, self._end(1)] if anew < MAX_ATTEMPTS else restarts

    lost: list[Record] = []
    cluster = Preempting(room=1, losses={})
    (record,) = RemoteExecutor(cluster=cluster).run(jobs_of(tmp_path, 1), watcher(lost))
    assert [(one.status, len(one.curve)) for one in lost] == [("interrupted", 1)] * min(
        anew, MAX_ATTEMPTS - 1
    )
    assert (cluster.submitted, record.status) == (1, "ok" if anew < MAX_ATTEMPTS else "crashed")
    assert cluster.cancelled == ([] if anew < MAX_ATTEMPTS else [1])


def test_what_a_run_left_on_another_node_comes_back(tmp_path: Path) -> None:
    there, here = made_job(tmp_path / "there", "plays"), made_job(tmp_path / "here", "plays")
    store, run_id = Store(tmp_path / "there"), there.run.id
    store.log_path(run_id).write_text("last words")
    events = store.tensorboard_path(there.run)
    for path in (events / "events.1", store.folder / "predictions" / f"{run_id}.npz"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\0\1")
    (store.folder / "predictions" / "0123456789abcdef.npz").write_bytes(b"another's")
    record = RecordBuilder(job=there).record("ok")
    save_files(here, collect_files(store.folder, record))
    mine = Store(tmp_path / "here")
    assert mine.log_path(run_id).read_text() == "last words"
    assert (mine.tensorboard_path(here.run) / "events.1").read_bytes() == b"\0\1"
    assert [path.name for path in (mine.folder / "predictions").iterdir()] == [f"{run_id}.npz"]
