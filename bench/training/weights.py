"""`--keep-weights`: the weights that were tested, as a safetensors file beside the record."""

import torch
from safetensors.torch import save
from torch import nn

from bench.cell import Run
from bench.store.store import Store
from pipelines.sources.base import Images


def keep_weights(store: Store, run: Run, net: nn.Module, images: Images) -> None:
    """Writes `weights/<run_id>.safetensors`; a failed write is printed, and the run continues.

    Args:
        images: The training images, for what a user of the weights must know about them.
    """
    about = {
        "run": run.name,
        "architecture": run.cell.architecture,
        "width": str(run.cell.width),
        "classes": ", ".join(images.classes),
        "image_size": str(images.image_size[0]),
        "mean": ", ".join(map(str, images.mean)),
        "std": ", ".join(map(str, images.std)),
    }
    try:
        weights = {  # copies, as safetensors refuses other memory formats and shared memory
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in net.state_dict().items()
        }
        path = store.write_derived(f"weights/{run.id}.safetensors", save(weights, about))
        print(f"weights: {path}", flush=True)
    except Exception as error:  # noqa: BLE001 - must not fail a trained run
        print(f"the weights are not kept, the run continues: {error}", flush=True)
