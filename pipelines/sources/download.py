"""Downloads a file from the first mirror that delivers it; a dead mirror costs seconds."""

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.sources.errors import AttemptFailed, Report, writing
from pipelines.sources.transfer import FAULTS, describe_error, host, open_url

ANSWER_S = 4.0
STALL_S = 10.0
MIN_BYTES = 1 << 16
REPORT_S = 3.0


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file to download, with its size in bytes and MD5, so that mirrors needn't be trusted."""

    name: str
    size: int
    md5: str


def fetch(wanted: RemoteFile, urls: Sequence[str], folder: Path, report: Report) -> Path:
    """Downloads `wanted` into `folder` and checks it.

    All mirrors are asked at once, and the fastest is used first. A partial download is kept as
    `NAME.part`, from which the next mirror or the next call resumes.

    Args:
        urls: URLs of the file at the mirrors, http or https.
        folder: Used by one process at a time.
        report: Called with lines about progress.

    Returns:
        Path of the complete file with the right checksum.

    Raises:
        AttemptFailed: No mirror delivered it; the message says why for each.
        SourceError: The disk is full or the folder isn't writable.
    """
    part = folder / f"{wanted.name}.part"
    if not _fault(part, wanted):
        return part
    reasons: dict[str, list[str]] = {}
    for url, problem in _answers(urls):
        if not problem:
            try:
                _download(url, wanted, part, report)
                return part
            except FAULTS as error:
                problem = describe_error(error)
                report(f"{wanted.name} from {host(url)}: {problem}")
        reasons.setdefault(problem, []).append(host(url))
    raise AttemptFailed(
        "; ".join(f"{', '.join(hosts)}: {reason}" for reason, hosts in reasons.items())
    )


def md5_of(path: Path) -> str:
    """The MD5 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fault(part: Path, wanted: RemoteFile) -> str:
    """Why `part` is incomplete or wrong, or ""; it is deleted if it can't be resumed."""
    have = part.stat().st_size if part.exists() else 0
    if have < wanted.size:
        return f"it broke off after {have} of {wanted.size} bytes"
    found = md5_of(part) if have == wanted.size else ""
    if found == wanted.md5:
        return ""
    part.unlink()
    return f"its file has another checksum: MD5 {found or 'unknown'} instead of {wanted.md5}"


def _answers(urls: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields each URL with "" or why it fails; the fastest first, those without an answer last."""
    answers: queue.Queue[tuple[str, str]] = queue.Queue()
    waiting = list(dict.fromkeys(urls))
    for url in waiting:
        # Daemons, because a hanging name lookup must not keep the process alive.
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
        # The timeout is longer than the caller waits, which reports it.
        with open_url(url, end=0, timeout_s=ANSWER_S + 1.0):
            answers.put((url, ""))
    except FAULTS as error:
        answers.put((url, describe_error(error)))


def _download(url: str, wanted: RemoteFile, part: Path, report: Report) -> None:
    """Completes `part` from `url`; a wrong file is deleted."""
    resumed = _receive(url, wanted, part, report)
    fault = _fault(part, wanted)
    if fault and resumed and not part.exists():
        report(f"{wanted.name}: the parts do not fit together; starting again")
        _receive(url, wanted, part, report)
        fault = _fault(part, wanted)
    if fault:
        raise AttemptFailed(fault)


def _receive(url: str, wanted: RemoteFile, part: Path, report: Report) -> bool:
    """Appends data from `url` to `part`; returns whether it resumed an existing part."""
    have = part.stat().st_size if part.exists() else 0
    with open_url(url, begin=have, timeout_s=STALL_S) as (head, chunks):
        if head.begin != have:
            have = 0
        if head.length is not None and have + head.length != wanted.size:
            raise AttemptFailed(f"its file has {have + head.length} bytes instead of {wanted.size}")
        name = f"{wanted.name} from {host(url)}"
        report(f"{name}: {'going on' if have else 'starting'}, {wanted.size / 1e6:.0f} MB")
        with writing(part):
            # Unbuffered: a buffer would fail again when closed on a full disk.
            file = part.open("r+b" if have else "wb", buffering=0)
        with file:
            file.seek(have)

            def keep(chunk: bytes) -> None:
                left = memoryview(chunk)
                with writing(part):
                    while left:
                        left = left[file.write(left) :]

            _copy(chunks, keep, have, wanted.size, lambda text: report(f"{name}: {text}"))
    return have > 0


def _copy(
    chunks: Iterable[bytes],
    keep: Callable[[bytes], None],
    have: int,
    size: int,
    report: Report,
) -> None:
    """Copies until the end; gives up if a mirror is too slow or sends over `size` bytes."""
    marked, marked_at = have, time.monotonic()
    reported_at = marked_at
    for chunk in chunks:
        have += len(chunk)
        if have > size:
            raise AttemptFailed(f"its file has more than {size} bytes")
        keep(chunk)
        now = time.monotonic()
        if now - reported_at >= REPORT_S:
            reported_at = now
            report(f"{have / 1e6:.0f} of {size / 1e6:.0f} MB")
        if now - marked_at >= STALL_S:
            if have - marked < MIN_BYTES:
                raise AttemptFailed(f"it gave {have - marked} bytes in {now - marked_at:.0f} s")
            marked, marked_at = have, now
