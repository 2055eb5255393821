"""What is added to TensorBoard's page, around an application that stands in for it."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from bench.tensorboard.page import CONTENT, ENTRY, ROWS, SCRIPT, entered

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
