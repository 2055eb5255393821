"""The runs that `bench tensorboard` shows, and its TensorBoard process.

TensorBoard reads a temporary folder of links to the event files of the selected runs; with several
groups, their names are its subfolders. Event files can be rebuilt from records at any time.
"""

import json
import math
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import quote

from bench.cell import Cell
from bench.errors import UsageError
from bench.naming import Names
from bench.process import MARK, new_mark, signals_raise
from bench.record import Record
from bench.selection import matching
from bench.store.files import StoreError, explained, slug
from bench.store.groups import groups
from bench.store.store import Store
from bench.tensorboard.events import PATTERN
from bench.tensorboard.overview import (
    EXAMPLES,
    MATRIX,
    SEEDS,
    seeds_name,
    write_matrix_run,
    write_overview,
)
from bench.tensorboard.run_log import load_positives, write_run
from bench.text import Log, count

MAX_AUTO_SELECTED = 40  # with more runs TensorBoard selects none
PRESELECTED = 10
SHARED = (EXAMPLES, "loaders")  # folders that are always shown
LONGEST = 200  # characters of a link's name, before its id
RELOAD_S = 5
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0
# TensorBoard, which ends with this process however that ends.
SERVER = (
    "from bench.process import die_with_parent; die_with_parent();"
    "from tensorboard.main import run_main; run_main()"
)


@dataclass(frozen=True, kw_only=True)
class SelectedRuns:
    """The selected runs of one group."""

    store: Store
    records: tuple[Record, ...]
    is_whole_group: bool

    @property
    def folders(self) -> list[Path]:
        """Folder of the event files of each record, which may not exist."""
        return [self.store.tensorboard_path(record.run) for record in self.records]

    @property
    def missing(self) -> int:
        """Number of runs without event files."""
        return sum(not has_events(folder) for folder in self.folders)


def select_runs(results: Path, expression: str) -> list[SelectedRuns]:
    """Runs at or below a results folder whose cell matches, by group.

    Raises:
        StoreError: There are none, or they cannot be read.
        UsageError: `expression` is malformed or matches no cell.
    """
    stores = [Store(group.folder) for group in groups(results)]
    every = {store: store.records() for store in stores}
    if not any(every.values()):
        raise StoreError(f"there are no records under {results}: `bench run` writes some")
    return [
        SelectedRuns(
            store=store, records=tuple(found), is_whole_group=len(found) == len(every[store])
        )
        for store, found in matching(every, expression).items()
        if found
    ]


class View:
    """A folder of links to the event files of the selected runs; the caller removes it."""

    def __init__(self, folder: Path, selected: Sequence[SelectedRuns]) -> None:
        self.folder = folder
        self._selected = selected
        self._links = {group.store: link_names(group) for group in selected}
        own = selected[0].store.tensorboard_folder() / MATRIX
        if len(selected) == 1 and selected[0].is_whole_group and has_events(own):
            (folder / MATRIX).symlink_to(own.resolve())  # includes runs that are still to come
        else:
            records = [record for group in selected for record in group.records]
            write_matrix_run(folder / MATRIX, records)
        self.update()

    def update(self) -> None:
        """Links new event files; for a whole group, also those of new runs."""
        for group in self._selected:
            for name, target in _link_targets(group):
                link = self.folder / self._name(group, name)
                if not link.is_symlink():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(target.resolve())

    def page(self) -> str:
        """Query and fragment of the URL of the throughput view, without smoothing."""
        query, fragment = "?smoothing=0", "#custom_scalars&_smoothingWeight=0"
        links = [name for run in self._selection() for name in (run.name, run.seeds)]
        if not links:
            return query + fragment
        shown = [name for name in links if (self.folder / name).is_symlink()]
        names = dict.fromkeys([*shown, *self._shared_runs()], True)
        state = b64encode(json.dumps(names).encode()).decode()
        ids = [name.rpartition("-")[2] for name in shown]  # "seed0_0123abcd"
        query += f"&runFilter={quote('|'.join([*ids, *SHARED]))}"  # of the tab with time series
        return f"{query}{fragment}&runSelectionState={quote(state, safe='')}"

    def _selection(self) -> "list[_ShownRun]":
        """One run of each pipeline, with trusted times, that differ in nothing else, to select.

        Without such runs, the best run of each cell; none if TensorBoard would select all itself.
        """
        alike: defaultdict[tuple[str, Cell], dict[str, _ShownRun]] = defaultdict(dict)
        best: dict[str, _ShownRun] = {}
        for run in sorted(self._runs()):
            best.setdefault(run.seeds, run)
            cell = run.record.cell
            if run.record.times_trusted:
                others = run.name.rpartition("/")[0], cell.identity.without("pipeline")
                alike[others].setdefault(cell.pipeline, run)
        compared = max(alike.values(), key=len, default={})
        if len(compared) > 1:
            return list(compared.values())
        links = sum(path.is_symlink() for path in self.folder.rglob("*"))
        return list(best.values())[:PRESELECTED] if links > MAX_AUTO_SELECTED else []

    def _runs(self) -> Iterator["_ShownRun"]:
        for group in self._selected:
            for record, folder in zip(group.records, group.folders, strict=True):
                if has_events(folder):
                    yield _ShownRun(
                        rank=rank(record),
                        name=self._name(group, folder.name),
                        seeds=self._name(group, f"{SEEDS}/{seeds_name(record)}"),
                        record=record,
                    )

    def _shared_runs(self) -> Iterator[str]:
        for group in self._selected:
            for name in SHARED:
                folder = self.folder / self._name(group, name)
                if folder.is_dir():
                    folders = {path.parent for path in folder.rglob(PATTERN)}
                    yield from sorted(str(path.relative_to(self.folder)) for path in folders)

    def _name(self, group: SelectedRuns, name: str) -> str:
        name = self._links[group.store].get(name, name)
        return name if len(self._selected) == 1 else f"{group.store.folder.name}/{name}"


def link_names(group: SelectedRuns) -> dict[str, str]:
    """Names of the links to the folders of runs and seeds, which tell cells apart."""
    names = Names(record.cell for record in group.records)
    found = {}
    for record, folder in zip(group.records, group.folders, strict=True):
        seeds, cell = seeds_name(record), record.cell
        found[folder.name] = f"{_slug(names(record.name, cell))}_{folder.name[-8:]}"
        found[f"{SEEDS}/{seeds}"] = f"{SEEDS}/{_slug(names(cell.name, cell))}_{seeds[-8:]}"
    return found


def _slug(name: str) -> str:
    return slug(name, keep="_")[:LONGEST]


@dataclass(frozen=True, kw_only=True, order=True)
class _ShownRun:
    """A run with event files; better ones sort first."""

    rank: tuple[float, float]
    name: str  # of its folder in the view
    seeds: str  # folder of its cell's seeds, if it has several
    record: Record = field(compare=False)


def rank(record: Record) -> tuple[float, float]:
    """Sort key: trusted time to accuracy, then accuracy; failed runs last."""
    if record.metrics is None:
        return math.inf, math.inf
    time_s = record.metrics.time_to_accuracy_s if record.times_trusted else None
    return math.inf if time_s is None else time_s, -record.metrics.accuracy


def _link_targets(group: SelectedRuns) -> Iterator[tuple[str, Path]]:
    """Names in the view, with their folders of event files."""
    root = group.store.tensorboard_folder()
    names = {folder.name for folder in group.folders}
    with explained(f"read {root}"):
        folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for path in folders:
        if path.name == SEEDS:
            cells = {seeds_name(record) for record in group.records}
            for cell in sorted(path.iterdir()):
                if group.is_whole_group or cell.name in cells:
                    yield f"{SEEDS}/{cell.name}", cell
        elif path.name != MATRIX and (group.is_whole_group or path.name in (*names, *SHARED)):
            yield path.name, path


def has_events(folder: Path) -> bool:
    """Whether a folder has an event file."""
    return any(folder.glob(PATTERN))


def rebuild(selected: Sequence[SelectedRuns], log: Log) -> None:
    """Writes the event files of the selected runs, and those that each group's runs share.

    Raises:
        StoreError: A grid is running in one of the groups, or it cannot be written.
        UsageError: A file cannot be written.
    """
    for group in selected:
        store = group.store
        store.check_writable()
        with store.lock():
            for folder, record in zip(group.folders, group.records, strict=True):
                write_run(folder, record, load_positives(store, record), on_error=_raise)
            write_overview(store, store.records(), on_error=_raise)
        runs = count(len(group.records), "run")
        log(f"{store.folder}: event files of {runs} written from records")


def _raise(message: str) -> None:
    raise UsageError(message)


def serve(
    folder: Path,
    *,
    host: str,
    port: int | None,
    page: str,
    ready: Log,
    update: Callable[[], None],
) -> None:
    """Runs TensorBoard until SIGINT (Ctrl-C), SIGTERM or SIGHUP.

    Args:
        port: 0 for any free port, None for 6006 or the next free one.
        page: Query and fragment of the URL to show.
        ready: Called with the URL once the server answers.
        update: Called every `RELOAD_S` seconds.

    Raises:
        UsageError: TensorBoard cannot start, or ends by itself.
    """
    options = ["--logdir", str(folder), "--host", host, "--reload_interval", str(RELOAD_S)]
    options += ["--window_title", "pipeline-bench"] + ([] if port is None else [f"--port={port}"])
    with signals_raise(), TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVER, *options],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=os.environ | {MARK: new_mark()},
            process_group=0,
        )
        try:
            ready(f"{_wait_for_address(process, output)}{page}")
            while process.poll() is None:
                time.sleep(RELOAD_S)
                update()
            raise _ended(output)
        except KeyboardInterrupt:
            return
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_address(process: "subprocess.Popen[bytes]", output: IO[bytes]) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        _, found, rest = _read(output).partition(" at http")
        if found and "\n" in rest:
            return "http" + rest.split()[0]
        if ended:
            raise _ended(output)
        time.sleep(0.05)
    raise UsageError(f"TensorBoard did not start within {START_TIMEOUT_S:g} s")


def _ended(output: IO[bytes]) -> UsageError:
    reason = _read(output).strip().rpartition("\n")[2].removeprefix("ERROR: ")
    return UsageError(f"TensorBoard ended: {reason or 'without a reason'} (see --host and --port)")


def _read(output: IO[bytes]) -> str:
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), size, 0).decode(errors="replace")  # offset is the child's
