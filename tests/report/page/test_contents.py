"""Misclassified images: counted right, pictured only by the very images of the runs."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipelines
from bench.record import PerClass, Record
from bench.report.page.contents import find_mistakes, most_mistaken
from bench.store.store import Store
from pipelines import sources
from pipelines.sources.split import stratified
from tests.made import made_metrics, made_record

SMALL = 50


def test_images_are_ordered_by_the_runs_that_were_wrong() -> None:
    labels = np.array([0, 1, 2, 0])
    runs = [np.array([0, 2, 1, 1]), np.array([0, 2, 2, 1]), np.array([0, 0, 2, 2])]
    found = most_mistaken(labels, runs)
    assert [(one.place, one.label, one.wrong) for one in found] == [(1, 1, 3), (3, 0, 3), (2, 2, 1)]
    assert found[0].answers == ((2, 2), (0, 1))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the generated source is cached; made once."""
    if sources.is_cached("shapes"):
        return sources.default_data_dir()
    folder = tmp_path_factory.mktemp("data")
    pipelines.load("shapes", folder)
    return folder


def run_on_part(data_dir: Path, **changes: object) -> Record:
    """A record of a run on a part of the shapes."""
    data = pipelines.load("shapes", data_dir)
    per_class = tuple(
        PerClass(name=name, precision=0.5, recall=0.5, f1=0.5, support=1)
        for name in data.test.classes
    )
    fields = {
        "fingerprint": data.fingerprint,
        "metrics": replace(
            made_metrics(0.7, 3.0),
            per_class=per_class,
            confusion=tuple(tuple(0 for _ in per_class) for _ in per_class),
        ),
    }
    return made_record(test_images=SMALL, record=fields | changes)


def keep(store: Store, record: Record, data_dir: Path, wrong: list[int]) -> None:
    """Predictions of a run that is mistaken at `wrong` and nowhere else."""
    data = pipelines.load("shapes", data_dir)
    labels = data.test.labels[stratified(data.test.labels, SMALL)].numpy()
    predictions = labels.copy()
    predictions[wrong] = (predictions[wrong] + 1) % len(data.test.classes)
    store.save_predictions(record.run_id, labels, predictions)


def test_pictures_are_the_images_of_the_source(tmp_path: Path, data_dir: Path) -> None:
    store, record = Store(tmp_path), run_on_part(data_dir)
    keep(store, record, data_dir, [7, 31])
    found = find_mistakes(store, [record], data_dir)
    assert found.problem == ""
    assert (found.runs, found.test_images) == (1, SMALL)
    data = pipelines.load("shapes", data_dir)
    part = stratified(data.test.labels, SMALL).tolist()
    assert [one.index for one in found.images] == [part[7], part[31]]
    for one in found.images:
        pixels = np.asarray(Image.open(BytesIO(one.picture)))
        assert one.index is not None
        assert (pixels == data.test.images[one.index].numpy()).all()
        assert found.classes[one.label] == data.test.classes[int(data.test.labels[one.index])]


@pytest.mark.parametrize("cached", [True, False])
def test_images_that_are_not_those_of_the_runs_or_not_here_have_no_picture(
    tmp_path: Path, data_dir: Path, cached: bool
) -> None:
    store = Store(tmp_path)
    record = run_on_part(data_dir, **({"fingerprint": "of other images"} if cached else {}))
    keep(store, record, data_dir, [7])
    found = find_mistakes(store, [record], data_dir if cached else tmp_path / "nothing")
    assert ("are not those of the runs" if cached else "`bench data shapes`") in found.problem
    assert [(one.place, one.index, one.picture) for one in found.images] == [(7, None, b"")]


def test_runs_without_predictions_say_so(tmp_path: Path) -> None:
    found = find_mistakes(Store(tmp_path), [made_record()])
    assert "not kept" in found.problem
    assert found.images == ()
