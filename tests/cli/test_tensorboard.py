"""`bench tensorboard`: it serves, reports errors, leaves no process; its tabs in a browser."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bench.machine import environment
from bench.store.store import Store
from bench.tensorboard.overview import SEEDS_CHARTS
from tests.made import made_record

PATIENCE_S = 120.0
PATIENCE_MS = 240_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARCHITECTURES = ("cnn4", "resnet18")
COMMAND = [environment.python_module("bench")[0], "-m", "bench", "tensorboard"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    Store(root / "cpu_shapes_cpu").write(made_record())
    return root


def run_verb(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def start_verb(results: Path, tmp: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, str(results), "--rebuild", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp)},
        start_new_session=True,
    )


def processes_with(tmp: Path) -> Iterator[int]:
    """Living processes that were started with this temporary folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(tmp):
                yield process.pid


@pytest.mark.parametrize(
    "stop",
    [signal.SIGINT, signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_the_server_leaves_no_process(results: Path, tmp_path: Path, stop: signal.Signals) -> None:
    process = start_verb(results, tmp_path)
    try:
        line = process.stdout.readline()
        page = re.escape("/?smoothing=0#custom_scalars&_smoothingWeight=0 (Ctrl-C to stop)\n")
        found = re.fullmatch(rf"1 run at (http://127\.0\.0\.1:\d+){page}", line)
        assert found, (line, process.stderr and process.stderr.read())
        with urllib.request.urlopen(found[1], timeout=PATIENCE_S) as answer:
            assert b"TensorBoard" in answer.read()
        process.send_signal(stop)
        said, error = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    deadline = time.monotonic() + PATIENCE_S
    while left := list(processes_with(tmp_path)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    if stop == signal.SIGKILL:
        return
    assert process.returncode == 0, error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("bench-tensorboard-*"))
    assert said == ""


def test_missing_event_files_are_reported_with_advice(tmp_path: Path) -> None:
    Store(tmp_path / "cpu_shapes_cpu").write(made_record())
    done = run_verb(tmp_path, "--port", 0)
    assert done.returncode == 2
    assert done.stderr == (
        f"bench: there are no event files for 1 run under {tmp_path}: "
        "add --rebuild to write them from the records\n"
    )


@pytest.mark.parametrize(
    ("host", "reason"),
    [("127.0.0.1", "could not bind to port"), ("192.0.2.1", "Cannot assign requested address")],
)
def test_an_unusable_address_is_reported(results: Path, host: str, reason: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1] if host == "127.0.0.1" else 0
        done = run_verb(results, "--rebuild", "--host", host, "--port", port)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("bench: TensorBoard ended: ")
    assert reason in last
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two cells with two seeds each, shown by the command as a person starts it."""
    root = tmp_path_factory.mktemp("results")
    store = Store(root / "cpu_shapes_cpu")
    for seed in (0, 1):
        for place, name in enumerate(ARCHITECTURES):
            record = made_record(seed, architecture=name, accuracy=0.5 + seed / 10 + place / 5)
            store.write(record)
            counts = np.linspace(50, 0, 11).astype(int)
            positives = np.stack([[counts, counts // 2], [counts, counts // 3]])
            store.save_predictions(record.run_id, [0, 1], [0, 1], positives=positives)
    process = start_verb(root, tmp_path_factory.mktemp("temporary"))
    try:
        yield process.stdout.readline().split(" at ")[1].split("/?")[0]
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that may not have had an error when the test ends."""
    opened = browser.new_page(viewport={"width": 1400, "height": 2600})
    opened.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield opened
    opened.close()
    assert errors == []


def test_the_throughput_view_draws_its_charts(page: Any, address: str) -> None:
    page.goto(f"{address}/#custom_scalars&_smoothingWeight=0")
    lines = page.locator("tf-custom-scalar-multi-line-chart-card")
    bands = page.locator("tf-custom-scalar-margin-chart-card")
    # locators see into the elements' shadow trees; each run is a line from point to point
    drawn = "path.line[d*=L]"
    lines.first.locator(drawn).nth(3).wait_for(state="attached")
    bands.first.locator("path.area[d*=L]").nth(1).wait_for(state="attached")
    assert lines.count() == 4 + 3
    assert bands.count() == 4
    assert lines.first.locator(drawn).count() == 4
    assert bands.first.locator("path.area[d*=L]").count() == 2
    for title in ("Throughput", "Time to accuracy", "Seeds"):
        assert page.get_by_text(title, exact=True).count()
    titles = bands.evaluate_all("cards => cards.map(card => card.title)")
    assert titles == [f"{title}: mean, lowest, highest" for title in SEEDS_CHARTS]


@pytest.mark.slow
def test_the_hparams_table_lists_the_runs_and_their_axes(page: Any, address: str) -> None:
    page.goto(f"{address}/#hparams")
    table = page.locator("vaadin-grid").first
    for name in ARCHITECTURES:
        table.get_by_text(name, exact=True).first.wait_for()
        assert table.get_by_text(name, exact=True).count() == 2
    for column in ("architecture", "accuracy", "macro F1", "images/s", "stall (%)"):
        assert table.get_by_text(column, exact=True).count() == 1
    page.get_by_text("PARALLEL COORDINATES VIEW").click()
    plot = page.locator("tf-hparams-parallel-coords-plot")
    plot.locator("path").first.wait_for(state="attached")
    assert plot.get_by_text("accuracy", exact=True).count() == 1


@pytest.mark.slow
def test_confusion_matrices_are_shown(page: Any, address: str) -> None:
    page.goto(f"{address}/#images")
    pictures = page.locator("tf-image-loader img")
    pictures.nth(3).wait_for()
    assert pictures.count() == 4
    for place in range(4):
        picture = pictures.nth(place)
        picture.evaluate("image => image.decode()")
        assert picture.evaluate("image => image.naturalWidth") > 100


@pytest.mark.slow
def test_each_class_has_its_precision_recall_curve(page: Any, address: str) -> None:
    page.goto(f"{address}/#pr_curves")
    for name in ("pr/cat", "pr/dog"):
        page.get_by_text(name, exact=True).first.wait_for()
