"""Texts made safe to print, and commands as a shell reads them."""

import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Record
from bench.text import in_one_line, printable, sanitize, shell_command
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
def test_control_characters_are_written_as_their_codes(text: str, shown: str | None) -> None:
    assert printable(text) == (text if shown is None else shown)


@given(st.text(st.characters()))
def test_any_text_can_be_printed_and_printable_text_stays(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert "\x1b" not in shown
    assert printable(shown) == shown


def deep(record: Record) -> Record:
    error = replace(made_failure().error, message="\x1b]52;c;\x07")
    return replace(record, error=error, environment={"a\x1b": ["\u202e", {"b": "\x9b"}], "n": 1})


def test_texts_of_a_record_are_made_printable() -> None:
    record = made_record()
    assert sanitize(record) is record
    assert sanitize(deep(record)) == replace(
        deep(record),
        error=replace(made_failure().error, message="\\x1b]52;c;\\x07"),
        environment={"a\\x1b": ["\\u202e", {"b": "\\x9b"}], "n": 1},
    )
    assert (
        in_one_line("it broke\n  in\x07 the\n\nsecond line\n") == "it broke in\\x07 the second line"
    )


@pytest.mark.parametrize(
    ("home", "words", "line"),
    [
        ("/home/ann", ["bench", "--out", "/home/ann/res"], "bench --out ~/res"),
        ("/home/ann", ["--out", "/home/anna/res"], "--out /home/anna/res"),
        ("/home/ann", ["--out", "/data/home/ann/res"], "--out /data/home/ann/res"),
        ("/home/ann", ["--out", "/home/ann/my results"], "--out ~/'my results'"),
        ("/home/ann", ["--out=/home/ann/res"], "--out ~/res"),
        ("/home/ann", ["--source", "folder:/home/ann/pets"], "--source 'folder:~/pets'"),
        ("/home/ann", ["/home/ann", "~/as typed"], "~ '~/as typed'"),
        ("/", ["--out", "/data/res"], "--out /data/res"),
        ("", ["./res"], "./res"),
    ],
)
def test_only_the_home_folder_at_the_start_of_a_word_becomes_a_tilde(
    monkeypatch: pytest.MonkeyPatch, home: str, words: list[str], line: str
) -> None:
    monkeypatch.setenv("HOME", home)
    assert shell_command(words) == line
    command = ["/bin/sh", "-c", f"printf '%s\\n' {line}"]
    read = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = [word.replace("folder:/home/ann", "folder:~") for word in words]
    assert read == [part for word in expected for part in word.split("=")]
