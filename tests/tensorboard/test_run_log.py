"""Event files are read back by TensorBoard's own reader."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from bench.recipe import Recipe
from bench.record import Memory, PerClass, Record
from bench.store.store import Store
from bench.tensorboard.run_log import (
    MAX_CLASS_CURVES,
    RunLog,
    load_positives,
    scalar_tags,
    write_run,
)
from tests.made import made_failure, made_metrics, made_record


def written(
    folder: Path, record: Record, positives_K2T: np.ndarray | None = None
) -> EventAccumulator:
    log = RunLog(folder, on_error=pytest.fail)
    for point in record.curve:
        log.point(point)
    log.finish(record, positives_K2T)
    return EventAccumulator(str(folder)).Reload()


def hparams_of(events: EventAccumulator, kind: str) -> Any:
    content = events.SummaryMetadata(f"_hparams_/{kind}").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def text_of(events: EventAccumulator, tag: str) -> str:
    (found,) = events.Tensors(tag)
    (text,) = found.tensor_proto.string_val
    return str(text, encoding="utf-8")


def test_curves_are_over_images_seen(tmp_path: Path) -> None:
    record = made_record(epochs=3)
    events = written(tmp_path, record)
    for tag, field in {
        "loss/train": "train_loss",
        "loss/validation": "validation_loss",
        "accuracy/validation": "validation_accuracy",
        "f1/validation_macro": "validation_macro_f1",
        "throughput/images_per_s": "images_per_s",
        "throughput/step_ms": "step_ms",
        "time/train_s": "train_s",
    }.items():
        found = events.Scalars(tag)
        assert [event.step for event in found] == [1000, 2000, 3000]
        expected = [getattr(point, field) for point in record.curve]
        assert [event.value for event in found] == pytest.approx(expected)
    assert [event.step for event in events.Scalars("accuracy/by_train_ms")] == [1000, 2000, 3000]


def test_ceiling_and_stall_are_written_for_each_epoch(tmp_path: Path) -> None:
    events = written(tmp_path, made_record(epochs=3, images_per_s=1500.0))
    ceiling = events.Scalars("throughput/ceiling_images_per_s")
    assert [(event.step, event.value) for event in ceiling] == [
        (images, 2000.0) for images in (1000, 2000, 3000)
    ]
    # the made curve has 1,000 images/s in each epoch, whatever the run's median
    assert [event.value for event in events.Scalars("throughput/epoch_stall_pct")] == [50.0] * 3
    (median,) = events.Scalars("throughput/stall_pct")
    assert median.value == pytest.approx(25.0)


def test_memory_and_energy_are_written_if_recorded(tmp_path: Path) -> None:
    memory = Memory(host_gib=1.5, torch_gib=0.25)
    events = written(tmp_path, made_record(record={"memory": memory, "energy_j": 12.0}))
    found = {tag: events.Scalars(tag)[0].value for tag in ("memory/host_gib", "energy/total_j")}
    assert found == {"memory/host_gib": 1.5, "energy/total_j": 12.0}
    assert "memory/device_gib" not in events.Tags()["scalars"]


def test_scalar_tags_of_a_record_match_its_file(tmp_path: Path) -> None:
    for number, record in enumerate((made_record(), made_failure())):
        events = written(tmp_path / str(number), record)
        assert set(events.Tags()["scalars"]) == scalar_tags(record)


def test_hparams_are_in_the_run_itself(tmp_path: Path) -> None:
    recipe = Recipe(lr=0.25, weight_decay=5e-4)
    record = made_record(seed=3, accuracy=0.75, recipe=recipe)
    events = written(tmp_path / "run", record)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(list((tmp_path / "run").iterdir())) == 1
    start = hparams_of(events, "session_start_info").session_start_info
    assert start.group_name == record.run_id
    assert start.hparams["architecture"].string_value == "resnet18"
    assert start.hparams["target"].string_value == "reached"
    numbers = {"seed": 3, "lr": 0.25, "weight_decay": 5e-4, "batch_size": 100}
    assert {name: start.hparams[name].number_value for name in numbers} == numbers
    end = hparams_of(events, "session_end_info").session_end_info
    assert end.status == api_pb2.STATUS_SUCCESS
    assert events.Scalars("test/accuracy")[0].value == pytest.approx(0.75)


def test_cell_environment_and_command_are_text(tmp_path: Path) -> None:
    events = written(tmp_path, made_record(record={"command": "bench run -k 'a|b'"}))
    assert "| pipeline | kornia |" in text_of(events, "cell")
    assert "| cpu | AMD EPYC |" in text_of(events, "environment")
    assert "| command | bench run -k 'a\\|b' |" in text_of(events, "command")


def test_a_failed_run_is_closed_with_its_error(tmp_path: Path) -> None:
    events = written(tmp_path, made_failure())
    assert "| RuntimeError | it broke in the second line |" in text_of(events, "error")
    end = hparams_of(events, "session_end_info").session_end_info
    assert end.status == api_pb2.STATUS_FAILURE
    assert events.Tags()["images"] == []


def test_the_confusion_matrix_is_a_picture(tmp_path: Path) -> None:
    events = written(tmp_path, made_record(epochs=2))
    (picture,) = events.Images("confusion")
    assert picture.encoded_image_string.startswith(b"\x89PNG")
    assert picture.step == 2000


def test_each_class_has_a_precision_recall_curve(tmp_path: Path) -> None:
    cat = [[50, 40, 0], [50, 10, 0]]  # true and false ones at thresholds 0, 1/2 and 1
    dog = [[50, 25, 5], [50, 0, 0]]
    events = written(tmp_path, made_record(), np.array([cat, dog]))
    (found,) = events.Tensors("pr/cat")
    rows = np.array(found.tensor_proto.float_val or np.frombuffer(
        found.tensor_proto.tensor_content, np.float32)).reshape(6, 3)  # fmt: skip
    true, false, true_not, false_not, precision, recall = rows.tolist()
    assert (true, false) == (cat[0], cat[1])
    assert true_not == [0, 40, 50]
    assert false_not == [0, 10, 50]
    assert precision == pytest.approx([0.5, 0.8, 1.0])  # nothing predicted, nothing wrong
    assert recall == pytest.approx([1.0, 0.8, 0.0])
    assert events.Tensors("pr/dog")


def test_many_classes_share_one_curve(tmp_path: Path) -> None:
    scores = tuple(
        PerClass(name=f"class {number}", precision=0.5, recall=0.5, f1=0.5, support=10)
        for number in range(MAX_CLASS_CURVES + 1)
    )
    confusion = ((10,) * len(scores),) * len(scores)
    metrics = replace(made_metrics(0.5, None), per_class=scores, confusion=confusion)
    record = made_record(record={"metrics": metrics})
    events = written(tmp_path, record, np.ones((len(scores), 2, 5)))
    assert [tag for tag in events.Tags()["tensors"] if tag.startswith("pr/")] == ["pr/all classes"]


def test_data_of_precision_recall_curves_is_kept_with_predictions(tmp_path: Path) -> None:
    store, record = Store(tmp_path), made_record()
    assert load_positives(store, record) is None
    positives = np.arange(8).reshape(2, 2, 2)
    store.save_predictions(record.run_id, [0, 1], [0, 1], positives=positives)
    found = load_positives(store, record)
    assert found.tolist() == positives.tolist()
    assert load_positives(store, made_failure()) is None


def test_a_rebuilt_event_file_equals_the_original(tmp_path: Path) -> None:
    record = made_record()
    live = written(tmp_path / "live", record)
    write_run(tmp_path / "again", record, None, on_error=pytest.fail)
    again = EventAccumulator(str(tmp_path / "again")).Reload()
    assert again.Tags() == live.Tags()
    for tag in again.Tags()["scalars"]:
        steps = [[(event.step, event.value) for event in events.Scalars(tag)]
                 for events in (live, again)]  # fmt: skip
        assert steps[0] == steps[1]
    times = [event.wall_time for event in again.Scalars("loss/train")]
    assert [round(time - times[0]) for time in times] == [0, 1, 2, 3]  # as on its training clock


def test_a_new_attempt_replaces_the_files_of_the_last(tmp_path: Path) -> None:
    written(tmp_path, made_record(epochs=5))
    events = written(tmp_path, made_record(epochs=2))
    assert len(events.Scalars("loss/train")) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unwritable_folder_is_reported_once_without_failing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    told: list[str] = []
    log = RunLog(file / "run", on_error=told.append)
    record = made_record()
    log.point(record.curve[0])
    log.finish(record)
    assert len(told) == 1
    assert str(file) in told[0]


def test_points_can_be_read_during_the_run(tmp_path: Path) -> None:
    log = RunLog(tmp_path, on_error=pytest.fail)
    record = made_record()
    log.point(record.curve[0])
    assert len(EventAccumulator(str(tmp_path)).Reload().Scalars("loss/train")) == 1
    log.finish(record)
