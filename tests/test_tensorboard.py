"""Event files are read back by TensorBoard's own reader."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from bench.record import Record
from bench.tensorboard import RunLog
from tests.made import made_failure, made_record


def refuse(text: str) -> None:
    raise AssertionError(text)


def written(folder: Path, record: Record) -> EventAccumulator:
    log = RunLog(folder, on_error=refuse)
    for point in record.curve:
        log.point(point)
    log.finish(record)
    return EventAccumulator(str(folder)).Reload()


def hparams_of(events: EventAccumulator, kind: str) -> Any:
    content = events.SummaryMetadata(f"_hparams_/{kind}").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


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


def test_hparams_are_in_the_run_itself(tmp_path: Path) -> None:
    events = written(tmp_path / "run", made_record(seed=3, accuracy=0.75))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(list((tmp_path / "run").iterdir())) == 1
    values = hparams_of(events, "session_start_info").session_start_info.hparams
    assert values["architecture"].string_value == "resnet18"
    assert values["seed"].number_value == 3
    metrics = {info.name.tag for info in hparams_of(events, "experiment").experiment.metric_infos}
    assert metrics >= {"test/accuracy", "test/macro_f1", "time/to_accuracy_s"}
    for tag in metrics:
        assert events.Scalars(tag)
    assert events.Scalars("test/accuracy")[0].value == pytest.approx(0.75)


def test_a_target_that_was_not_reached_has_no_time(tmp_path: Path) -> None:
    events = written(tmp_path, made_record(time_to_accuracy_s=None))
    assert "time/to_accuracy_s" not in events.Tags()["scalars"]


def test_the_throughput_view_lays_out_tags_that_exist(tmp_path: Path) -> None:
    events = written(tmp_path, made_record())
    (tensor,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["Throughput", "Time to accuracy"]
    tags = {tag for category in layout.category for chart in category.chart
            for tag in chart.multiline.tag}  # fmt: skip
    assert tags <= set(events.Tags()["scalars"])


def test_cell_and_environment_are_text(tmp_path: Path) -> None:
    events = written(tmp_path, made_record())
    (cell,) = events.Tensors("cell/text_summary")
    assert b"| pipeline | kornia |" in cell.tensor_proto.string_val[0]
    (environment,) = events.Tensors("environment/text_summary")
    assert b"| cpu | AMD EPYC |" in environment.tensor_proto.string_val[0]


def test_a_failed_run_is_closed_with_its_error(tmp_path: Path) -> None:
    events = written(tmp_path, made_failure())
    (error,) = events.Tensors("error/text_summary")
    assert b"| RuntimeError | it broke in the second line |" in error.tensor_proto.string_val[0]


def test_a_new_attempt_replaces_the_files_of_the_last(tmp_path: Path) -> None:
    written(tmp_path, made_record(epochs=5))
    events = written(tmp_path, made_record(epochs=2))
    assert len(events.Scalars("loss/train")) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_told_once_and_kills_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    told: list[str] = []
    log = RunLog(file / "run", on_error=told.append)
    record = made_record()
    log.point(record.curve[0])
    log.finish(record)
    assert len(told) == 1
    assert str(file) in told[0]


def test_points_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    log = RunLog(tmp_path, on_error=refuse)
    record = made_record()
    log.point(record.curve[0])
    assert len(EventAccumulator(str(tmp_path)).Reload().Scalars("loss/train")) == 1
    log.finish(record)
