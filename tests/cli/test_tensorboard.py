"""`bench tensorboard` serves, reports errors and leaves no process; its tabs in a browser."""

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.machine import environment
from bench.store.store import Store
from bench.tensorboard.overview import SEEDS_CHARTS
from tests.faults.made import MARK, of_mark, until
from tests.made import made_record

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_S = 120.0
PATIENCE_MS = 240_000
ARCHITECTURES = ("cnn4", "resnet18")
COMMAND = [environment.python_module("bench")[0], "-m", "bench", "tensorboard"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    Store(root / "cpu_shapes_cpu").write(made_record())
    return root


def start_verb(results: Path, tmp: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, str(results), "--rebuild", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp), MARK: str(tmp)},
        start_new_session=True,
    )


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
        output, error = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    until(lambda: not of_mark(str(tmp_path)), lambda: f"left: {of_mark(str(tmp_path))}")
    if stop == signal.SIGKILL:
        return
    assert process.returncode == 0, error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("bench-tensorboard-*"))
    assert output == ""


def test_missing_event_files_are_reported_with_advice(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    Store(tmp_path / "cpu_shapes_cpu").write(made_record())
    assert refused("tensorboard", str(tmp_path), "--port", "0") == (
        f"bench: there are no event files for 1 run under {tmp_path}: "
        "add --rebuild to write them from the records"
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
        words = [str(results), "--rebuild", "--host", host, "--port", str(port)]
        done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("bench: TensorBoard ended: ")
    assert reason in last
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the server, which shows two cells with two seeds each."""
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


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A page that must have caused no error when the test ends."""
    opened = browser.new_page(viewport={"width": 1400, "height": 2600})
    opened.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda each: errors.append(each.text) if each.type == "error" else None)
    yield opened
    opened.close()
    assert errors == []


def test_the_throughput_view_draws_its_charts(page: "Page", address: str) -> None:
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
def test_the_hparams_table_lists_the_runs_and_their_axes(page: "Page", address: str) -> None:
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
def test_each_class_has_its_precision_recall_curve(page: "Page", address: str) -> None:
    page.goto(f"{address}/#pr_curves")
    for name in ("pr/cat", "pr/dog"):
        page.get_by_text(name, exact=True).first.wait_for()
