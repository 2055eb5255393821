"""Files that a group's runs share: layout, columns, means over seeds, examples."""

import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from bench.recipe import Recipe
from bench.record import Memory, Record
from bench.store.store import Store
from bench.tensorboard.overview import (
    CHARTS,
    SEEDS_CHARTS,
    runs_by_cell,
    seed_scalars,
    write_overview,
)
from bench.tensorboard.run_log import METRICS, TARGETS, scalar_tags, target_state
from tests.made import made_curve, made_failure, made_record, made_run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def overview(store: Store, *records: Record, **options: Any) -> Path:
    write_overview(store, records, on_error=pytest.fail, **options)
    return store.tensorboard_folder()


def layout_of(folder: Path) -> layout_pb2.Layout:
    (tensor,) = read(folder / "matrix").Tensors("custom_scalars__config__")
    return layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def columns_of(folder: Path) -> Any:
    content = read(folder / "matrix").SummaryMetadata("_hparams_/experiment").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content).experiment


def test_charts_show_only_tags_that_runs_have(store: Store) -> None:
    record = made_record(record={"memory": Memory(host_gib=1.0)})
    layout = layout_of(overview(store, record))
    titles = [category.title for category in layout.category]
    assert titles == ["Throughput", "Time to accuracy", "Memory and power"]
    shown = {tag for category in layout.category for chart in category.chart
             for tag in chart.multiline.tag}  # fmt: skip
    wanted = {tag for charts in CHARTS.values() for tag in charts.values()}
    assert shown == wanted & scalar_tags(record)
    assert "memory/host_gib" in shown
    assert "memory/torch_gib" not in shown


def test_no_chart_tag_is_a_prefix_of_another() -> None:
    """TensorBoard takes the tag of a chart for a pattern that tags begin with."""
    record = made_record(record={"memory": Memory(host_gib=1, torch_gib=1, device_gib=1)})
    for charts in CHARTS.values():
        for tag in charts.values():
            assert [other for other in scalar_tags(record) if other.startswith(tag)] in ([tag], [])


def test_all_charts_exist_before_the_first_run_ends(store: Store) -> None:
    runs = [made_run(seed) for seed in (0, 1)]
    layout = layout_of(overview(store, planned=runs))
    assert [category.title for category in layout.category] == [
        "Throughput", "Time to accuracy", "Seeds", "Memory and power",
    ]  # fmt: skip
    shown = sum(len(category.chart) for category in layout.category)
    assert shown == sum(map(len, CHARTS.values())) + len(SEEDS_CHARTS)


def test_one_table_has_all_columns_and_all_of_their_values(store: Store) -> None:
    slow, fast = Recipe(lr=0.1, weight_decay=1e-4), Recipe(lr=0.5, weight_decay=1e-4)
    records = [
        made_record(0, recipe=slow),
        made_record(1, optimizer="adamw", pipeline="dali", recipe=fast),
        made_failure(architecture="vit_tiny"),
    ]
    found = columns_of(overview(store, *records))
    columns = {info.name: info for info in found.hparam_infos}
    assert list(columns)[:6] == [
        "architecture", "optimizer", "augmentation", "pipeline", "lr", "weight_decay",
    ]  # fmt: skip
    assert list(columns["architecture"].domain_discrete) == ["resnet18", "vit_tiny"]
    assert list(columns["pipeline"].domain_discrete) == ["dali", "kornia"]
    assert list(columns["status"].domain_discrete) == ["crashed", "ok"]
    assert list(columns["compile"].domain_discrete) == [False]
    assert columns["compile"].type == api_pb2.DATA_TYPE_BOOL
    rate = columns["lr"].domain_interval
    assert (rate.min_value, rate.max_value) == (0.1, 0.5)
    assert columns["lr"].differs
    assert not columns["weight_decay"].differs
    assert [info.name.tag for info in found.metric_infos] == list(METRICS)


def test_planned_runs_have_their_values_in_the_table(store: Store) -> None:
    planned = [made_run(7, architecture="convmixer")]
    columns = {info.name: info for info in columns_of(
        overview(store, made_record(), planned=planned)).hparam_infos}  # fmt: skip
    assert list(columns["architecture"].domain_discrete) == ["convmixer", "resnet18"]
    assert columns["seed"].domain_interval.max_value == 7
    assert "crashed" in columns["status"].domain_discrete


def test_a_cell_with_seeds_has_mean_and_bounds(store: Store) -> None:
    records = [
        made_record(seed, accuracy=accuracy) for seed, accuracy in enumerate((0.4, 0.5, 0.9))
    ]
    folder = overview(store, *records, made_record(optimizer="adamw"))
    assert [category.title for category in layout_of(folder).category][2] == "Seeds"
    (cell,) = (folder / "seeds").iterdir()
    assert cell.name.startswith("resnet18-sgd-flip_crop-kornia_")
    events = read(cell)
    for name, value in {"mean": 0.6, "lowest": 0.4, "highest": 0.9}.items():
        found = events.Scalars(f"seeds/accuracy/{name}")
        assert [event.step for event in found] == [1000, 2000, 3000, 4000]
        assert found[-1].value == pytest.approx(value)
        by_clock = events.Scalars(f"seeds/accuracy_by_train_ms/{name}")
        assert [event.step for event in by_clock] == [1000, 2000, 3000, 4000]
    for tag, _ in SEEDS_CHARTS.values():
        assert events.Scalars(f"{tag}/mean")


def test_bands_are_at_the_mean_training_clock_without_suspect_times() -> None:
    quiet, busy = made_curve(1, 100, 0.5)[0], replace(made_curve(1, 100, 0.7)[0], train_s=9.0)
    assert {step for step, _ in seed_scalars([quiet, busy], [quiet, busy])} == {100, 5000}
    found = seed_scalars([quiet, replace(busy, images_per_s=9e9)], [quiet])
    assert {step for step, _ in found} == {100, 1000}
    means = {name: value for _, values in found for name, value in values.items() if "mean" in name}
    assert means["seeds/images_per_s/mean"] == quiet.images_per_s
    assert means["seeds/accuracy/mean"] == pytest.approx(0.6)
    assert means["seeds/accuracy_by_train_ms/mean"] == 0.5
    assert len(seed_scalars([busy, busy], [])) == 2


def test_a_protocol_without_validation_has_bands_of_throughput_only() -> None:
    point = replace(made_curve(1, 100, 0.5)[0], validation_accuracy=None, validation_loss=None)
    (band,) = seed_scalars([point, point], [point, point])
    assert set(band[1]) == {f"seeds/images_per_s/{name}" for name in ("mean", "lowest", "highest")}


def test_seeds_are_successful_runs_of_one_cell() -> None:
    same = [made_record(0), made_record(1)]
    others = [made_record(2, epochs=5), made_failure(3), made_record(4, batch_size=50)]
    (runs,) = runs_by_cell([*same, *others]).values()
    assert runs == same


def test_bands_of_removed_cells_are_removed(store: Store) -> None:
    folder = overview(store, made_record(0), made_record(1))
    assert (folder / "seeds").is_dir()
    overview(store, made_record(0))
    assert not (folder / "seeds").exists()


def test_image_strips_are_cards_of_one_run(store: Store, tmp_path: Path) -> None:
    colours = [(16 * number, 0, 255 - number) for number in range(6)]
    image = Image.new("RGB", (12, 2))
    for index, colour in enumerate(colours):
        image.paste(colour, (2 * index, 0, 2 * index + 2, 2))
    image.save(tmp_path / "strip.png")
    strip = (tmp_path / "strip.png").read_bytes()
    store.write_derived("examples/flip_crop__kornia.png", strip)
    events = read(overview(store, made_record()) / "examples")
    (picture,) = events.Images("examples/flip_crop__kornia")
    assert (picture.width, picture.height) == (8, 4)  # six squares of two pixels, four a row
    shown = Image.open(BytesIO(picture.encoded_image_string))
    found = [shown.getpixel((2 * (index % 4), 2 * (index // 4))) for index in range(6)]
    assert found == colours


def test_an_unwritable_view_is_reported_without_failing(store: Store) -> None:
    shutil.rmtree(store.tensorboard_folder(), ignore_errors=True)
    store.tensorboard_folder().write_text("a file in its place")
    told: list[str] = []
    write_overview(store, [made_record()], on_error=told.append)
    assert len(told) == 1
    assert str(store.tensorboard_folder()) in told[0]


def test_a_metrics_title_counts_the_runs_that_have_it(store: Store) -> None:
    records = [
        made_record(0),
        made_record(1, time_to_accuracy_s=None),
        made_failure(2),
        made_record(3, protocol="speedrun", time_to_accuracy_s=None),
    ]
    found = columns_of(overview(store, *records))
    names = {info.name.tag: info.display_name for info in found.metric_infos}
    assert names["time/to_accuracy_s"] == "time to accuracy (s), 1 of 4 runs"
    assert names["test/accuracy"] == "accuracy, 3 of 4 runs"
    assert names["time/total_train_s"] == "training clock (s)"
    (column,) = (info for info in found.hparam_infos if info.name == "target")
    assert {value.string_value for value in column.domain_discrete.values} == set(TARGETS)
    assert column.differs
    assert [target_state(record) for record in records] == list(TARGETS)
    planned = columns_of(
        overview(store, made_record(time_to_accuracy_s=None), planned=[made_run(1)])
    )
    assert [info.display_name for info in planned.metric_infos] == list(METRICS.values())
