"""Predictions are read back as saved; damaged ones are in `tests/faults/test_fuzz_folders.py`."""

from pathlib import Path

import numpy as np
import pytest

from bench.store.files import StoreError
from bench.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cpu_shapes_cpu")


def test_predictions_survive_a_round_trip_and_missing_ones_are_an_error(store: Store) -> None:
    labels, positives = np.arange(10), np.ones((10, 2, 5), dtype=np.int64)
    store.save_predictions("a", labels, labels[::-1], positives)
    with pytest.raises(StoreError, match="no predictions of run b"):
        store.load_predictions("b")
    store.save_predictions("b", labels, labels)
    found = store.load_predictions("a")
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.predictions, labels[::-1])
    np.testing.assert_array_equal(found.positives, positives)
    assert store.load_predictions("b").positives is None
    path = store.save_predictions("a", [0], [0])
    np.savez(path, labels=[0], predictions=[1], probabilities=[[0.5, 0.5]])
    assert store.load_predictions("a").predictions.tolist() == [1]
