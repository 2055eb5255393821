"""The folder of links for TensorBoard, event files from records, and what it serves."""

import json
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from bench.errors import UsageError
from bench.record import Record
from bench.store.files import StoreError
from bench.store.store import Store
from bench.tensorboard.overview import SEEDS, seeds_name, write_loaders
from bench.tensorboard.view import (
    MAX_AUTO_SELECTED,
    PRESELECTED,
    View,
    link_names,
    rank,
    rebuild,
    select_runs,
)
from tests.made import made_failure, made_record, made_run
from tests.tensorboard.test_overview import columns_of


def group(root: Path, name: str, *records: Record, rebuilt: bool = True) -> Store:
    store = Store(root / name)
    for record in records:
        store.write(record)
    if rebuilt:
        rebuild(select_runs(store.folder, ""), print)
    return store


def view(tmp_path: Path, root: Path, expression: str = "") -> View:
    folder = tmp_path / "view"
    folder.mkdir()
    return View(folder, select_runs(root, expression))


def links_with_ids(made: View) -> set[str]:
    """Names of the shown runs, as TensorBoard lists them."""
    found = [path for path in made.folder.rglob("*") if path.is_symlink()]
    return {str(path.relative_to(made.folder)) + "/kornia" * (path.name == "loaders")
            for path in found}  # fmt: skip


def links(made: View) -> set[str]:
    return {name.rsplit("_", 1)[0] for name in links_with_ids(made)}


def architectures_in(folder: Path) -> list[str]:
    infos = columns_of(folder).hparam_infos
    (found,) = (info for info in infos if info.name == "architecture")
    return list(found.domain_discrete)


def test_event_files_are_rebuilt_from_records(tmp_path: Path) -> None:
    records = [made_record(0), made_record(1), made_failure(architecture="vit_tiny")]
    store = group(tmp_path, "a", *records, rebuilt=False)
    (selected,) = select_runs(tmp_path, "")
    assert selected.missing == 3
    lines: list[str] = []
    rebuild([selected], lines.append)
    assert selected.missing == 0
    assert lines == [f"{store.folder}: event files of 3 runs written from records"]
    below = {path.name.rsplit("_", 1)[0] for path in store.tensorboard_folder().iterdir()}
    assert below == {
        "resnet18-sgd-flip_crop-kornia-seed0", "resnet18-sgd-flip_crop-kornia-seed1",
        "vit_tiny-sgd-flip_crop-kornia-seed0", "matrix", "seeds",
    }  # fmt: skip
    rebuild([selected], print)  # again: each file is replaced
    assert all(len(list(folder.iterdir())) == 1 for folder in selected.folders)


def test_a_folder_in_use_is_not_rebuilt(tmp_path: Path) -> None:
    store = group(tmp_path, "a", made_record())
    with store.lock(), pytest.raises(StoreError, match="already running"):
        rebuild(select_runs(tmp_path, ""), print)


def test_all_runs_of_one_group_are_shown_by_name(tmp_path: Path) -> None:
    store = group(tmp_path / "results", "a", made_record(0), made_record(1))
    made = view(tmp_path, tmp_path / "results")
    assert links(made) == {
        "matrix", "seeds/resnet18-sgd-flip_crop-kornia",
        "resnet18-sgd-flip_crop-kornia-seed0", "resnet18-sgd-flip_crop-kornia-seed1",
    }  # fmt: skip
    run = store.tensorboard_path(made_run(0))
    assert (made.folder / run.name).resolve() == run.resolve()


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    records = [made_record(seed, epochs=epochs) for seed in (0, 1) for epochs in (5, 25)]
    group(tmp_path / "results", "a", *records)
    made = view(tmp_path, tmp_path / "results")
    name = "resnet18-sgd-flip_crop-kornia"
    shown = {f"{name}-seed{seed}-{epochs}-epochs" for seed in (0, 1) for epochs in (5, 25)}
    assert links(made) >= shown | {f"seeds/{name}-{epochs}-epochs" for epochs in (5, 25)}
    assert len(links(made)) == len(links_with_ids(made))


def test_only_selected_cells_are_shown_and_in_the_table(tmp_path: Path) -> None:
    records = [made_record(seed, architecture=name) for seed in (0, 1)
               for name in ("cnn4", "resnet18")]  # fmt: skip
    group(tmp_path / "results", "a", *records)
    made = view(tmp_path, tmp_path / "results", "cnn4")
    assert links(made) == {
        "seeds/cnn4-sgd-flip_crop-kornia",
        "cnn4-sgd-flip_crop-kornia-seed0", "cnn4-sgd-flip_crop-kornia-seed1",
    }  # fmt: skip
    assert architectures_in(made.folder) == ["cnn4"]


def test_several_groups_are_subfolders_with_one_table(tmp_path: Path) -> None:
    root = tmp_path / "results"
    group(root, "a_shapes_cpu", made_record(architecture="cnn4"))
    group(root, "b_shapes_cpu", made_record(architecture="vit_tiny"))
    made = view(tmp_path, root)
    assert links(made) == {
        "a_shapes_cpu/cnn4-sgd-flip_crop-kornia-seed0",
        "b_shapes_cpu/vit_tiny-sgd-flip_crop-kornia-seed0",
    }
    assert architectures_in(made.folder) == ["cnn4", "vit_tiny"]


def test_later_runs_are_shown(tmp_path: Path) -> None:
    store = group(tmp_path / "results", "a", made_record(0))
    made = view(tmp_path, tmp_path / "results")
    store.tensorboard_path(made_run(5)).mkdir()
    assert not any("seed5" in name for name in links(made))
    made.update()
    assert any("seed5" in name for name in links(made))


def preselected(made: View) -> dict[str, bool]:
    query, tab, state = re.split("#|&_smoothingWeight=0&runSelectionState=", made.page())
    assert tab == "custom_scalars"
    found = json.loads(b64decode(unquote(state)))
    assert isinstance(found, dict)
    smoothing, _, runs = unquote(query).partition("&runFilter=")  # of the tab with time series
    assert smoothing == "?smoothing=0"
    assert {name for name in links_with_ids(made) if re.search(runs, name)} == found.keys()
    return found


def test_one_run_of_each_pipeline_is_selected_that_differ_in_nothing_else(tmp_path: Path) -> None:
    suspect = {"timing_suspect": ("busy",)}
    alike = [
        made_record(seed, architecture="cnn4", pipeline=pipeline, time_to_accuracy_s=9.0 + seed)
        for pipeline in ("dali", "kornia", "native")
        for seed in (0, 1)
    ]
    others = [
        made_record(architecture="cnn4", pipeline="torchvision", record=suspect),
        made_record(architecture="cnn4", pipeline="native", epochs=1),
        *(made_record(pipeline=name, time_to_accuracy_s=1.0) for name in ("kornia", "native")),
    ]
    store = group(tmp_path / "results", "a", *alike, *others)
    expected = {store.tensorboard_path(record.run).name for record in alike[::2]}
    expected |= {f"{SEEDS}/{seeds_name(record)}" for record in alike}
    expected = {link_names(*select_runs(store.folder, ""))[name] for name in expected}
    assert preselected(view(tmp_path, tmp_path / "results")) == dict.fromkeys(expected, True)


def test_the_best_run_of_each_cell_is_selected_of_many_with_its_seeds(tmp_path: Path) -> None:
    nets = [f"net{number}" for number in range(PRESELECTED + 4)]
    records = [
        made_record(seed, architecture=net, time_to_accuracy_s=1.0 + place + seed / 10)
        for place, net in enumerate(nets)
        for seed in range(3)
    ]
    store = group(tmp_path / "results", "a", *records)
    expected = set()
    for record in records[: 3 * PRESELECTED : 3]:
        expected.add(store.tensorboard_path(record.run).name)
        expected.add(f"{SEEDS}/{seeds_name(record)}")
    assert set(preselected(view(tmp_path, tmp_path / "results"))) == expected


def test_shared_folders_of_each_group_are_selected(tmp_path: Path) -> None:
    root = tmp_path / "results"
    records = [made_record(seed) for seed in range(MAX_AUTO_SELECTED)]
    for name in ("a_shapes_cpu", "b_shapes_cpu"):
        store = group(root, name, *records, rebuilt=False)
        strip = BytesIO()
        Image.new("RGB", (128, 64)).save(strip, "PNG")
        store.write_derived("examples/none__kornia.png", strip.getvalue())
        rebuild(select_runs(store.folder, ""), print)
        write_loaders(store, {"kornia": {64: 100.0}}, on_error=pytest.fail)
    found = set(preselected(view(tmp_path, root)))
    for name in ("a_shapes_cpu", "b_shapes_cpu"):
        assert {f"{name}/examples", f"{name}/loaders/kornia"} <= found
    assert sum("-seed" in name for name in found) == 2


def test_runs_are_ranked_by_time_then_accuracy_and_failures_last() -> None:
    slow, fast = made_record(time_to_accuracy_s=3.0), made_record(time_to_accuracy_s=1.0)
    good = made_record(time_to_accuracy_s=None, accuracy=0.5)
    poor = made_record(time_to_accuracy_s=None, accuracy=0.4)
    suspect = {"timing_suspect": ("busy",)}
    busy = made_record(time_to_accuracy_s=0.1, accuracy=0.3, record=suspect)
    expected = [fast, slow, good, poor, busy, made_failure()]
    shuffled = [expected[place] for place in (4, 2, 0, 3, 5, 1)]
    assert sorted(shuffled, key=rank) == expected


def test_a_selection_without_matches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no results folder"):
        select_runs(tmp_path / "missing", "")
    with pytest.raises(StoreError, match="no records"):
        select_runs(tmp_path, "")
    group(tmp_path, "a", made_record(), rebuilt=False)
    with pytest.raises(UsageError, match="-k"):
        select_runs(tmp_path, "resnte18")
