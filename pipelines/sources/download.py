"""Downloads a file from the first mirror that gives it whole; a dead mirror costs seconds."""

import hashlib
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.sources.errors import WayFailed, writing

ANSWER_S = 4.0
STALL_S = 10.0
LEAST_BYTES = 1 << 16
CHUNK_BYTES = 1 << 20
REPORT_S = 3.0
AGENT = "pipeline-bench"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file: its name, its size in bytes and its MD5, which make the mirror's word needless."""

    name: str
    size: int
    md5: str


def fetch(wanted: Wanted, urls: Sequence[str], folder: Path, report: Callable[[str], None]) -> Path:
    """Downloads `wanted` into `folder` and checks it.

    All mirrors are asked at once, and the quickest is taken first. What one of them gave before it
    stalled is kept as `NAME.part`; the next one, or the next call, goes on from there.

    Args:
        wanted: What to fetch.
        urls: Of the file at each mirror, http or https.
        folder: Where to put it; one process at a time.
        report: Gets lines about progress.

    Returns:
        The file, complete and of the right checksum.

    Raises:
        WayFailed: No mirror gave it; says what is wrong with each.
        SourceError: The disk is full or the folder cannot be written.
    """
    part = folder / f"{wanted.name}.part"
    if _complete(part, wanted):
        return part
    reasons: dict[str, list[str]] = {}
    for url, problem in _answers(urls):
        if not problem:
            try:
                _download(url, wanted, part, report)
                return part
            except (OSError, HTTPException, WayFailed) as error:
                problem = _why(error)
                report(f"{wanted.name} from {_host(url)}: {problem}")
        reasons.setdefault(problem, []).append(_host(url))
    raise WayFailed("; ".join(f"{', '.join(hosts)}: {why}" for why, hosts in reasons.items()))


def md5_of(path: Path) -> str:
    """The MD5 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _complete(part: Path, wanted: Wanted) -> bool:
    """Whether `part` is all of it; deleted when it cannot become that."""
    if not part.exists() or part.stat().st_size < wanted.size:
        return False
    if part.stat().st_size == wanted.size and md5_of(part) == wanted.md5:
        return True
    part.unlink()
    return False


def _answers(urls: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each URL with "" or why it gives nothing; quickest first, the silent ones after a while."""
    answers: queue.Queue[tuple[str, str]] = queue.Queue()
    waiting = list(dict.fromkeys(urls))
    for url in waiting:
        # Daemons, because a name lookup that hangs must not keep the process from ending.
        threading.Thread(target=_ask, args=(url, answers), daemon=True).start()
    deadline = time.monotonic() + ANSWER_S
    while waiting:
        try:
            url, problem = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        waiting.remove(url)
        yield url, problem
    for url in waiting:
        yield url, f"no answer in {ANSWER_S:.0f} s"


def _ask(url: str, answers: "queue.Queue[tuple[str, str]]") -> None:
    try:
        with _request(url, "bytes=0-0", ANSWER_S):
            answers.put((url, ""))
    except (OSError, HTTPException, WayFailed) as error:
        answers.put((url, _why(error)))


def _request(url: str, span: str | None, timeout_s: float) -> HTTPResponse:
    headers = {"User-Agent": AGENT} | ({"Range": span} if span else {})
    # Addresses come from a list that takes http and https alone.
    response = urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=timeout_s
    )
    if not isinstance(response, HTTPResponse):
        raise WayFailed("it leads to an address that is not http or https")
    return response


def _download(url: str, wanted: Wanted, part: Path, report: Callable[[str], None]) -> None:
    """Completes `part` from `url`; a file that turns out wrong is deleted."""
    resumed = _receive(url, wanted, part, report)
    if _complete(part, wanted):
        return
    if part.exists():
        have = part.stat().st_size
        raise WayFailed(f"it broke off after {have} of {wanted.size} bytes")
    if not resumed:
        raise WayFailed("its file has another checksum")
    report(f"{wanted.name}: the parts do not fit together; starting again")
    _receive(url, wanted, part, report)
    if not _complete(part, wanted):
        raise WayFailed("its file has another checksum")


def _receive(url: str, wanted: Wanted, part: Path, report: Callable[[str], None]) -> bool:
    """Appends to `part` what `url` gives; whether it went on from a part that was there."""
    have = part.stat().st_size if part.exists() else 0
    with _request(url, f"bytes={have}-" if have else None, STALL_S) as response:
        if have and not _goes_on(response, have):
            have = 0
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and have + int(length) != wanted.size:
            raise WayFailed(f"its file has {have + int(length)} bytes instead of {wanted.size}")
        name = f"{wanted.name} from {_host(url)}"
        report(f"{name}: {'going on' if have else 'starting'}, {wanted.size / 1e6:.0f} MB")
        with writing(part):
            file = part.open("r+b" if have else "wb")
        with file:
            file.seek(have)

            def keep(chunk: bytes) -> None:
                with writing(part):
                    file.write(chunk)
                    file.flush()

            _copy(response, keep, have, wanted.size, lambda text: report(f"{name}: {text}"))
    return have > 0


def _goes_on(response: HTTPResponse, have: int) -> bool:
    span = response.headers.get("Content-Range", "")
    return response.status == 206 and span.startswith(f"bytes {have}-")


def _copy(
    response: HTTPResponse,
    keep: Callable[[bytes], None],
    have: int,
    size: int,
    report: Callable[[str], None],
) -> None:
    """Copies until the end, giving up on a mirror that drips or sends more than `size` bytes."""
    marked, marked_at = have, time.monotonic()
    reported_at = marked_at
    while chunk := response.read1(CHUNK_BYTES):
        keep(chunk)
        have += len(chunk)
        if have > size:
            raise WayFailed(f"its file has more than {size} bytes")
        now = time.monotonic()
        if now - reported_at >= REPORT_S:
            reported_at = now
            report(f"{have / 1e6:.0f} of {size / 1e6:.0f} MB")
        if now - marked_at >= STALL_S:
            if have - marked < LEAST_BYTES:
                raise WayFailed(f"it gave {have - marked} bytes in {now - marked_at:.0f} s")
            marked, marked_at = have, now


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "it stopped answering"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
