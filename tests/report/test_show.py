"""`bench show`: finds a run by id or name and shows everything recorded."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import UsageError
from bench.recipe import Recipe
from bench.record import Conditions, Memory, Metrics, PerClass, Record, Throughput
from bench.report import show
from bench.report.show import find_run, render
from bench.store.codec import decode
from bench.store.store import Store
from tests.made import ENVIRONMENT, made_failure, made_metrics, made_record

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def filed(folder: Path, *records: Record) -> Store:
    store = Store(folder / "cpu_shapes_cpu")
    for record in records:
        store.write(record)
    return store


def shown(tmp_path: Path, record: Record, **options: Any) -> str:
    filed(tmp_path, record)
    return render(find_run(tmp_path, record.run_id), **options)


def metrics_of(counts: list[list[int]], names: tuple[str, ...]) -> Metrics:
    made = made_record().metrics
    assert made is not None
    each = tuple(PerClass(name=name, precision=0.5, recall=0.5, f1=0.5, support=10)
                 for name in names)  # fmt: skip
    return replace(made, per_class=each, confusion=tuple(map(tuple, counts)))


def text(*parts: Any, width: int = 1000) -> str:
    drawn = [one if isinstance(one, str) else one.terminal(width=width).rstrip() for one in parts]
    return "\n".join(drawn)


def test_a_run_is_found_by_id_name_and_parts_of_them(tmp_path: Path) -> None:
    record, other = made_record(0, architecture="vgg11_bn"), made_record(1, optimizer="muon")
    filed(tmp_path, record, other, made_record(10, optimizer="muon", architecture="x"))
    for wanted in (record.run_id, record.run_id[:6], record.name, "vgg11", "vgg11_bn/sgd"):
        assert find_run(tmp_path, wanted).record.run_id == record.run_id
    assert find_run(tmp_path / "cpu_shapes_cpu", other.name).record.run_id == other.run_id
    assert find_run(tmp_path, "vgg11").root == tmp_path


def test_an_ambiguous_name_lists_names_that_select_one_run_each(tmp_path: Path) -> None:
    records = [made_record(seed, epochs=epochs) for seed in (1, 10) for epochs in (4, 5)]
    records += [made_record(2, epochs=epochs, recipe=Recipe(lr=0.1)) for epochs in (4, 5)]
    records += [replace(records[-1], versions={"architecture": version}) for version in (2, 3, 4)]
    records = [replace(record, run_id=record.run.id) for record in records]
    filed(tmp_path, *records)
    with pytest.raises(UsageError, match=r"matches 9 runs.* and 1 more$") as told:
        find_run(tmp_path, "resnet18")
    listed = str(told.value).partition("specific: ")[2].removesuffix(" and 1 more")
    names = re.findall(r"[^ ]+ \(.*?\)", listed)
    assert len({find_run(tmp_path, name).record.run_id for name in names}) == 8
    assert find_run(tmp_path, "5 epochs and seed10").record.run_id == records[3].run_id


def test_one_run_on_two_machines_needs_the_folder(tmp_path: Path) -> None:
    record = made_record()
    for group in ("a_shapes_cpu", "b_shapes_cpu"):
        Store(tmp_path / group).write(record)
    with pytest.raises(UsageError, match=r"in several groups.*a_shapes_cpu.*b_shapes_cpu"):
        find_run(tmp_path, record.run_id)
    assert find_run(tmp_path / "b_shapes_cpu", record.run_id).record.run_id == record.run_id


@pytest.mark.parametrize("wanted", ["resnet18/sgd", made_record().name, made_record().run_id])
def test_ones_own_run_is_found_before_that_of_the_reference(tmp_path: Path, wanted: str) -> None:
    own, theirs = tmp_path / "z_shapes_cpu", tmp_path / "reference" / "a_shapes_cpu"
    Store(theirs).write(made_record())
    assert find_run(tmp_path, wanted).store.folder == theirs
    Store(own).write(made_record())
    assert find_run(tmp_path, wanted).store.folder == own
    assert find_run(tmp_path / "reference", wanted).store.folder == theirs


def test_an_unknown_run_suggests_similar_ones(tmp_path: Path) -> None:
    filed(tmp_path, made_record(architecture="vgg11_bn"))
    with pytest.raises(UsageError, match=r"no run .* has 'vgg12'.* 1 runs, such as vgg11_bn/sgd"):
        find_run(tmp_path, "vgg12")


def test_everything_that_was_recorded_is_shown(tmp_path: Path) -> None:
    changes = {
        "memory": Memory(host_gib=1.25, torch_gib=0.5),
        "parameters": 12_345,
        "command": "bench run --grid default",
        "timing_suspect": ("throttled",),
        "stepping": "one CUDA graph",
        "compiled": "partly from cache",
    }
    said = shown(tmp_path, made_record(record=changes))
    for part in (
        "resnet18/sgd/flip_crop/kornia/seed0 ok",
        "shapes, cpu scale, cpu, 4 epochs, batch 100, width 0.25, 1000 images, all validation",
        "accuracy 70.00%",
        "macro F1 69.00%",
        "time to accuracy 60.0% after 3.0 s, 8.0 s with first batch and compilation",
        "median 1,000.0",
        "p5 900.0",
        "step ms 100.0",
        "stall % 50.0",
        "ceiling 2,000.0",
        "host GiB 1.25",
        "torch GiB 0.50",
        "steps one CUDA graph",
        "compiled code partly from cache",
        "parameters 12,345",
        "AMD EPYC",
        "torch 2.11.0",
        "command bench run --grid default",
        "timing suspect throttled",
        "train s 4.00",
        f"bench run --rerun {made_record().run_id} --out {tmp_path}\n",
    ):
        assert part in re.sub(" +", " ", said)
    assert "\x1b" not in said


def test_images_that_were_there_are_shown_instead_of_limits(tmp_path: Path) -> None:
    counts = {"training_images": 1108, "validation_images": 13, "test_images": 30}
    said = shown(tmp_path, made_record(record=counts))
    assert "1,108 training, 13 validation and 30 test images" in said
    assert "1000 images" not in said
    assert "all validation" not in said
    whole = shown(tmp_path, made_record(1, record=counts | {"validation_images": 0}))
    assert "1,108 training and 30 test images" in whole
    paused = Conditions(paused_s=63.21)
    said = shown(tmp_path, made_record(2, record={"conditions": paused}))
    assert "the process did not run for 63.2 s of the training clock" in said


def test_a_missed_target_differs_from_no_validation(tmp_path: Path) -> None:
    missed = shown(tmp_path, made_record(time_to_accuracy_s=None))
    assert "60.0% on validation not reached" in missed
    easy = made_record(2, time_to_accuracy_s=None)
    metrics = replace(made_metrics(0.7, None), commonest_share=0.75)
    assert "none, as 75.0% of the validation images are of one class" in shown(
        tmp_path, replace(easy, metrics=metrics)
    )
    blind = shown(tmp_path, made_record(1, protocol="speedrun", time_to_accuracy_s=None))
    assert "no validation images are held out" in blind
    assert "not reached" not in blind


def test_a_failure_is_shown_with_only_its_log(tmp_path: Path) -> None:
    said = shown(tmp_path, made_failure(status="oom"))
    assert "RuntimeError: it broke\nin the second line" in said
    assert f"log: {tmp_path / 'cpu_shapes_cpu' / 'logs' / 'x.log'}" in said
    for title in ("scores", "curve", "confusion", "classes"):
        assert f"\n{title}" not in said
    assert "throughput" not in said


def test_earlier_attempts_are_listed_oldest_first(tmp_path: Path) -> None:
    filed(tmp_path, made_failure(), made_failure(status="oom"), made_record())
    said = render(find_run(tmp_path, "resnet18"))
    assert "attempt 3" in said
    assert said.index("1. crashed, 2026-01-01 00:00:06 UTC: it broke") < said.index("2. oom")


def test_a_curve_shows_its_last_epoch_and_at_most_20() -> None:
    (point, *_, last) = made_record().curve
    assert text(show.curve([last])).splitlines()[2].split() == [
        "4", "4.00", "0.575", "0.550", "70.0%", "1000",
    ]  # fmt: skip
    points = [replace(point, epoch=epoch, validation_accuracy=None) for epoch in range(1, 202)]
    rows = [line.split() for line in text(show.curve(points)).splitlines()[2:]]
    assert len(rows) <= 20
    assert (rows[-2][0], rows[-1][0], rows[-1][4]) == ("190", "201", "-")


def test_the_confusion_matrix_has_each_count_in_its_place() -> None:
    metrics = metrics_of([[40, 10], [5, 45]], ("cat", "dog"))
    lines = text(*show.confusion(metrics)).splitlines()
    assert [line.split() for line in (lines[0], *lines[2:4])] == [
        ["cat", "dog"], ["cat", "40", "10"], ["dog", "5", "45"],
    ]  # fmt: skip
    assert lines[4] == "most often mistaken: cat for dog 20%, dog for cat 10%"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_ten_classes_fit_usual_terminals(width: int) -> None:
    counts = [[100 if i == j else i for j in range(10)] for i in range(10)]
    metrics = metrics_of(counts, NAMES)
    matrix, _ = show.confusion(metrics)
    lines = text(matrix, width=width).splitlines()
    assert lines[0].split() == [name[:3] for name in NAMES]
    assert [line.split()[0] for line in lines[2:]] == list(NAMES)
    assert all(len(line) <= width and "\u2026" not in line for line in lines)
    scores = text(show.per_class(metrics), width=width).splitlines()
    assert scores[2].split() == ["airplane", "50.0%", "50.0%", "50.0%", "10"]


def test_a_hundred_classes_show_only_the_worst_pairs() -> None:
    counts = [[90 if i == j else 0 for j in range(100)] for i in range(100)]
    counts[3][7] = 10
    metrics = metrics_of(counts, tuple(f"class{i}" for i in range(100)))
    perfect = metrics_of([[5, 0], [0, 5]], ("a", "b"))
    assert "no image was misclassified" in text(*show.confusion(perfect))
    assert text(*show.confusion(metrics)) == ("most often mistaken: class3 for class7 10%")


def test_colours_are_used_only_on_request(tmp_path: Path) -> None:
    assert "\x1b[" in shown(tmp_path, made_record(), width=80, color=True)
    assert "\x1b" not in shown(tmp_path, made_record(), width=80, color=False)


def test_the_verb_shows_a_run_and_its_json(tmp_path: Path) -> None:
    record = made_record()
    filed(tmp_path, record)
    done = CliRunner().invoke(app.app, ["show", record.run_id[:8], str(tmp_path)])
    assert done.exit_code == 0, done.output
    command = f"bench run --rerun {record.run_id} --out {tmp_path}"
    assert f"\ntrain it again\n{command}\n" in done.stdout
    done = CliRunner().invoke(app.app, ["show", "resnet18", str(tmp_path), "--format", "json"])
    assert decode(done.stdout.encode()).run_id == record.run_id
    assert json.loads(done.stdout)["cell"]["architecture"] == "resnet18"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vgg"], "no run under"),
        (["resnet18"], "matches 2 runs"),
        (["seed0", "--format", "yaml"], "unknown format 'yaml'"),
    ],
)
def test_a_wrong_request_is_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    filed(tmp_path, made_record(0), made_record(1))
    done = CliRunner().invoke(app.app, ["show", arguments[0], str(tmp_path), *arguments[1:]])
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert said in line


def test_a_record_of_an_old_version_can_be_shown(tmp_path: Path) -> None:
    record = made_record(record={"throughput": Throughput(median=1.0, p5=1.0, p95=1.0)})
    said = shown(tmp_path, record)
    assert "recipe          the optimizer's own (not recorded by this older version)" in said
    assert "stall" not in said


def test_host_gpu_and_neighbours(tmp_path: Path) -> None:
    environment = ENVIRONMENT | {"host": "3f9c02ab", "gpu_mark": "1b2c3d4e"}
    conditions = Conditions(neighbours=1, cpu_others_pct=0.5342, slowed=("heat", "power"))
    changes = {"environment": environment, "conditions": conditions}
    said = shown(tmp_path, made_record(images_per_s=2200.0, record=changes))
    for part in ("host   ", "gpu mark  1b2c3d4e", "stall %       -10.0"):
        assert part in said
    lines = said.partition("\nconditions\n")[2].partition("\n\n")[0].splitlines()
    assert lines == [
        "the GPU was slowed down by: heat, power",
        "other programs used 0.5 % of the CPU",
        "other runs on this machine: 1",
    ]
    assert {*show.CONDITIONS} == {*Conditions.__dataclass_fields__}
