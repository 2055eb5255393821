"""A group whose files are consistent, for tests that then break one of them."""

from dataclasses import replace
from typing import Any

from bench.record import PerClass, Record
from bench.store.store import Store
from tests.made import made_metrics, made_record

# Those of the confusion matrix of `made_metrics`: 40 of 50 cats are found, and 45 of 50 dogs.
LABELS = [0] * 50 + [1] * 50
PREDICTIONS = [0] * 40 + [1] * 10 + [0] * 5 + [1] * 45
ACCURACY = 0.85


def sound_record(seed: int = 0, **cell: Any) -> Record:
    """A record whose scores follow from its confusion matrix, worked out by hand."""
    cat = PerClass(name="cat", precision=40 / 45, recall=0.8, f1=80 / 95, support=50)
    dog = PerClass(name="dog", precision=45 / 55, recall=0.9, f1=90 / 105, support=50)
    metrics = replace(
        made_metrics(ACCURACY, 3.0),
        macro_f1=(80 / 95 + 90 / 105) / 2,
        precision=(40 / 45 + 45 / 55) / 2,
        per_class=(cat, dog),
    )
    return made_record(seed, accuracy=ACCURACY, record={"metrics": metrics}, **cell)


def keep(store: Store, record: Record) -> Record:
    store.save_predictions(record.run_id, LABELS, PREDICTIONS)
    return store.write(record)
