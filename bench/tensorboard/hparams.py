"""The hparams table: what each run was set to, what came out, and the columns of all of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from bench.cell import AXES, Cell
from bench.record import Record

Value = str | float | bool
FIELDS = (
    "architecture", "optimizer", "augmentation", "pipeline", "batch_size", "epochs", "width",
    "precision", "compile", "protocol", "target_accuracy", "source", "scale", "device",
)  # fmt: skip
RECIPE = ("lr", "weight_decay", "schedule")
# TensorBoard's parallel coordinates leave out a run that lacks a ticked metric, and the first five
# are ticked unasked: so the one that a run may miss stands last, a name says how many have it, and
# the column `target` shows the others.
METRICS = {
    "test/accuracy": "accuracy",
    "test/macro_f1": "macro F1",
    "throughput/median_images_per_s": "images/s",
    "throughput/stall_pct": "stall (%)",
    "time/total_train_s": "training clock (s)",
    "time/to_accuracy_s": "time to accuracy (s)",
}
TARGETS = ("reached", "not reached", "no result", "not looked for")


def values(cell: Cell) -> dict[str, Value]:
    """What a cell is set to, the axes first; a cell without a recipe has no learning rate."""
    found: dict[str, Value] = {name: getattr(cell, name) for name in FIELDS}
    if cell.recipe is None:
        return found
    axes = dict(list(found.items())[:4])
    return axes | {name: getattr(cell.recipe, name) for name in RECIPE} | found


def session(record: Record) -> list[Any]:
    """Summaries that make the run a row of the table."""
    settings = values(record.cell) | {"seed": record.seed, "status": record.status}
    settings["target"] = target(record)
    ended = api_pb2.STATUS_SUCCESS if record.status == "ok" else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=ended, end_time_secs=seconds(record.finished))
    return [
        hparams_pb(settings, trial_id=record.run_id, start_time_secs=seconds(record.started)),
        _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end),
    ]


def target(record: Record) -> str:
    """What became of the target: one of `TARGETS`."""
    if record.metrics is None:
        return TARGETS[2]
    if not record.cell.holds_out:
        return TARGETS[3]
    return TARGETS[record.metrics.time_to_accuracy_s is None]


def columns(
    cells: Sequence[Cell],
    seeds: Iterable[int],
    statuses: Iterable[str],
    targets: Iterable[str],
    records: Sequence[Record] = (),
) -> Any:
    """The summary that names all columns and the values that each of them has.

    TensorBoard takes the first such summary for the whole table, and hides a row whose value it
    does not list: so there is one, over all cells.

    Args:
        cells: Of all runs.
        seeds: Of them.
        statuses: That they have or may come to have.
        targets: Likewise, of `TARGETS`.
        records: Of all runs, when none is to come.
    """
    rows = [values(cell) for cell in cells]
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: {row[name] for row in rows if name in row} for name in names}
    found |= {"seed": set(seeds), "status": set(statuses), "target": set(targets)}
    experiment = api_pb2.Experiment(
        hparam_infos=[_column(name, found[name]) for name in found],
        metric_infos=[
            api_pb2.MetricInfo(
                name=api_pb2.MetricName(tag=tag), display_name=shown + _having(tag, records)
            )
            for tag, shown in METRICS.items()
        ],
    )
    return _summary(metadata.EXPERIMENT_TAG, experiment=experiment)


def _having(tag: str, records: Sequence[Record]) -> str:
    """How many runs have a metric, where some lack it."""
    number = sum(tag in outcome(record) for record in records)
    return "" if number == len(records) else f", {number} of {len(records)} runs"


def outcome(record: Record) -> dict[str, float]:
    """What the table compares runs by; a figure that the run lacks is left out."""
    metrics, throughput = record.metrics, record.throughput
    figures = {
        "test/accuracy": metrics.accuracy if metrics else None,
        "test/macro_f1": metrics.macro_f1 if metrics else None,
        "time/to_accuracy_s": metrics.time_to_accuracy_s if metrics else None,
        "time/total_train_s": record.timings.train_s,
        "throughput/median_images_per_s": throughput.median if throughput else None,
        "throughput/stall_pct": throughput.stall_pct if throughput else None,
    }
    return {tag: value for tag, value in figures.items() if value is not None}


def seconds(time: str) -> float:
    """A record's time as seconds since 1970; 0 when it has none."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _column(name: str, found: set[Any]) -> Any:
    # TensorBoard sorts by `differs` and name, and shows five columns unasked: of these
    info = api_pb2.HParamInfo(name=name, differs=len(found) > 1 and name in (*AXES, "lr", "target"))
    ordered = sorted(found)
    if all(isinstance(value, bool) for value in ordered):
        info.type = api_pb2.DATA_TYPE_BOOL
        info.domain_discrete.extend(ordered)
    elif all(isinstance(value, str) for value in ordered):
        info.type = api_pb2.DATA_TYPE_STRING
        info.domain_discrete.extend(ordered)
    else:
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value, info.domain_interval.max_value = ordered[0], ordered[-1]
    return info


def _summary(tag: str, **content: Mapping[str, Any]) -> Any:
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    value = Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])
