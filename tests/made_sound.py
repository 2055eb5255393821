"""A group whose files are consistent, for tests that then break one of them."""

from dataclasses import replace
from typing import Any

from bench.record import Metrics, PerClass, Record
from bench.store.store import Store
from tests.made import made_record

# Of cats (rows: true, columns: said) 40 of 50 are found, of dogs 45 of 50.
CONFUSION = ((40, 10), (5, 45))
LABELS = [0] * 50 + [1] * 50
PREDICTIONS = [0] * 40 + [1] * 10 + [0] * 5 + [1] * 45
ACCURACY = 0.85


def sound_metrics(record: Record) -> Metrics:
    """Scores that follow from the confusion matrix, worked out by hand."""
    assert record.metrics is not None
    cat = PerClass(name="cat", precision=40 / 45, recall=0.8, f1=80 / 95, support=50)
    dog = PerClass(name="dog", precision=45 / 55, recall=0.9, f1=90 / 105, support=50)
    return replace(
        record.metrics,
        accuracy=ACCURACY,
        macro_f1=(80 / 95 + 90 / 105) / 2,
        precision=(40 / 45 + 45 / 55) / 2,
        recall=0.85,
        per_class=(cat, dog),
        confusion=CONFUSION,
    )


def sound_record(seed: int = 0, **cell: Any) -> Record:
    record = made_record(seed, accuracy=ACCURACY, time_to_accuracy_s=3.0, **cell)
    return replace(record, metrics=sound_metrics(record))


def keep(store: Store, record: Record) -> Record:
    store.save_predictions(record.run_id, LABELS, PREDICTIONS)
    return store.write(record)
