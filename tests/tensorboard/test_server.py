"""What is added to TensorBoard's page, around an application that stands in for it.

A TensorBoard server started on a results folder shows the runs and their curves.
"""

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from bench.record import Record
from bench.store.store import Store
from bench.tensorboard.overview import write_overview
from bench.tensorboard.run_log import RunLog
from bench.tensorboard.server import CONTENT, ENTRY, ROWS, SCRIPT, entered
from tests.made import made_record, made_run

PAGE = "<html><head><title>a page</title></head><body><p></head></p></body></html>"


@pytest.fixture
def client() -> Client:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        shown = PAGE if environ["PATH_INFO"] in ("/", "/index.html") else "<head></head>"
        headers = {"Content-Security-Policy": "script-src 'self'"}
        return Response(shown, headers=headers)(environ, start_response)

    return Client(entered(app, "custom_scalars&a=b"))


def test_the_short_address_leads_to_the_long_one(client: Client) -> None:
    for _ in range(2):  # as often as it is asked
        answer = client.get(ENTRY)
        assert answer.status_code == 302
        assert answer.headers["Location"] == "/#custom_scalars&a=b"


@pytest.mark.parametrize("path", ["/", "/index.html"])
def test_the_page_gets_the_script_once_and_keeps_the_rest(client: Client, path: str) -> None:
    answer = client.get(path)
    tag = f'<script src="{SCRIPT[1:]}"></script>'
    assert answer.text.count(tag) == 1
    assert answer.text.replace(tag, "") == PAGE
    assert answer.content_length == len(answer.data)
    assert answer.headers["Content-Security-Policy"] == "script-src 'self'"


def test_the_script_asks_for_so_many_rows(client: Client) -> None:
    answer = client.get(SCRIPT)
    assert answer.mimetype == "text/javascript"
    assert answer.text == CONTENT
    assert f'value: "{ROWS}"' in answer.text


def test_all_else_passes_untouched(client: Client) -> None:
    assert client.get("/data/runs").text == "<head></head>"


START_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one group, as `bench run` leaves them."""
    root = tmp_path_factory.mktemp("results")
    store = Store(root / "cpu_shapes_cpu")
    for seed in (0, 1):
        record = store.write(made_record(seed, accuracy=0.5 + seed / 10))
        log(record, store)
    write_overview(store, store.records(), on_error=pytest.fail)
    return root


def log(record: Record, store: Store) -> None:
    run = made_run(record.seed)
    events = RunLog(store.tensorboard_path(run), on_error=pytest.fail)
    for point in record.curve:
        events.point(point)
    events.finish(record)


@pytest.fixture(scope="module")
def server(results: Path) -> Iterator[str]:
    """The address of a server on a free port."""
    log_path = results / "server.log"
    with log_path.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", "--logdir", str(results), "--host",
             "127.0.0.1", "--port", "0", "--load_fast=false"],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while " at http://" not in (said := log_path.read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        yield said.split(" at ")[1].split()[0].rstrip("/")
    finally:
        process.terminate()
        process.wait()


def get(address: str, route: str, **query: str) -> Any:
    url = f"{address}/data/{route}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def loaded(address: str, runs: int) -> list[str]:
    """The names of the runs, once the server has read their last scalars and what follows."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        tags = get(address, "plugin/scalars/tags")
        whole = sorted(name for name, found in tags.items() if "test/accuracy" in found)
        plugins = get(address, "plugins_listing")
        if len(whole) == runs and plugins["hparams"]["enabled"]:
            return whole
        assert time.monotonic() < deadline, tags
        time.sleep(0.1)


def test_every_run_is_shown_once_with_its_curves(server: str, results: Path) -> None:
    names = loaded(server, 2)
    assert len(names) == 2
    assert all(name.startswith("cpu_shapes_cpu/tensorboard/resnet18-sgd-") for name in names)
    tags = get(server, "plugin/scalars/tags")
    wanted = {
        "loss/train", "loss/validation", "accuracy/validation", "f1/validation_macro",
        "throughput/images_per_s", "throughput/step_ms", "test/accuracy", "test/macro_f1",
    }  # fmt: skip
    for name, record in zip(names, (made_record(0), made_record(1, accuracy=0.6)), strict=True):
        assert wanted <= set(tags[name])
        points = get(server, "plugin/scalars/scalars", run=name, tag="loss/train")
        assert [(step, value) for _, step, value in points] == [
            (point.images, pytest.approx(point.train_loss)) for point in record.curve
        ]
    last = get(server, "plugin/scalars/scalars", run=names[1], tag="test/accuracy")
    assert last[-1][2] == pytest.approx(0.6)


def test_hparams_and_the_throughput_view_are_there(server: str) -> None:
    loaded(server, 2)
    plugins = get(server, "plugins_listing")
    assert plugins["hparams"]["enabled"]
    assert plugins["custom_scalars"]["enabled"]
    layout = get(server, "plugin/custom_scalars/layout")
    shown = [category["title"] for category in layout["category"]]
    assert shown == ["Throughput", "Time to accuracy", "Seeds"]
