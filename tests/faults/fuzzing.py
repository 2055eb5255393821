"""Runs fuzz tests in a forked process with limits.

The child may use a limited amount of memory and time, write only to given folders, and may not
unpickle, connect, or start a program. PIPELINE_BENCH_FUZZ multiplies the number of inputs.
"""

import faulthandler
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TIMES = int(os.environ.get("PIPELINE_BENCH_FUZZ", "1"))
GIB = 2**30
NEVER = ("pickle.find_class", "socket.connect", "subprocess.Popen", "os.system", "os.exec")
NONE = -1
# Audit events that change files: for each path, the places of its argument and of the descriptor of
# the folder that it is relative to.
CHANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)), "os.link": ((1, 3),), "os.symlink": ((1, 2),),
    "os.chmod": ((0, 2),), "os.chown": ((0, 3),), "os.truncate": ((0, NONE),),
}  # fmt: skip


class Forbidden(BaseException):
    """The child did something forbidden; no `Exception`, so that handlers do not swallow it."""


def run_isolated(
    work: Callable[[], object],
    *,
    writes: Sequence[Path] = (),
    seconds: float = 300.0,
    more_memory: int = GIB,
) -> None:
    """Runs `work`, which may change files in `writes`, in a forked process; shows its traceback."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        _in_child(work, writes, seconds, more_memory, writing)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        os.set_blocking(pipe.fileno(), False)  # a process that the child left may hold it open
        message = (pipe.read() or b"").decode(errors="replace")
    assert status == 0, message or f"ended with status {status}"


def _in_child(
    work: Callable[[], object],
    writes: Sequence[Path],
    seconds: float,
    more_memory: int,
    writing: int,
) -> None:
    code = 1
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more_memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        faulthandler.dump_traceback_later(seconds, exit=True, file=writing)
        sys.addaudithook(_watch([os.path.realpath(folder) for folder in writes]))
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the parent raises it
        text = traceback.format_exc().encode(errors="replace")
        os.write(writing, text[-60_000:])  # a pipe holds no more than 65,536 bytes
    finally:
        os._exit(code)


def _watch(writes: Sequence[str]) -> Callable[[str, tuple[Any, ...]], None]:
    def check(path: Any, event: str, folder: int = NONE) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or path == os.devnull:
            return  # a descriptor, which was opened before
        base = Path.cwd() if folder == NONE else Path(f"/proc/self/fd/{folder}").readlink()
        place = (base / os.fsdecode(path)).parent.resolve()
        if not any(place.is_relative_to(allowed) for allowed in writes):
            raise Forbidden(f"{event} of {os.fsdecode(path)!r}")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in NEVER:
            raise Forbidden(f"{event} {arguments}")
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
                # opened through a link, what lies behind it is written
                check(os.path.realpath(path) if isinstance(path, str) else path, event)
        for place, folder in CHANGES.get(event, ()):
            check(arguments[place], event, NONE if folder == NONE else arguments[folder])

    return hook
