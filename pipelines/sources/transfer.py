"""What an address gives, without ever waiting longer than is said.

Time limits of sockets are for each read alone: a server that drips, a name lookup or a header that
never ends would still hold the reader. So a thread reads, and what hangs is left to it.
"""

import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from pipelines.sources.errors import WayFailed

CHUNK_BYTES = 1 << 20
WAITING = 4  # chunks that are read ahead at most
AGENT = "pipeline-bench"
PAGES = ("text/html", "application/xhtml+xml")
SHOWN = 200  # characters of what a server says
FAULTS = (OSError, HTTPException, ValueError, WayFailed)  # ValueError: an address that is none


@dataclass(frozen=True, kw_only=True)
class Head:
    """How an answer begins.

    Args:
        begin: The byte that it begins with.
        length: Its bytes, as it says; None if it does not say so.
    """

    begin: int
    length: int | None


class _Over(Exception):
    """Nobody reads on."""


class _Pipe:
    """What the thread has read, or why it reads no more."""

    def __init__(self) -> None:
        self._items: queue.Queue[Head | bytes | Exception] = queue.Queue(WAITING)
        self._over = threading.Event()

    def put(self, item: Head | bytes | Exception) -> None:
        while not self._over.is_set():
            try:
                return self._items.put(item, timeout=0.1)
            except queue.Full:
                continue
        raise _Over

    def get(self, timeout_s: float) -> Head | bytes:
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            raise WayFailed("it stopped answering") from None
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self._over.set()


@contextmanager
def opened(
    url: str, *, begin: int = 0, end: int | None = None, timeout_s: float
) -> Iterator[tuple[Head, Iterator[bytes]]]:
    """Asks for the bytes from `begin` up to and with `end`.

    Args:
        url: http or https.
        begin: First byte; an answer may begin with another, see its head.
        end: Last byte; None for all.
        timeout_s: Longest wait for the head and for each chunk.

    Yields:
        The head, and the chunks as they arrive.

    Raises:
        WayFailed: It gives a web page, or nothing in time.
        OSError, HTTPException, ValueError: As the libraries say it.
    """
    pipe = _Pipe()
    span = "" if begin == 0 and end is None else f"bytes={begin}-{'' if end is None else end}"
    # A daemon, because what hangs must not keep the process from ending.
    threading.Thread(target=_read, args=(url, span, timeout_s, pipe), daemon=True).start()
    try:
        head = pipe.get(timeout_s)
        assert isinstance(head, Head)
        yield head, _chunks(pipe, timeout_s)
    finally:
        pipe.close()


def _chunks(pipe: _Pipe, timeout_s: float) -> Iterator[bytes]:
    while chunk := pipe.get(timeout_s):
        assert isinstance(chunk, bytes)
        yield chunk


def _read(url: str, span: str, timeout_s: float, pipe: _Pipe) -> None:
    try:
        with _request(url, span, timeout_s) as response:
            pipe.put(_head(response))
            while chunk := response.read1(CHUNK_BYTES):
                pipe.put(chunk)
            pipe.put(b"")
    except _Over:
        return
    except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
        try:
            pipe.put(error)
        except _Over:
            return


def _request(url: str, span: str, timeout_s: float) -> HTTPResponse:
    headers = {"User-Agent": AGENT} | ({"Range": span} if span else {})
    # Addresses come from a list that takes http and https alone.
    response = urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=timeout_s
    )
    if not isinstance(response, HTTPResponse):
        raise WayFailed("it leads to an address that is not http or https")
    if response.headers.get_content_type() in PAGES:
        response.close()
        raise WayFailed("it gives a web page instead of the file")
    return response


def _head(response: HTTPResponse) -> Head:
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    begin = int(first) if response.status == 206 and first.isdecimal() and len(first) < 19 else 0
    return Head(begin=begin, length=response.length)


def why(error: Exception) -> str:
    """What went wrong, in a few words that a terminal can be given."""
    if isinstance(error, urllib.error.HTTPError):
        if "infinite loop" in str(error.reason):
            return "it sends the reader in circles"
        return f"HTTP status {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "it stopped answering"
    said = str(error)
    if isinstance(error, OSError):
        said = error.strerror or said
    plain = "".join(letter if letter.isprintable() else "?" for letter in said)
    return plain[:SHOWN] or type(error).__name__


def host(url: str) -> str:
    """Name and port, without a name or password of the user's."""
    return urlsplit(url).netloc.rpartition("@")[2]


__all__ = ["FAULTS", "Head", "host", "opened", "why"]
