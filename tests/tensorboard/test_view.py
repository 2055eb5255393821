"""The folder of links that TensorBoard is shown, and event files written from records."""

import json
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from bench.errors import UsageError
from bench.record import Record
from bench.store.files import StoreError
from bench.store.store import Store
from bench.tensorboard.overview import SEEDS, seeds_name, write_loaders
from bench.tensorboard.view import BEST, TICKED_UNASKED, View, choose, rank, rebuild
from tests.made import made_failure, made_record, made_run


def said(text: str) -> None:
    """Takes what is reported."""


def group(root: Path, name: str, *records: Record, rebuilt: bool = True) -> Store:
    store = Store(root / name)
    for record in records:
        store.write(record)
    if rebuilt:
        rebuild(choose(store.folder, ""), said)
    return store


def view(tmp_path: Path, root: Path, expression: str = "") -> View:
    folder = tmp_path / "view"
    folder.mkdir()
    return View(folder, choose(root, expression))


def links(made: View) -> set[str]:
    return {
        str(path.relative_to(made.folder)).rsplit("_", 1)[0]
        for path in made.folder.rglob("*")
        if path.is_symlink()
    }


def architectures_in(folder: Path) -> list[str]:
    events = EventAccumulator(str(folder)).Reload()
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    columns = plugin_data_pb2.HParamsPluginData.FromString(content).experiment.hparam_infos
    (found,) = (info for info in columns if info.name == "architecture")
    return list(found.domain_discrete)


def test_event_files_come_back_from_records(tmp_path: Path) -> None:
    records = [made_record(0), made_record(1), made_failure(architecture="vit_tiny")]
    store = group(tmp_path, "a", *records, rebuilt=False)
    (chosen,) = choose(tmp_path, "")
    assert chosen.missing == 3
    told: list[str] = []
    rebuild([chosen], told.append)
    assert chosen.missing == 0
    assert told == [f"{store.folder}: event files of 3 runs written from records"]
    below = {path.name.rsplit("_", 1)[0] for path in store.tensorboard_folder().iterdir()}
    assert below == {
        "resnet18-sgd-flip_crop-kornia-seed0", "resnet18-sgd-flip_crop-kornia-seed1",
        "vit_tiny-sgd-flip_crop-kornia-seed0", "matrix", "seeds",
    }  # fmt: skip
    rebuild([chosen], said)  # again: each file is replaced
    assert all(len(list(folder.iterdir())) == 1 for folder in chosen.folders)


def test_a_folder_that_a_grid_writes_to_is_not_rebuilt(tmp_path: Path) -> None:
    store = group(tmp_path, "a", made_record())
    with store.lock(), pytest.raises(StoreError, match="already running"):
        rebuild(choose(tmp_path, ""), said)


def test_all_of_one_group_are_shown_by_name(tmp_path: Path) -> None:
    store = group(tmp_path / "results", "a", made_record(0), made_record(1))
    made = view(tmp_path, tmp_path / "results")
    assert links(made) == {
        "matrix", "seeds/resnet18-sgd-flip_crop-kornia",
        "resnet18-sgd-flip_crop-kornia-seed0", "resnet18-sgd-flip_crop-kornia-seed1",
    }  # fmt: skip
    run = store.tensorboard_path(made_run(0))
    assert (made.folder / run.name).resolve() == run.resolve()


def test_chosen_cells_alone_are_shown_and_known_to_the_table(tmp_path: Path) -> None:
    records = [made_record(seed, architecture=name) for seed in (0, 1)
               for name in ("cnn4", "resnet18")]  # fmt: skip
    group(tmp_path / "results", "a", *records)
    made = view(tmp_path, tmp_path / "results", "cnn4")
    assert links(made) == {
        "seeds/cnn4-sgd-flip_crop-kornia",
        "cnn4-sgd-flip_crop-kornia-seed0", "cnn4-sgd-flip_crop-kornia-seed1",
    }  # fmt: skip
    assert architectures_in(made.folder / "matrix") == ["cnn4"]


def test_several_groups_stand_below_their_names_with_one_table(tmp_path: Path) -> None:
    root = tmp_path / "results"
    group(root, "a_shapes_cpu", made_record(architecture="cnn4"))
    group(root, "b_shapes_cpu", made_record(architecture="vit_tiny"))
    made = view(tmp_path, root)
    assert links(made) == {
        "a_shapes_cpu/cnn4-sgd-flip_crop-kornia-seed0",
        "b_shapes_cpu/vit_tiny-sgd-flip_crop-kornia-seed0",
    }
    assert architectures_in(made.folder / "matrix") == ["cnn4", "vit_tiny"]


def test_runs_that_come_later_are_seen(tmp_path: Path) -> None:
    store = group(tmp_path / "results", "a", made_record(0))
    made = view(tmp_path, tmp_path / "results")
    store.tensorboard_path(made_run(5)).mkdir()
    assert not any("seed5" in name for name in links(made))
    made.update()
    assert any("seed5" in name for name in links(made))


def test_nothing_is_copied(tmp_path: Path) -> None:
    group(tmp_path / "results", "a", made_record(0), made_record(1))
    made = view(tmp_path, tmp_path / "results")
    assert all(path.is_symlink() or path.is_dir() for path in made.folder.rglob("*"))


def ticked(made: View) -> dict[str, bool]:
    tab, *settings, state = made.page().split("&")
    assert (tab, settings) == ("custom_scalars", ["_smoothingWeight=0"])
    found = json.loads(b64decode(unquote(state.removeprefix("runSelectionState="))))
    assert isinstance(found, dict)
    return found


def test_of_many_runs_the_best_are_ticked_with_their_seeds(tmp_path: Path) -> None:
    times = {seed: float(100 - seed) for seed in range(TICKED_UNASKED)}
    records = [made_record(seed, time_to_accuracy_s=time) for seed, time in times.items()]
    store = group(tmp_path / "results", "a", *records)
    best = sorted(times, key=lambda seed: times[seed])[:BEST]
    seeds = f"{SEEDS}/{seeds_name(records[0])}"
    expected = {store.tensorboard_path(made_run(seed)).name for seed in best} | {seeds}
    assert ticked(view(tmp_path, tmp_path / "results")) == dict.fromkeys(expected, True)


def test_the_best_of_each_cell_are_ticked_before_a_second_of_any(tmp_path: Path) -> None:
    nets = [f"net{number}" for number in range(BEST + 4)]
    times = {
        (net, seed): 1.0 + place + seed / 10 for place, net in enumerate(nets) for seed in range(3)
    }
    records = [
        made_record(seed, architecture=net, time_to_accuracy_s=time)
        for (net, seed), time in times.items()
    ]
    store = group(tmp_path / "results", "a", *records)
    expected = {
        store.tensorboard_path(made_run(0, architecture=net)).name for net in nets[:BEST]
    } | {
        f"{SEEDS}/{seeds_name(record)}"
        for record in records
        if record.cell.architecture in nets[:BEST]
    }
    assert set(ticked(view(tmp_path, tmp_path / "results"))) == expected


def test_what_all_runs_share_is_ticked_below_the_name_of_each_group(tmp_path: Path) -> None:
    root = tmp_path / "results"
    records = [made_record(seed) for seed in range(TICKED_UNASKED)]
    for name in ("a_shapes_cpu", "b_shapes_cpu"):
        store = group(root, name, *records, rebuilt=False)
        strip = BytesIO()
        Image.new("RGB", (128, 64)).save(strip, "PNG")
        store.write_derived("examples/none__kornia.png", strip.getvalue())
        rebuild(choose(store.folder, ""), said)
        write_loaders(store, {"kornia": {64: 100.0}}, on_error=pytest.fail)
    found = set(ticked(view(tmp_path, root)))
    for name in ("a_shapes_cpu", "b_shapes_cpu"):
        assert {f"{name}/examples", f"{name}/loaders/kornia"} <= found
    assert sum("-seed" in name for name in found) == BEST


def test_of_few_runs_tensorboard_ticks_all_itself(tmp_path: Path) -> None:
    group(tmp_path / "results", "a", made_record())
    page = view(tmp_path, tmp_path / "results").page()
    assert page == "custom_scalars&_smoothingWeight=0"


def test_runs_are_ranked_by_time_then_accuracy_and_failures_last() -> None:
    slow, fast = made_record(time_to_accuracy_s=3.0), made_record(time_to_accuracy_s=1.0)
    good = made_record(time_to_accuracy_s=None, accuracy=0.5)
    poor = made_record(time_to_accuracy_s=None, accuracy=0.4)
    expected = [fast, slow, good, poor, made_failure()]
    shuffled = [expected[place] for place in (4, 2, 0, 3, 1)]
    assert sorted(shuffled, key=rank) == expected


@pytest.mark.parametrize("expression", ["resnte18", "resnet18 and"])
def test_a_selection_that_fits_nothing_is_told(tmp_path: Path, expression: str) -> None:
    group(tmp_path, "a", made_record(), rebuilt=False)
    with pytest.raises(UsageError, match="-k"):
        choose(tmp_path, expression)


def test_a_folder_without_records_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no records"):
        choose(tmp_path, "")
    with pytest.raises(StoreError, match="no results folder"):
        choose(tmp_path / "missing", "")


def test_a_record_of_another_budget_has_a_folder_of_its_own(tmp_path: Path) -> None:
    records = [made_record(epochs=2), made_record(epochs=3)]
    group(tmp_path / "results", "a", *records)
    (chosen,) = choose(tmp_path / "results", "")
    assert len(set(chosen.folders)) == 2
    assert replace(records[0], run_id=records[1].run_id) != records[1]
