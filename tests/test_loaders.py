"""`bench loaders`: orders by what was measured, refuses to where it cannot, and loses no row."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from bench import cli, loader_plan, loader_worker, loaders
from bench.environment import Probe
from bench.errors import UsageError
from bench.executors import local
from bench.loader_messages import Build, Built, Failed, Measure, Measured
from bench.loader_plan import BATCH_SIZES, Candidate, Options, Plan, choose_batch_sizes
from bench.loader_record import LoadersRecord, Repeat, Series
from bench.loader_worker import LoaderBench, answer
from bench.record import Memory
from bench.report import loaders_plot
from bench.report.loaders import LEAST_REPEATS, draws, quartiles, ranks, render, rows
from pipelines.base import Unsupported
from pipelines.sources.base import Images, SourceError
from tests.made import ENVIRONMENT

RATES = st.floats(1.0, 1e9)
INTERVALS = st.lists(st.tuples(RATES, RATES).map(lambda ends: (min(ends), max(ends))), max_size=8)
FORMS = ("rich", "md", "csv", "json")


def made_series(pipeline: str, *images_per_s: float, **changes: Any) -> Series:
    """A series with a repeat for each rate."""
    size = changes.get("batch_size", 512)
    fields: dict[str, Any] = {
        "pipeline": pipeline,
        "batch_size": size,
        "compiled": False,
        "draws": {"Crop": "per sample"},
        "build_s": 0.25,
        "first_batch_s": 8.0,
        "bytes_per_image": 15360,
        "memory": Memory(host_gib=0.5),
        "repeats": tuple(
            Repeat(images=4 * size, batch_s=size / rate, images_per_s=rate) for rate in images_per_s
        ),
    }
    return Series(**fields | changes)


def lost_series(pipeline: str, status: str, reason: str, **changes: Any) -> Series:
    """A series without figures."""
    changes = {"draws": {}, "build_s": None, "first_batch_s": None, "bytes_per_image": None,
               "memory": Memory(), "status": status, "reason": reason} | changes  # fmt: skip
    return made_series(pipeline, **changes)


def made_loaders(*series: Series) -> LoadersRecord:
    """A record of them."""
    return LoadersRecord(
        source="cifar10",
        fingerprint="f00d",
        images=50000,
        image_size=(32, 32),
        augmentation="flip_crop_cutout",
        device="cpu",
        scale="cpu",
        precision="fp32",
        repeat_s=1.0,
        command="bench loaders",
        started="2026-01-01T00:00:00+00:00",
        environment=ENVIRONMENT,
        bandwidth_gb_per_s=15.36,
        series=series,
    )


MIXED = made_loaders(
    lost_series("zoo", "crashed", "it broke | badly"),
    made_series("slow", 100, 110, 120),
    lost_series("dali", "skipped", "dali is not installed"),
    made_series("quick", 1000, 1100, 1200),
    made_series("quicker", 1100, 1200, 1300),
    made_series("slow", 10, 11, 12, batch_size=128),
)


@given(INTERVALS)
def test_a_rank_is_single_only_where_no_other_interval_overlaps(
    intervals: list[tuple[float, float]],
) -> None:
    for index, ((low, high), (first, last)) in enumerate(
        zip(intervals, ranks(intervals), strict=True)
    ):
        others = intervals[:index] + intervals[index + 1 :]
        overlaps = any(low <= other[1] and other[0] <= high for other in others)
        assert (first != last) == overlaps
        assert 1 <= first <= last <= len(intervals)


@given(INTERVALS, st.data())
def test_a_rank_holds_wherever_in_the_intervals_the_truth_lies(
    intervals: list[tuple[float, float]], data: st.DataObject
) -> None:
    truth = [data.draw(st.floats(low, high)) for low, high in intervals]
    for mine, (first, last) in zip(truth, ranks(intervals), strict=True):
        better = sum(other > mine for other in truth)
        worse = sum(other < mine for other in truth)
        assert first <= 1 + better
        assert last >= len(truth) - worse


@given(st.lists(RATES, min_size=1, max_size=9))
def test_quartiles_are_in_order_and_within_the_values(values: list[float]) -> None:
    low, median, high = quartiles(values)
    assert min(values) <= low <= median <= high <= max(values)


def test_rows_stand_by_batch_size_the_quickest_first_and_what_has_no_figure_last() -> None:
    found = [(row["batch_size"], row["pipeline"], row["rank"]) for row in rows(MIXED)]
    assert found == [
        (128, "slow", "1"),
        (512, "quicker", "1-2"),
        (512, "quick", "1-2"),
        (512, "slow", "3"),
        (512, "dali", None),
        (512, "zoo", None),
    ]


def test_a_row_has_median_quartiles_and_share_of_the_bandwidth() -> None:
    (row,) = rows(made_loaders(made_series("one", 1e5, 4e5, 2e5, 3e5, 5e5)))
    assert (row["images_per_s_q1"], row["images_per_s"], row["images_per_s_q3"]) == (2e5, 3e5, 4e5)
    assert row["bandwidth_pct"] == pytest.approx(30.0)
    assert (row["repeats"], row["draws"], row["status"]) == (5, "per sample", "ok")


def test_compiling_is_what_the_first_batch_took_beyond_a_warm_one() -> None:
    warm = [256.0, 512.0, 1024.0]
    (row,) = rows(made_loaders(made_series("one", *warm, compiled=True)))
    assert row["compile_s"] == pytest.approx(7.0)
    (row,) = rows(made_loaders(made_series("one", *warm, compiled=True, first_batch_s=0.5)))
    assert row["compile_s"] == 0.0
    (row,) = rows(made_loaders(made_series("one", *warm)))
    assert row["compile_s"] is None


def test_draws_that_a_batch_shares_are_named() -> None:
    series = made_series("one", draws={"Crop": "per sample", "MixUp": "per batch"})
    assert draws(series) == "per batch: MixUp"
    assert draws(made_series("one", draws={})) == "per sample"
    assert draws(lost_series("one", "crashed", "boom")) == ""


def test_a_failed_series_keeps_its_repeats_but_has_no_rank_and_no_figure() -> None:
    broken = made_series("a", 100, 110, 120, status="crashed", reason="boom")
    record = made_loaders(broken, made_series("b", 10, 11, 12))
    assert [row["rank"] for row in rows(record)] == ["1", None]
    found = json.loads(render(record, "json"))["rows"][1]
    assert (found["images_per_s"], len(found["repeats"])) == (None, 3)


def test_overlapping_intervals_and_few_repeats_are_said_under_the_table() -> None:
    for form in ("md", "rich"):
        text = render(MIXED, form)  # type: ignore[arg-type]
        assert text.count("Overlapping intervals are not ranked") == 1
        apart = made_loaders(made_series("a", 1, 2, 3), made_series("b", 4, 5, 6))
        assert "not ranked" not in render(apart, form)  # type: ignore[arg-type]
    few = [1.0] * (LEAST_REPEATS - 1)
    record = made_loaders(made_series("a", *few), made_series("b", *(10 * rate for rate in few)))
    assert [row["rank"] for row in rows(record)] == ["1-2", "1-2"]
    assert "Fewer than 3 repeats are not ranked." in render(record, "md")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_every_row_with_its_reason(form: Any) -> None:
    text = render(MIXED, form)
    for word in ("quicker", "dali is not installed", "crashed", "it broke", "flip_crop_cutout"):
        assert word in text
    assert text.endswith("\n")


def test_markdown_is_one_table() -> None:
    lines = [line for line in render(MIXED, "md").splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(MIXED.series)
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_csv_and_json_can_be_read_back() -> None:
    table = list(csv.DictReader(StringIO(render(MIXED, "csv"))))
    assert [row["pipeline"] for row in table] == [row["pipeline"] for row in rows(MIXED)]
    assert {row["source"] for row in table} == {"cifar10"}
    whole = json.loads(render(MIXED, "json"))
    assert whole["environment"] == ENVIRONMENT
    assert whole["command"] == "bench loaders"
    assert [repeat["images_per_s"] for repeat in whole["rows"][2]["repeats"]] == [1000, 1100, 1200]


def test_a_narrow_terminal_gets_fewer_columns_and_is_told() -> None:
    text = render(MIXED, "rich", width=100)
    table = text.split("host GiB is")[0]
    assert all(len(line) <= 100 for line in table.splitlines() if "is the second" not in line)
    assert "left out for width: " in text
    assert "images/s" in text


def test_the_plot_names_every_pipeline_that_was_measured() -> None:
    found = loaders_plot.draw(MIXED)
    assert found["png"].startswith(b"\x89PNG")
    svg = found["svg"].decode()
    assert all(f">{name}<" in svg for name in ("quick", "quicker", "slow"))
    assert ">dali<" not in svg
    assert loaders_plot.draw(MIXED)["svg"] == found["svg"]
    assert loaders_plot.draw(made_loaders())["png"]


def test_what_was_measured_is_left_in_the_group_folder(tmp_path: Path) -> None:
    folder = tmp_path / "group"
    loaders.write(MIXED, folder, pytest.fail)
    assert json.loads((folder / "loaders.json").read_text())["fingerprint"] == "f00d"
    for name in ("loaders.csv", "loaders.md", "loaders.png", "loaders.svg"):
        assert (folder / name).stat().st_size > 100
    loaders.write(MIXED, folder, pytest.fail)  # again: the scalars are not there twice
    events = EventAccumulator(str(folder / "tensorboard" / "loaders" / "slow")).Reload()
    scalars = [(event.step, event.value) for event in events.Scalars("loaders/images_per_s")]
    assert scalars == [(128, 11.0), (512, 110.0)]
    assert not (folder / "tensorboard" / "loaders" / "dali").exists()


def test_scalars_that_cannot_be_written_cost_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("no folder")
    said: list[str] = []
    loaders.write(MIXED, tmp_path, said.append)
    assert len(said) == 3
    assert (tmp_path / "loaders.svg").exists()


def test_usual_batch_sizes_are_made_to_fit_and_others_are_refused() -> None:
    assert choose_batch_sizes((), 10**6) == list(BATCH_SIZES)
    assert choose_batch_sizes((), 1000) == [128, 512, 1000]
    assert choose_batch_sizes((64, 8, 64), 1000) == [8, 64]
    with pytest.raises(UsageError, match="--batch-size 1001 is more than the source's 1000"):
        choose_batch_sizes((1001,), 1000)


def test_every_variant_is_a_candidate_and_what_cannot_run_has_its_reason() -> None:
    found = {
        candidate.name: candidate
        for candidate in loader_plan.choose_candidates(Options(augmentation="erasing"), "cpu")
    }
    assert {"native", "native[eager]", "kornia", "kornia[compiled]"} <= set(found)
    assert sum(name.startswith("torchvision") for name in found) >= 2
    assert found["native"].compiled
    assert not found["native[eager]"].compiled
    assert found["kornia"].problem == "kornia has no RandomErasing"
    assert found["native[eager]"].problem == ""


def test_asking_twice_for_a_pipeline_measures_it_once() -> None:
    options = Options(pipelines=("kornia", "kornia[eager]"))
    assert [one.name for one in loader_plan.choose_candidates(options, "cpu")] == ["kornia"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a GPU and with 100 images of `shapes`; nothing may be measured."""

    def resolve(asked: str, data_dir: Path, report: Callable[[str], None]) -> tuple[str, str]:
        if asked not in ("auto", "shapes"):
            raise SourceError(f"unknown source {asked!r}: known is shapes")
        return "shapes", ""

    class Hundred:
        fingerprint = "f00d"
        image_size = (32, 32)

        def __len__(self) -> int:
            return 100

    monkeypatch.chdir(tmp_path)
    probe = Probe(torch="2.11", cuda_problem="no NVIDIA driver", compiler=True)
    monkeypatch.setattr(loader_plan.environment, "probe", lambda: probe)
    sources = SimpleNamespace(
        default_data_dir=lambda: tmp_path / "data",
        resolve=resolve,
        load=lambda name, data_dir, report: SimpleNamespace(train=Hundred()),
    )
    monkeypatch.setattr(loader_plan, "sources", sources)
    monkeypatch.setattr(loaders, "start_child", lambda *_: pytest.fail("it measured"))


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pipeline", "kornja"], "unknown pipeline 'kornja': did you mean kornia?"),
        (["--pipeline", "kornia[compile]"], "did you mean compiled?"),
        (
            ["--augmentation", "flip_corp"],
            "unknown augmentation 'flip_corp': did you mean",
        ),
        (["--source", "cifar11"], "unknown source 'cifar11'"),
        (["--device", "gpu"], "unknown value of --device 'gpu'"),
        (["--device", "cuda"], "no GPU can be used here: no NVIDIA driver"),
        (["--batch-size", "0"], "--batch-size is at least 1, got 0"),
        (["--batch-size", "101"], "--batch-size 101 is more than the source's 100 images"),
        (["--repeats", "0"], "--repeats is at least 1, got 0"),
        (["--seconds", "0"], "--seconds is more than 0, got 0"),
        (["--format", "markdown"], "unknown table format 'markdown'"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence_and_writes_nothing(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = CliRunner().invoke(cli.app, ["loaders", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


# Plays the child: answers at once, except where its pipeline's name tells what to do.
ACTOR = """
import json, os, sys, time

def say(**message):
    print(json.dumps(message), flush=True)

with open("pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
memory, repeat = {"host_gib": 0.5}, {"images": 8, "batch_s": 0.1, "images_per_s": 80.0}
name = ""
say(type="Ready", import_s=0.1)
for line in sys.stdin:
    order = json.loads(line)
    name = order.get("pipeline", "").partition("[")[0] or name
    if order["type"] == "Describe":
        say(type="Described", environment={"cpu": "made"}, bandwidth_gb_per_s=10.0)
    elif order["type"] == "Build":
        if name == "fails":
            say(type="Failed", status="oom", reason="out of memory")
            break
        if name == "babbles":
            print("hello", flush=True)
        if name == "hangs":
            time.sleep(600)
        say(type="Built", build_s=0.1, first_batch_s=1.0, bytes_per_image=100,
            draws={"Crop": "per sample"}, memory=memory)
    else:
        if name == "dies":
            os.abort()
        say(type="Measured", repeat=repeat, memory=memory)
"""


@pytest.fixture
def actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "actor.py"
    script.write_text(ACTOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "python_module", lambda name: [sys.executable, str(script)])


def made_plan(folder: Path, *candidates: Candidate, patience_s: float = 30.0) -> Plan:
    return Plan(
        header=made_loaders(),
        candidates=candidates,
        batch_sizes=(8, 16),
        repeats=3,
        data_dir=folder,
        folder=folder / "group",
        notices=(),
        patience_s=patience_s,
    )


def named(*names: str) -> list[Candidate]:
    return [Candidate(name=name) for name in names]


def none_is_left(folder: Path) -> bool:
    pids = [int(line) for line in (folder / "pids").read_text().split()]
    return bool(pids) and not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.usefixtures("actor")
def test_what_fails_becomes_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    candidates = named("works", "fails", "dies", "babbles", "hangs")
    absent = Candidate(name="absent", problem="it is not installed")
    said: list[str] = []
    record = loaders.measure(made_plan(tmp_path, *candidates, absent, patience_s=1.0), said.append)
    assert record.environment == {"cpu": "made"}
    assert record.bandwidth_gb_per_s == 10.0
    assert len(record.series) == 2 * 6
    found = {one.pipeline: one for one in record.series if one.batch_size == 16}
    assert {name: one.status for name, one in found.items()} == {
        "works": "ok",
        "fails": "oom",
        "dies": "crashed",
        "babbles": "crashed",
        "hangs": "timeout",
        "absent": "skipped",
    }
    assert found["fails"].reason == "out of memory"
    assert "SIGABRT" in found["dies"].reason
    assert "logs/loaders-dies-16.log" in found["dies"].reason
    assert "no answer came within 1 s" in found["hangs"].reason
    assert found["absent"].reason == "it is not installed"
    assert len(found["works"].repeats) == 3
    assert loaders.failed(record)
    assert none_is_left(tmp_path)
    assert any("dies: the worker was killed" in line for line in said)


@pytest.mark.usefixtures("actor")
def test_a_skipped_row_is_no_failure(tmp_path: Path) -> None:
    plan = made_plan(tmp_path, Candidate(name="works"), Candidate(name="absent", problem="no"))
    assert not loaders.failed(loaders.measure(plan, lambda text: None))


@pytest.mark.usefixtures("actor")
def test_a_stop_from_outside_leaves_no_child(tmp_path: Path) -> None:
    def stop(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaders.measure(made_plan(tmp_path, *named("a", "b")), stop)
    assert none_is_left(tmp_path)


@pytest.mark.usefixtures("actor")
def test_repeats_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    before = loaders.ask

    def ask(child: Any, order: Any, kind: Any, timeout_s: float) -> Any:
        asked.append((child.key, type(order).__name__))
        return before(child, order, kind, timeout_s)

    monkeypatch.setattr(loaders, "ask", ask)
    plan = replace(made_plan(tmp_path, *named("a", "b")), batch_sizes=(8,))
    loaders.measure(plan, lambda text: None)
    measured = [key for key, order in asked if order == "Measure"]
    assert measured == ["loaders-a-8", "loaders-b-8"] * 3
    last_build = max(index for index, (_, order) in enumerate(asked) if order == "Build")
    assert last_build < asked.index(("loaders-a-8", "Measure"))


def made_order(**changes: Any) -> Build:
    fields: dict[str, Any] = {
        "pipeline": "native[eager]",
        "source": "made",
        "data_dir": "nowhere",
        "augmentation": "flip_crop",
        "batch_size": 8,
        "device": "cpu",
        "precision": "fp32",
    }
    return Build(**fields | changes)


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty images for whatever source is asked for."""
    import pipelines

    twenty = Images(
        images=torch.randint(0, 256, (20, 16, 16, 3), dtype=torch.uint8),
        labels=torch.arange(20) % 2,
        classes=("a", "b"),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    monkeypatch.setattr(pipelines, "load", lambda *_: SimpleNamespace(train=twenty), raising=False)


@pytest.mark.usefixtures("images")
def test_a_child_counts_whole_batches_of_epochs() -> None:
    bench = LoaderBench()
    built = answer(bench, made_order())
    assert isinstance(built, Built), built
    assert built.bytes_per_image == 16 * 16 * 3 * (1 + 4)
    assert built.draws == {"Crop": "per sample", "HorizontalFlip": "per sample"}
    quick = answer(bench, Measure(seconds=1e-9))
    assert isinstance(quick, Measured), quick
    assert quick.repeat.images == 8 * loader_worker.LEAST_BATCHES
    longer = answer(bench, Measure(seconds=0.05))
    assert isinstance(longer, Measured)
    repeat = longer.repeat
    assert repeat.images % 8 == 0
    assert repeat.images / repeat.images_per_s >= 0.05
    assert repeat.images_per_s * repeat.batch_s == pytest.approx(8)
    assert longer.memory.host_gib is not None
    assert 0 <= longer.memory.host_gib < 1
    assert longer.memory.torch_gib is None


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Unsupported("kornia has no Mix"), "skipped", "kornia has no Mix"),
        (MemoryError(), "oom", "MemoryError: MemoryError"),
        (RuntimeError("boom\nand more"), "crashed", "RuntimeError: boom"),
    ],
)
def test_a_child_tells_how_it_failed(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: str, reason: str
) -> None:
    import pipelines

    def build(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pipelines, "build", build, raising=False)
    reply = answer(LoaderBench(), made_order())
    assert reply == Failed(status=status, reason=reason)  # type: ignore[arg-type]


def test_copying_memory_has_a_bandwidth() -> None:
    assert 0.01 < loader_worker.bandwidth_gb_per_s(torch.device("cpu"), 1) < 1e5


def test_two_real_pipelines_are_measured_from_the_command_line(tmp_path: Path) -> None:
    arguments = ["loaders", "--source", "shapes", "--device", "cpu", "--batch-size", "32",
                 "--repeats", "3", "--seconds", "0.05", "--format", "json",
                 "--pipeline", "native[eager]", "--pipeline", "kornia"]  # fmt: skip
    done = CliRunner().invoke(cli.app, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {row["pipeline"] for row in found["rows"]} == {"native[eager]", "kornia"}
    for row in found["rows"]:
        assert row["status"] == "ok"
        assert len(row["repeats"]) == 3
        assert row["images_per_s"] > 0
        assert row["first_batch_s"] > 0
        assert row["draws"] == "per sample"
    assert found["environment"]["torch"]
    (written,) = tmp_path.glob("*_shapes_cpu/loaders.json")
    assert written.read_text() == done.stdout
    assert {path.suffix for path in written.parent.glob("loaders.*")} == {
        ".json", ".csv", ".md", ".png", ".svg",
    }  # fmt: skip
    assert (written.parent / "tensorboard" / "loaders" / "kornia").is_dir()
