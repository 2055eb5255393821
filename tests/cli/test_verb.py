"""Errors of verbs: one sentence and an exit code, and no traceback without --debug."""

import pytest
import typer
from typer.testing import CliRunner

from bench.cli.verb import Debug, Verb, screen
from bench.errors import UsageError
from bench.store.codec import RecordError
from bench.store.files import StoreError
from bench.text import wrapped
from pipelines.base import Unsupported
from pipelines.catalog import Unavailable, UnknownName
from pipelines.sources.errors import SourceError

FOR_PEOPLE = (
    UsageError, StoreError, RecordError, SourceError, Unavailable, UnknownName, Unsupported,
)  # fmt: skip
ERRORS: list[tuple[Exception, int, str]] = [
    *((kind("it is so"), 2, "bench: it is so") for kind in FOR_PEOPLE),
    (ModuleNotFoundError("No module named 'x'", name="x"), 2, "No module named 'x'"),
    (ImportError("libcudart.so.12: no such file", name="torch._C"), 2, "see bench doctor"),
    (PermissionError(13, "Permission denied", "/some/file"), 2, "/some/file cannot be used: Perm"),
    (OSError(24, "Too many open files", b"/some/\xc3\xa4"), 2, "/some/ä cannot be used: Too many"),
    (ModuleNotFoundError("No module named 'bench.x'", name="bench.x"), 1, "a bug in bench"),
    (ZeroDivisionError("division by zero"), 1, "a bug in bench; see --debug"),
    (KeyboardInterrupt(), 130, "bench: interrupted"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "text"), ERRORS, ids=lambda value: str(value)[:40])
def test_an_error_is_a_sentence_with_exit_code(error: BaseException, code: int, text: str) -> None:
    broken = typer.Typer()

    @broken.command(cls=Verb)
    def verb(debug: Debug = False) -> None:
        raise error

    done = CliRunner().invoke(broken)
    assert done.exit_code == code
    (line,) = done.stderr.splitlines()
    assert text in line
    if code != 130:
        assert CliRunner().invoke(broken, ["--debug"]).exception is error


@pytest.mark.parametrize("code", [None, 0, 1, 2])
def test_the_exit_code_is_what_the_verb_returns(code: int | None) -> None:
    app = typer.Typer()
    app.command(cls=Verb)(lambda: code)
    assert CliRunner().invoke(app).exit_code == (code or 0)


def test_errors_are_wrapped_on_a_terminal_but_commands_in_them_are_not() -> None:
    sentence = (
        "there are none here: bench run --grid smoke -k 'a b' writes some; or `bench list grids`"
    )
    lines = wrapped(sentence, 46, indent="  ").splitlines()
    assert lines == [
        "there are none here:",
        "  bench run --grid smoke -k 'a b' writes some;",
        "  or `bench list grids`",
    ]


def test_a_pipe_has_neither_width_nor_colours() -> None:
    assert screen() == (None, False)
