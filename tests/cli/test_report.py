"""`bench report` from the command line: files, output and errors."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from bench.record import Record
from bench.report.figures import Picture
from bench.report.loaders import render as render_loaders
from bench.report.loaders import write_tables
from bench.report.page import contents
from bench.store.artifacts import PNG_END, PNG_SIGNATURE, example_name
from bench.store.store import Store
from tests import checkout
from tests.cli.conftest import Bench
from tests.made import made_failure, made_record
from tests.made_loaders import MIXED
from tests.made_page import RECORDS, made_picture


@pytest.fixture
def report(bench: Bench) -> Bench:
    return partial(bench, "report")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed picture instead of drawing."""

    def draw(records: Sequence[Record], loaders: object, *_: object, **__: object) -> list[Picture]:
        return [made_picture("bars"), *([made_picture("alone")] if loaders else [])]

    monkeypatch.setattr(contents, "draw", draw)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A group of this machine and a reference group."""
    for folder in ("results/mine_shapes_cpu", "results/reference/other_shapes_cpu"):
        for record in RECORDS:
            Store(tmp_path / folder).write(record)
    return tmp_path / "results"


@pytest.mark.usefixtures("quick")
def test_each_group_gets_its_page_and_its_pictures(report: Bench, results: Path) -> None:
    done = report(str(results))
    assert done.exit_code == 0, done.output
    mine, reference = results / "mine_shapes_cpu", results / "reference" / "other_shapes_cpu"
    assert done.stdout.split() == [str(mine / "report.html")]
    assert not (reference / "report.html").exists(), "what is shipped stays as it is"
    named = report(str(reference))
    assert named.stdout.split() == [str(reference / "report.html")]
    assert "reading mine_shapes_cpu: " in done.stderr
    assert "reading the reference other_shapes_cpu: " in named.stderr
    for group in (mine, reference):
        page = (group / "report.html").read_text()
        assert "title of bars" in page
        assert "resnet18" in page
        assert {path.name for path in (group / "report").glob("bars*")} == {"bars.png", "bars.svg"}
        assert (group / "report" / "bars.svg").read_text() == made_picture().svg
        assert {path.name for path in (group / "report").glob("effects*")} == {
            "effects.csv", "effects.json"
        }  # fmt: skip


@pytest.mark.usefixtures("quick")
def test_out_writes_one_page_of_all_groups_and_nothing_into_their_folders(
    report: Bench, results: Path, tmp_path: Path
) -> None:
    before = sorted(path for path in results.rglob("*"))
    done = report(str(results), "--out", str(tmp_path / "deep" / "page.html"))
    assert done.exit_code == 0, done.output
    page = (tmp_path / "deep" / "page.html").read_text()
    assert 'id="g1-matrix"' in page
    assert sorted(path for path in results.rglob("*")) == before


@pytest.mark.usefixtures("quick")
def test_only_chosen_cells_are_on_the_page(report: Bench, results: Path, tmp_path: Path) -> None:
    report(str(results / "mine_shapes_cpu"), "-k", "cnn4", "--out", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert ">cnn4/" in page
    assert ">resnet18/" not in page


@pytest.mark.usefixtures("quick")
def test_files_of_the_group_are_shown(report: Bench, results: Path) -> None:
    store = Store(results / "mine_shapes_cpu")
    store.write_derived("loaders.json", render_loaders(MIXED, "json"))
    name = example_name(RECORDS[0].cell)
    store.write_derived(f"examples/{name}.png", PNG_SIGNATURE + b"strip" + PNG_END)
    store.write_derived("examples/other__pipeline.png", b"of no record")
    report(str(store.folder))
    page = (store.folder / "report.html").read_text()
    assert "title of alone" in page
    assert "<b>flip_crop</b> by <b>kornia</b>" in page
    assert page.count("data:image/png") == 1
    (store.folder / "report" / "mine.png").write_bytes(b"mine")
    (store.folder / "loaders.json").unlink()
    report(str(store.folder))
    left = {path.name for path in (store.folder / "report").glob("*.png")}
    assert left == {"bars.png", "mine.png"}, "files of people stay, old pictures go"


def test_measurements_of_loaders_without_runs_get_a_page(report: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "mine_shapes_cpu"
    folder.mkdir()
    write_tables(Store(folder), MIXED)
    done = report(str(tmp_path))
    assert done.exit_code == 0, done.output
    page = (folder / "report.html").read_text()
    assert "<h2>pipelines alone</h2>" in page
    assert "Quickest pipeline" in page
    assert "no records" not in page
    assert (folder / "report" / "pipelines_alone.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-k", "nonesuch"], "no cell has 'nonesuch'"),
        (["--out", "results"], "cannot write results"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_errors_are_one_sentence(
    report: Bench, arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Store(tmp_path / "results" / "mine_shapes_cpu").write(made_record())
    done = report("results", *arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("bench: ")
    assert text in last


def test_report_draws_figures_without_importing_torch(tmp_path: Path) -> None:
    store = Store(tmp_path / "mine_shapes_cpu")
    for record in (made_record(0), made_record(1, accuracy=0.8), made_failure(0, pipeline="dali")):
        store.write(record)
    code = (
        "import sys; from bench.cli.app import app\n"
        f"try: app(['report', {str(tmp_path)!r}])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = checkout.python(code)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
    pictures = {path.stem for path in (store.folder / "report").glob("*.svg")}
    assert pictures
    page = (store.folder / "report.html").read_text()
    assert all(f'id="g0-figure-{name}"' in page for name in pictures)
