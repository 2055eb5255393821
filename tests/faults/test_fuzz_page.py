"""Texts of records, whatever they contain, are shown as text in every format."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench.cli.progress import TextReporter
from bench.record import Failure, Record
from bench.report.page.writing import write_report
from bench.report.table import render_all
from bench.store.store import Store
from bench.text import printable, sanitize
from tests.cli.conftest import Bench
from tests.conftest import OpenPage
from tests.faults.fuzzing import TIMES, run_isolated
from tests.made import made_failure, made_record
from tests.made_sound import PREDICTIONS, sound_record

HOSTILE = (
    "<script>window.planted=1</script>", "</script><script>window.planted=2</script>",
    "<img src=x onerror=window.planted=3>", "\"><svg onload=window.planted=4>",
    "' onmouseover='window.planted=5", "]]><x>", "<!--", "</style><script>window.planted=6//",
    "javascript:window.planted=7", "<a href='http://127.0.0.1:9/'>go</a>", "&lt;b&gt;&#60;",
    "[click](http://127.0.0.1:9/)", "![x](http://127.0.0.1:9/x.png)", "a|b\\|c", "`code` ``",
    "one\ntwo\r\nthree", "tab\there", "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1",
    "$(touch planted)", "`touch planted`", "; touch planted", "'; touch planted; '",
    "\\input{/etc/passwd}", "\\end{tabular}", "$x_1$ {y} ~ ^ # % &", "[bold red]loud[/]", "[/]",
    "[link=http://x]y[/link]", ":smile:", "\x1b[2J\x1b[H", "\x1b]52;c;cGxhbnRlZA==\x07",
    "\x1b]0;title\x07", "\x9b31m", "\x07\x08\x7f", "\u202etxet desrever", "\u2066isolated",
    "\u2028line\u2029", "\0", "\ufeff", "{{7*7}}", "${7*7}", "%s%n%x", "\U0001f608" * 3, "x" * 900,
    "", " ", "__proto__", "constructor",
)  # fmt: skip
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
AXES = ("architecture", "optimizer", "augmentation", "pipeline")


def hostile(random: Random, place: int) -> Record:

    def text() -> str:
        return random.choice(HOSTILE) + random.choice(("", "", random.choice(HOSTILE)))

    cell: dict[str, Any] = {axis: text() for axis in AXES}
    if place % 3 == 2:
        failure = Failure(type=text(), message=text(), traceback=text(), log=text())
        record = replace(made_failure(place, **cell), error=failure)
    else:
        record = sound_record(place, **cell)
        named = tuple(replace(score, name=text()) for score in record.metrics.per_class)
        record = replace(record, metrics=replace(record.metrics, per_class=named))
    names = ("os", "cpu", "torch", "git_commit", text())
    record = replace(
        record,
        environment={**record.environment, **{name: text() for name in names}},
        timing_suspect=(text(),) if place % 2 else (),
        augmentation_draws={text(): text()},
        versions={**record.versions, text(): 2},
        command=f"bench run {text()}",
        fingerprint=text(),
    )
    return replace(record, run_id=record.run.id)


def hostile_records(seed: int, count: int, first: int = 0) -> list[Record]:
    random = Random(seed)
    return [hostile(random, first + place) for place in range(count)]


def keep(folder: Path, records: Sequence[Record]) -> Store:
    store = Store(folder / "epyc_shapes_cpu")
    for record in records:
        store.write(record)
        if record.metrics:
            store.save_predictions(record.run_id, [0] * 50 + [1] * 50, PREDICTIONS)
    return store


def check_markdown(shown: str) -> None:
    assert "<" not in shown
    assert "](" not in shown
    for table in re.findall(r"(?:^\|.*\n)+", shown, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, table
    for line in shown.splitlines():
        assert line == "" or line.startswith(("|", "### ")) or not line.startswith("#"), line


def check_csv(shown: str, rows: int) -> None:
    found = list(csv.reader(io.StringIO(shown)))
    assert len(found) == 1 + rows
    assert {len(row) for row in found} == {len(found[0])}
    for text in (text for row in found for text in row):
        is_figure = re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", text) is not None
        assert is_figure or not text.startswith(("=", "+", "-", "@", "\t", "\r")), text


def check_shown(folder: Path, records: Sequence[Record]) -> None:
    cells = len({(one.cell, *map(str, one.versions.items()), one.fingerprint) for one in records})
    for form in ("rich", "md", "csv", "json"):
        shown = render_all(folder, form)
        assert not UNSEEN.search(shown), (form, UNSEEN.search(shown))
        match form:
            case "md":
                check_markdown(shown)
            case "csv":
                check_csv(shown, cells)
            case "rich":
                for record in records:  # long names may be folded
                    for word in sanitize(record).cell.architecture.split():
                        assert word[:40] in shown, word
    coloured = COLOUR.sub("", render_all(folder, "rich", width=90, color=True))
    assert not UNSEEN.search(coloured)


def test_hostile_records_give_valid_tables_in_every_format(tmp_path: Path) -> None:
    def work() -> None:
        for seed in range(8 * TIMES):
            records = hostile_records(seed, 12)
            keep(tmp_path / str(seed), records)
            check_shown(tmp_path / str(seed), records)

    run_isolated(work, writes=[tmp_path])


def run(bench: Bench, *arguments: str) -> str:
    done = bench(*arguments)
    assert done.exit_code in (0, 1, 2), (arguments, done.output, done.exception)
    assert "a bug in bench" not in done.output, done.output
    assert not UNSEEN.search(done.output), (arguments, UNSEEN.search(done.output))
    return str(done.output)


def test_every_verb_shows_hostile_records_as_text(bench: Bench, tmp_path: Path) -> None:
    results = tmp_path / "results"
    records = hostile_records(99, 12)
    keep(results, records)
    keep(tmp_path / "others", hostile_records(99, 12, first=102))
    for record in records[:3]:
        shown = run(bench, "show", record.run_id, str(results))
        assert printable(record.cell.name).split()[0] in shown
    for arguments in (
        ["table", str(results), "--metric", "accuracy", "--pivot", "architecture,pipeline"],
        ["table", str(results), "--group", "architecture,optimizer"],
        ["table", str(results), "--metric", "accuracy", "--format", "md"],
        ["check", str(results), "--dry-run"],
    ):
        run(bench, *arguments)
    for form in ("rich", "md"):
        shown = run(bench, "compare", str(results), str(tmp_path / "others"), "--format", form)
        assert "verdict" in shown
        if form == "md":
            check_markdown(shown)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_message_of_a_run_does_not_control_the_terminal(is_terminal: bool) -> None:
    out = io.StringIO()
    console = TextReporter(file=out, terminal=is_terminal)
    for text in HOSTILE:
        console.notice(text)
        console.progress(text)
        failure = Failure(type="E", message=text, log=text)
        console.run_finished(made_record(record={"status": "crashed", "error": failure}))
    console.close()
    shown = COLOUR.sub("", out.getvalue())
    assert not UNSEEN.search(shown), UNSEEN.search(shown)
    assert "[bold red]loud[/]" in shown


def test_no_script_in_a_record_runs_in_the_page(open_page: OpenPage, tmp_path: Path) -> None:
    store = keep(tmp_path, hostile_records(7, 6))
    (path,) = write_report(store.folder, lambda line: None)
    page, problems = open_page(path)
    before = page.evaluate("Object.keys(window).sort().join()")
    for button in page.locator("th button, [role=button]").all():
        button.dispatch_event("click")
    page.locator("[data-filter]").fill("<script>window.planted=9</script>")
    assert page.locator("[onerror], [onload], [onmouseover], [href^=javascript]").count() == 0
    assert page.evaluate("window.planted") is None
    assert page.evaluate("Object.keys(window).sort().join()") == before
    elsewhere = page.evaluate(
        "[...document.querySelectorAll('[href], [src]')].map(e => e.getAttribute('href') || "
        "e.getAttribute('src')).filter(v => !/^(#|data:image)/.test(v))"
    )
    assert elsewhere == []
    assert problems == []
    shown = path.read_text(encoding="utf-8")
    assert json.dumps("<script>window.planted")[1:-1] not in shown
    assert not UNSEEN.search(shown)
