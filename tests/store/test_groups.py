"""Group folders: names, and the search for them."""

from pathlib import Path

import pytest

from bench.store.files import StoreError
from bench.store.groups import Group, group_folder, groups, result_folders
from bench.store.store import Store
from tests.made import made_record


def make(folder: Path) -> Path:
    (folder / "records").mkdir(parents=True)
    return folder


def test_a_group_is_found_from_itself_and_folders_above(tmp_path: Path) -> None:
    folder = make(tmp_path / "results" / "cpu_shapes_cpu")
    for root in (folder, folder.parent, tmp_path):
        assert groups(root) == [Group(folder=folder)]


def test_hidden_and_deep_folders_are_not_searched(tmp_path: Path) -> None:
    make(tmp_path / ".cache" / "cpu_shapes_cpu")
    make(tmp_path / "a" / "b" / "c" / "d")
    assert groups(tmp_path) == []
    assert groups(tmp_path / "a") == [Group(folder=tmp_path / "a" / "b" / "c" / "d")]


def test_group_folders_are_named_after_machine_source_however_spelled_and_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(folder=group_folder(tmp_path, "NVIDIA H100 80GB", "cifar10", "full"))
    assert group.name == "nvidia-h100-80gb_cifar10_full"
    assert group.machine == "nvidia-h100-80gb"
    one = group_folder(tmp_path, "cpu", f"folder:{tmp_path}/a/My Cats", "cpu").name
    other = group_folder(tmp_path, "cpu", f"folder:{tmp_path}/b/My Cats", "cpu").name
    assert one.startswith("cpu_folder-my-cats-")
    assert one != other
    (tmp_path / "cats").mkdir()
    monkeypatch.chdir(tmp_path)
    spellings = [f"folder:{tmp_path}/cats", "folder:cats", "folder:./cats/", "folder:a/../cats"]
    assert len({group_folder(tmp_path, "cpu", source, "cpu") for source in spellings}) == 1


def test_groups_of_the_given_machines_come_first_and_reference_last(tmp_path: Path) -> None:
    root = tmp_path / "results"
    for name in ("b_shapes_cpu", "a_shapes_cpu", "reference/a_shapes_cpu", "b_cifar10_cpu"):
        Store(root / name).write(made_record())
    (root / "notes").mkdir()
    found = groups(root, machines=["c", "b"])
    assert [(group.name, group.reference) for group in found] == [
        ("b_cifar10_cpu", False),
        ("b_shapes_cpu", False),
        ("a_shapes_cpu", False),
        ("a_shapes_cpu", True),
    ]
    only = groups(root / "reference" / "a_shapes_cpu")
    assert [(group.name, group.reference) for group in only] == [("a_shapes_cpu", True)]
    with pytest.raises(StoreError, match="no results folder"):
        groups(root / "nowhere")


def test_a_folder_with_only_loaders_is_a_result_folder_but_no_group(tmp_path: Path) -> None:
    measured = tmp_path / "a" / "cpu_shapes_cpu"
    measured.mkdir(parents=True)
    (measured / "loaders.json").write_text("{}")
    trained = make(tmp_path / "b_shapes_cpu")
    assert result_folders(tmp_path) == [measured, trained]
    assert [group.folder for group in groups(tmp_path)] == [trained]
