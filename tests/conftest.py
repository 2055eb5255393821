"""Settings that must be made before anything imports torch, and fixtures for several packages."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# As in the suite's workers: spinning threads slow tests down on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A busy machine is not the example's fault.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, as tests wait for other processes a sixth of the time."""
    return (os.cpu_count() or 1) + 1


# In a background job these signals are ignored, also by its children; those that tests stop must
# react.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


WorkerRuns = Callable[[str], Path]


@pytest.fixture
def worker_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerRuns:
    """Replaces the program of all workers by the given code; returns its file."""
    from bench.executors import protocol

    def worker_runs(code: str) -> Path:
        script = tmp_path / "worker.py"
        script.write_text(code)
        monkeypatch.setattr(protocol, "python_module", lambda name: [sys.executable, str(script)])
        return script

    return worker_runs


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


# Opens a file in the browser: the page, and a list that gets every problem it causes.
OpenPage = Callable[..., "tuple[Page, list[str]]"]


@pytest.fixture(scope="module")
def open_page(browser: "Browser") -> OpenPage:
    """Opens files offline.

    Problems are messages on the console, errors, dialogs, and requests beyond the file itself.
    """

    def open_page(
        path: Path, *, width: int = 1280, scheme: Literal["light", "dark"] = "light"
    ) -> "tuple[Page, list[str]]":
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        problems: list[str] = []
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: problems.extend(_elsewhere(request.url)))
        page.goto(path.as_uri())
        return page, problems

    return open_page


def _elsewhere(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:")) else [url]
