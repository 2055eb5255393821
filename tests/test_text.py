"""Texts made safe to show: what a terminal would obey is written as its code, the rest stays."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Record
from bench.text import in_one_line, printable, sanitize
from tests.made import made_failure, made_record


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("r\u00e4ksm\u00f6rg\u00e5s \u732b \u05db\u05dc\u05d1 [bold]\n\tx", None),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\x00\x7f\x9b", "a\\x0db\\x00\\x7f\\x9b"),
        ("\u202egpj\u2066x\u2028", "\\u202egpj\\u2066x\\u2028"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_what_commands_is_written_as_its_code(text: str, shown: str | None) -> None:
    assert printable(text) == (text if shown is None else shown)


@given(st.text(st.characters()))
def test_any_text_can_be_printed_and_what_is_printable_stays(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert "\x1b" not in shown
    assert printable(shown) == shown


def test_a_sentence_stays_one_line() -> None:
    assert (
        in_one_line("it broke\n  in\x07 the\n\nsecond line\n") == "it broke in\\x07 the second line"
    )


def deep(record: Record) -> Record:
    error = replace(made_failure().error, message="\x1b]52;c;\x07")  # type: ignore[type-var]
    return replace(record, error=error, environment={"a\x1b": ["\u202e", {"b": "\x9b"}], "n": 1})


def test_every_text_of_a_record_is_made_legible_and_nothing_else_is_changed() -> None:
    record = made_record()
    assert sanitize(record) is record
    assert sanitize(deep(record)) == replace(
        deep(record),
        error=replace(made_failure().error, message="\\x1b]52;c;\\x07"),  # type: ignore[type-var]
        environment={"a\\x1b": ["\\u202e", {"b": "\\x9b"}], "n": 1},
    )
