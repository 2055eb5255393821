"""Fetches a file over HTTP: time-outs that hold, resumed where it stopped, checked by its sum."""

import hashlib
import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipelines.sources.base import SourceError

Report = Callable[[str], None]
CHUNK = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a mirror, in s.

    Args:
        answer_s: For the first byte of an answer, name look-up and connection included.
        silence_s: For the next byte.
        slow_s: For `slow_bytes`: a trickle is as bad as silence.
        slow_bytes: What must have come in every `slow_s`.
    """

    answer_s: float = 6.0
    silence_s: float = 10.0
    slow_s: float = 15.0
    slow_bytes: int = 1 << 18


def fetch(
    url: str, target: Path, *, md5: str, report: Report, patience: Patience | None = None
) -> Path:
    """Downloads `url` to `target` unless it is there already; a part that is there is resumed.

    Raises:
        SourceError: The mirror failed; the message says how. Other mirrors may do better.
    """
    patience = patience or Patience()
    if target.exists() and md5_of(target) == md5:
        return target
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists() and part.stat().st_size > 0
    try:
        _receive(url, part, report, patience)
        if resumed and md5_of(part) != md5:  # the part may have come from another file
            part.unlink()
            _receive(url, part, report, patience)
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(f"{url}: {_reason(error)}") from error
    found = md5_of(part)
    if found != md5:
        start = part.read_bytes()[:64]
        part.unlink()
        hint = " (a web page, not the file)" if start.lstrip()[:1] == b"<" else ""
        raise SourceError(f"{url}: wrong MD5 {found}{hint}, expected {md5}")
    part.replace(target)
    return target


def md5_of(path: Path) -> str:
    """MD5 of a file, the sum that the data's publishers give."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _receive(url: str, part: Path, report: Report, patience: Patience) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers={"User-Agent": "pipeline-bench", **headers})
    try:
        response = _open(request, patience)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is here; the sum decides
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        total = int(length) + (have if resumed else 0) if length else None
        with part.open("ab" if resumed else "wb") as file:
            _copy(response, file, url, total, report, patience)
        got = part.stat().st_size
    if total is not None and got < total:
        raise OSError(f"broke off after {got} of {total} bytes")


def _copy(
    response: http.client.HTTPResponse,
    file: IO[bytes],
    url: str,
    total: int | None,
    report: Report,
    patience: Patience,
) -> None:
    since, in_window, reported = time.monotonic(), 0, time.monotonic()
    while chunk := response.read1(CHUNK):
        file.write(chunk)
        in_window += len(chunk)
        now = time.monotonic()
        if now - since > patience.slow_s:
            if in_window < patience.slow_bytes:
                raise TimeoutError(f"only {in_window} bytes in {patience.slow_s:g} s")
            since, in_window = now, 0
        if now - reported > 2.0:
            reported = now
            share = f" of {total / 1e6:.0f}" if total else ""
            report(f"{url}: {file.tell() / 1e6:.0f}{share} MB")


def _open(request: urllib.request.Request, patience: Patience) -> http.client.HTTPResponse:
    """Opens in a thread, since nothing else bounds the look-up of a name."""
    result: list[http.client.HTTPResponse | Exception] = []

    def work() -> None:
        try:
            result.append(urllib.request.urlopen(request, timeout=patience.silence_s))
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(patience.answer_s)
    if not result:
        raise TimeoutError(f"no answer in {patience.answer_s:g} s")
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
