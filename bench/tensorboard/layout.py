"""The throughput view: which charts the tab of custom scalars shows."""

from collections.abc import Collection
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.util.tensor_util import make_tensor_proto

# No tag may begin another: TensorBoard takes them for patterns that a tag begins with.
CHARTS = {
    "Throughput": {
        "images/s, data included": "throughput/images_per_s",
        "step (ms)": "throughput/step_ms",
        "ceiling: one cached batch (images/s)": "throughput/ceiling_images_per_s",
        "stall: time lost against the ceiling (%)": "throughput/epoch_stall_pct",
    },
    "Time to accuracy": {
        "validation accuracy over the training clock (ms)": "accuracy/by_train_ms",
        "time to accuracy (s), over images seen": "time/to_accuracy_s",
        "training clock (s), over images seen": "time/train_s",
    },
    "Memory and power": {
        "peak of the process (GiB)": "memory/host_gib",
        "peak of torch on the device (GiB)": "memory/torch_gib",
        "peak of the device (GiB)": "memory/device_gib",
        "energy (J)": "energy/total_j",
    },
}
# Title to the tag that mean, lowest and highest share, and to the field of a curve's point.
SEEDS = {
    "validation accuracy over images seen": ("seeds/accuracy", "validation_accuracy"),
    "validation accuracy over the mean training clock (ms)": (
        "seeds/accuracy_by_train_ms",
        "validation_accuracy",
    ),
    "validation loss over images seen": ("seeds/validation_loss", "validation_loss"),
    "images/s over images seen": ("seeds/images_per_s", "images_per_s"),
}


def layout(tags: Collection[str], *, seeds: bool) -> Any:
    """The summary that lays the tab out.

    Args:
        tags: Those that some run has; a chart of any other tag is left out. Empty while no run
            has ended: then all are in.
        seeds: Whether some cell has several seeds.
    """
    categories = []
    for title, charts in CHARTS.items():
        shown = {name: tag for name, tag in charts.items() if not tags or tag in tags}
        if shown:
            categories.append(_category(title, [_lines(*chart) for chart in shown.items()]))
    if seeds:
        # TensorBoard shows charts with a band in the reverse of the order that they are listed in
        bands = [_band(title, tag) for title, (tag, _) in reversed(SEEDS.items())]
        categories.insert(2, _category("Seeds", bands))
    content = layout_pb2.Layout(category=categories).SerializeToString()
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=make_tensor_proto(content, dtype=np.object_),
    )
    return Summary(value=[value])


def _category(title: str, charts: list[Any]) -> Any:
    return layout_pb2.Category(title=title, chart=charts)


def _lines(title: str, tag: str) -> Any:
    return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[tag]))


def _band(title: str, tag: str) -> Any:
    series = layout_pb2.MarginChartContent.Series(
        value=f"{tag}/mean", lower=f"{tag}/lowest", upper=f"{tag}/highest"
    )
    return layout_pb2.Chart(
        title=f"{title}: mean, lowest, highest",
        margin=layout_pb2.MarginChartContent(series=[series]),
    )
