"""HTTP requests with a real time limit.

Socket timeouts apply per read, so a very slow server, a name lookup or an endless header could
still block. So a daemon thread reads, and is abandoned if it hangs.
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

from pipelines.sources.errors import AttemptFailed

CHUNK_BYTES = 1 << 20
READ_AHEAD = 4  # chunks
AGENT = "pipeline-bench"
HTML_TYPES = ("text/html", "application/xhtml+xml")
MAX_MESSAGE_LENGTH = 200
FAULTS = (OSError, HTTPException, ValueError, AttemptFailed)  # ValueError: an invalid URL


@dataclass(frozen=True, kw_only=True)
class Head:
    """Position and length from a response's headers.

    Args:
        begin: Position of the first byte in the file.
        length: Number of bytes; None if unknown.
    """

    begin: int
    length: int | None


class _Closed(Exception):
    """The reader has stopped reading."""


class _Pipe:
    """Carries data, or an error, from the thread to the reader."""

    def __init__(self) -> None:
        self._items: queue.Queue[Head | bytes | Exception] = queue.Queue(READ_AHEAD)
        self._closed = threading.Event()

    def put(self, item: Head | bytes | Exception) -> None:
        while not self._closed.is_set():
            try:
                return self._items.put(item, timeout=0.1)
            except queue.Full:
                continue
        raise _Closed

    def get(self, timeout_s: float) -> Head | bytes:
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            raise AttemptFailed("it stopped answering") from None
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self._closed.set()


@contextmanager
def open_url(
    url: str, *, begin: int = 0, end: int | None = None, timeout_s: float
) -> Iterator[tuple[Head, Iterator[bytes]]]:
    """Requests the bytes from `begin` to `end`, inclusive.

    Args:
        url: An http or https URL.
        begin: First byte; the response may start elsewhere (see its head).
        end: Last byte; None for all.
        timeout_s: Limit for the head, and for each chunk.

    Yields:
        The head, and the chunks as they arrive.

    Raises:
        AttemptFailed: The response is a web page or comes too late.
        OSError, HTTPException, ValueError: Errors of the libraries.
    """
    pipe = _Pipe()
    span = "" if begin == 0 and end is None else f"bytes={begin}-{'' if end is None else end}"
    # A daemon, so that a hanging thread doesn't keep the process alive.
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
    except _Closed:
        return
    except Exception as error:  # noqa: BLE001 - raised in the reader
        try:
            pipe.put(error)
        except _Closed:
            return


def _request(url: str, span: str, timeout_s: float) -> HTTPResponse:
    headers = {"User-Agent": AGENT} | ({"Range": span} if span else {})
    # Only http and https addresses get here.
    response = urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=timeout_s
    )
    if not isinstance(response, HTTPResponse):
        raise AttemptFailed("it leads to an address that is not http or https")
    if response.headers.get_content_type() in HTML_TYPES:
        response.close()
        raise AttemptFailed("it gives a web page instead of the file")
    return response


def _head(response: HTTPResponse) -> Head:
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    begin = int(first) if response.status == 206 and first.isdecimal() and len(first) < 19 else 0
    return Head(begin=begin, length=response.length)


def describe_error(error: Exception) -> str:
    """What went wrong, in a few printable words."""
    if isinstance(error, urllib.error.HTTPError):
        if "infinite loop" in str(error.reason):
            return "it redirects in a circle"
        return f"HTTP status {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "it stopped answering"
    text = str(error)
    if isinstance(error, OSError):
        text = error.strerror or text
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain[:MAX_MESSAGE_LENGTH] or type(error).__name__


def host(url: str) -> str:
    """Name and port, without credentials."""
    return urlsplit(url).netloc.rpartition("@")[2]
