"""Who trains which run when several `bench run --share` work on one folder, also from many hosts.

A run is claimed by a file that only one process can make (O_EXCL), which says who that is. Its
modification time is the heartbeat. A claim whose holder is dead is overtaken by one of the next
number: two that find it dead cannot both make that, and none can take the other's for the old one.
"""

import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self

import msgspec

from bench.store.files import StoreError, explained, read_file

BEAT_S = 10.0
POLL_S = 1.0
LARGEST_CLAIM = 4096  # bytes
STALE_S = 180.0  # more than a network file system may take to show a heartbeat (60 s)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who made a claim.

    Args:
        host: Its name.
        pid: Of the process there.
        born: When that process began, in the system's own count; tells a reused pid apart.
        place: Names the system that runs now and its process ids; "" where it cannot be told.
        since: When it began to share (UTC).
        token: Tells its claims apart.
    """

    host: str
    pid: int
    born: str
    place: str
    since: str
    token: str = ""

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, since {self.since}"

    def is_gone(self) -> bool | None:
        """Whether its process has ended; None where that cannot be seen from here."""
        if self.host != platform.node() or self.place != place():
            return None
        if self.place:
            now = birth(self.pid)
            return not now or now != self.born
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


UNKNOWN = Holder(host="a host that is not known yet", pid=0, born="", place="?", since="just now")


@cache
def place() -> str:
    """This boot of this machine and its space of process ids; "" on a system without /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def birth(pid: int) -> str:
    """When a process began, as the system counts; "" when there is none that runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


@dataclass(kw_only=True)
class Claims:
    """This process's claims in a folder; a context that keeps them alive and ends them.

    Args:
        folder: Where the claims are. The records' own folder: to make a claim there is what lets
            a network file system see the records that others have just written.
        notice: Is told of claims that were taken over.
    """

    folder: Path
    notice: Callable[[str], None]
    _me: Holder = field(default_factory=lambda: _this_process())
    _mine: dict[str, tuple[Path, int]] = field(default_factory=dict)
    _touching: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)
    _beating: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._beating = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._beating.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._beating is not None:
            self._beating.join()
        for run_id in list(self._mine):
            self.release(run_id)

    def take(self, run_id: str) -> Holder | None:
        """Claims a run; None when it is ours now, else who has it.

        Raises:
            StoreError: The claim cannot be written.
        """
        found = self._of(run_id)
        dead = {path: holder for path, holder in found.items() if is_dead(path, holder)}
        if len(dead) < len(found):
            return next(holder for path, holder in found.items() if path not in dead)
        number = 1 + max((_number(path) for path in found), default=0)
        path = self.folder / f"{run_id}.{number}.claim"
        me = replace(self._me, token=token_hex(8))
        with explained(f"write {path}"):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                return UNKNOWN  # made just now; who made it may not stand there yet
            with self._touching:
                self._mine[run_id] = (path, descriptor)
            os.write(descriptor, msgspec.json.encode(me))
        # Made while we looked: one that is neither ours nor one of the dead.
        for other, holder in self._of(run_id).items():
            if other != path and dead.get(other) != holder:
                self.release(run_id)
                return holder
        for other, holder in dead.items():
            with suppress(OSError):
                other.unlink(missing_ok=True)
            self.notice(f"run {run_id} was claimed by {holder}, which is gone: taken over")
        return None

    def release(self, run_id: str) -> None:
        """Ends a claim of ours; one that was overtaken meanwhile is left to who has it now."""
        with self._touching:
            path, descriptor = self._mine.pop(run_id)
            with suppress(OSError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    path.unlink()
            os.close(descriptor)

    def _of(self, run_id: str) -> dict[Path, Holder]:
        return claims_in(self.folder, f"{run_id}.*")

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with self._touching:  # else a number that is closed here may be another file's
                for _, descriptor in self._mine.values():
                    with suppress(OSError):  # overtaken and removed, on another host
                        os.utime(descriptor)


def claims_in(folder: Path, pattern: str = "*") -> dict[Path, Holder]:
    """The claims in a folder and who made them, those that are half written under `UNKNOWN`."""
    found = {}
    for path in sorted(folder.glob(f"{pattern}.claim")):
        with suppress(FileNotFoundError):
            found[path] = _read(path) or UNKNOWN
    return found


def living(folder: Path) -> list[Holder]:
    """Who holds claims in a folder and is not known to be dead, each once."""
    found = claims_in(folder).items()
    alive = [holder for path, holder in found if not is_dead(path, holder)]
    return list({(holder.host, holder.pid): holder for holder in alive}.values())


def told(folder: Path) -> str:
    """The same in words: "bench run --share: pid 7 on a, since ...; pid 9 on b, since ..."."""
    return f"bench run --share: {'; '.join(map(str, living(folder)))}".removesuffix(": ")


def none_left(folder: Path, *, wait: bool, notice: Callable[[str], None], advice: str = "") -> None:
    """Sees to it that nobody has claims in a folder that this process has locked for itself.

    Those of the dead are removed. There are others only where locks do not reach from host to host.

    Args:
        folder: Of the records.
        wait: Whether to wait for those who live, instead of raising an error.
        notice: Is told who is waited for, and whose claims were removed.
        advice: What to do about those who live.

    Raises:
        StoreError: Somebody who lives has claims.
    """
    said = ""
    while living(folder):
        who = f"{folder.parent} is in use: already running ({told(folder)})"
        if not wait:
            raise StoreError(who + advice)
        if who != said:
            notice(f"waiting: {who}")
            said = who
        time.sleep(POLL_S)
    for path, holder in claims_in(folder).items():
        with explained(f"remove {path}"):
            path.unlink(missing_ok=True)
        notice(f"{path.name} was a claim of {holder}, which is gone: removed")


def is_dead(path: Path, holder: Holder) -> bool:
    """Whether a claim's holder has ended or, where that cannot be seen, has long not been heard of.

    Times are compared by the clock of the file system, since those of two hosts may differ.
    """
    gone = holder.is_gone()
    if gone is not None:
        return gone
    probe = path.with_name(f"now.{os.getpid()}-{token_hex(4)}.tmp")
    try:
        probe.touch(exist_ok=False)
        return probe.stat().st_mtime - path.stat().st_mtime > STALE_S
    except FileNotFoundError:  # it was ended just now
        return False
    except OSError:  # nothing can be written here, so nothing can be overtaken
        return False
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _this_process() -> Holder:
    return Holder(
        host=platform.node(),
        pid=os.getpid(),
        born=birth(os.getpid()),
        place=place(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _number(path: Path) -> int:
    """The number of a claim: "<run>.<number>.claim"."""
    number = path.name.split(".")[-2]
    return int(number) if number.isdecimal() else 0


def _read(path: Path) -> Holder | None:
    """Who made a claim; None when that cannot be read (it is made just now, or is damaged).

    Raises:
        FileNotFoundError: It was ended meanwhile.
    """
    try:
        return msgspec.json.decode(read_file(path, LARGEST_CLAIM), type=Holder)
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        return None
