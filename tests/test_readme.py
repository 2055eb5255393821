"""README and docs are correct: code runs, commands and links exist, tables match the records."""

import re
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from architectures import Architecture, Spec
from bench.cli import app
from bench.grid.grids import BUDGETS
from bench.report.columns import COLUMNS
from bench.report.matrix import build
from bench.store.groups import groups
from bench.store.loaders_record import read_loaders
from bench.store.store import Store
from pipelines import sources
from tests.benchmarks import first_experiment
from tests.checkout import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = ROOT / "results" / "reference"


def snippet(word: str) -> str:
    """The only block of Python that contains `word`."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (block,) = [block for block in blocks if word in block]
    return str(block)


def test_the_example_of_a_pipeline_runs() -> None:
    code = snippet("pipelines.build")
    if not sources.is_cached("cifar10", sources.default_data_dir()):
        code = code.replace("cifar10", "shapes")
    names: dict[str, Any] = {}
    exec(code, names)
    assert isinstance(names["images"], Tensor)
    assert names["images"].shape == (512, 3, 32, 32)
    assert names["labels"].shape == (512,)


def test_the_example_of_an_architecture_is_valid() -> None:
    names: dict[str, Any] = {}
    exec(snippet("my_net"), names)
    entry = names["my_net"]
    assert isinstance(entry, Architecture)
    net = entry.build(Spec())
    assert isinstance(net, nn.Module)
    assert sum(parameter.numel() for parameter in net.parameters()) == entry.parameters
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() == entry.flops


def commands() -> list[str]:
    """The `bench` lines and the quoted commands of all pages, without their comments."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = (line.partition("#")[0].strip() for line in text.splitlines() if line[:4] == "    ")
        found |= dict.fromkeys(line for line in lines if line.startswith("bench "))
        found |= dict.fromkeys(re.findall(r"`(bench [a-z][^`]*)`", text))
    return [" ".join(line.split()) for line in found]


@pytest.mark.parametrize("line", commands())
def test_every_command_exists_with_its_options(line: str) -> None:
    verb, *arguments = shlex.split(line)[1:]
    done = CliRunner().invoke(app.app, [verb, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for argument in arguments:
        if argument.startswith("-"):
            assert argument in done.output, f"{verb} has no {argument}"


@pytest.mark.parametrize("case", ["images in memory", "jpeg files"])
def test_the_speeds_of_loaders_are_those_of_their_record(case: str) -> None:
    """In the texts for those who cannot see the charts."""
    link = re.search(rf"\[{case}\]\((results/reference/\S+)/loaders\.md\)", README, re.IGNORECASE)
    texts = re.search(rf'alt="{case}, images/s: ([^"]+)"', README, re.IGNORECASE)
    record = read_loaders(ROOT / link[1])
    for words, name in {
        "native": "native",
        "DALI": "dali",
        "two workers": "torchvision[workers=2]",
    }.items():
        found = re.search(rf"{words} ([\d,]+)", texts[1])
        fastest = max(record.images_per_s[name].values())
        assert int(found[1].replace(",", "")) == round(fastest), name
        assert all(each.times_trusted for each in record.series if each.pipeline == name)


def test_the_costs_of_randaugment_are_those_of_their_records() -> None:
    page = (ROOT / "docs" / "measuring.md").read_text(encoding="utf-8")
    loaders = read_loaders(REFERENCE / "amd-epyc-2-cores_cifar10-randaugment_cpu").images_per_s
    found = build(Store(first_experiment.REFERENCE).records()).outcomes
    scores = {one.cell.pipeline: one.row for one in found if one.cell.augmentation == "randaugment"}
    rows = re.findall(r"^\| `(.+)` \| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert {pipeline for pipeline, *_ in rows} == set(loaders)
    for pipeline, images_per_s, accuracy in rows:
        assert int(images_per_s) == round(loaders[pipeline][512])
        if row := scores.get(pipeline):
            assert accuracy == f"{100 * row['accuracy']:.2f} ± {100 * row['accuracy_sd']:.2f}"


def test_the_table_of_the_first_experiment_is_made_from_its_records() -> None:
    folder = first_experiment.REFERENCE
    page = first_experiment.page(Store(folder).records())
    assert (folder / first_experiment.NAME).read_text() == page, "make it anew with its command"
    rows = re.findall(r"^\| .*best of the nets.*$|^\| epochs .*$", README, re.MULTILINE)
    assert len(rows) == 3
    assert set(rows) <= set(page.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [title.lower().replace(" ", "-") for title in titles], target


def test_the_index_lists_every_page_and_the_reference_every_column() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert not [name for name in COLUMNS if f"`{name}`" not in reference]


def test_the_reference_shows_the_scales_as_they_are() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for scale, cell in BUDGETS.items():
        images, width = cell.train_images or "all", Fraction(cell.width)
        row = f"| `{scale}` | {images} | {width} | {cell.epochs} | {cell.batch_size} |"
        assert f"{row} {cell.target_accuracy:.0%} |".replace("%", " %") in reference


def test_the_reference_is_valid_and_has_the_runs_that_the_docs_show() -> None:
    found = groups(REFERENCE)
    assert found
    for group in found:
        assert group.reference
        records = Store(group.folder).records(pytest.fail)
        assert records
        assert all(record.status == "ok" for record in records)
        assert all(record.command.startswith("bench run") for record in records)
        assert not any("--out" in record.command for record in records)
    runs = [
        (r.run_id, r.name) for group in groups(REFERENCE) for r in Store(group.folder).records()
    ]
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = re.findall(r"bench show ([a-z0-9_/]+)", text)
    assert len(shown) >= 3
    for words in shown:
        found = [name for run_id, name in runs if run_id.startswith(words) or words in name]
        assert len(found) == 1, words
