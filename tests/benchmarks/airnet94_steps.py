"""Seconds of a training step of airnet94 beside one of the public script, in turns, on the CPU.

    python tests/benchmarks/airnet94_steps.py airbench94_muon.py [ROUNDS]

The public script (cifar10-airbench) is read from the file that is named; its net and its optimizers
are taken as they are, in float32 on the CPU and without compilation. Both train on the same batch
of 2,000 images, first with and then without the whitening bias, as both do in a run. Prints JSON:
each round's seconds and the ratios. The whole run, with its accuracy, is

    bench run --grid speedrun -k airnet94 --scale full --device cpu --timeout 36000
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import architectures  # noqa: E402
import pipelines  # noqa: E402
from bench import optimizers  # noqa: E402
from bench.freezing import Freezing  # noqa: E402
from bench.recipe_files import book  # noqa: E402

BATCH = 2000
Training = Callable[[Tensor, Tensor, bool], None]


def ours(images_NCHW: Tensor) -> Training:
    """A step of our net by its recipe; the flag says whether the whitening bias trains."""
    net = architectures.build("airnet94").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit = architectures.get("airnet94").fit
    assert fit is not None
    fit(net, images_NCHW)
    recipe, _ = book("full").find("airnet94", "muon_sgd", BATCH)
    freezing = Freezing(net, 200)
    optimizer = optimizers.catalog.get("muon_sgd").build(net, recipe)

    def step(x_BCHW: Tensor, labels_B: Tensor, with_bias: bool) -> None:
        freezing.go_to(0 if with_bias else 199)
        logits_BK = net(x_BCHW.contiguous(memory_format=torch.channels_last))
        F.cross_entropy(logits_BK, labels_B, label_smoothing=recipe.label_smoothing).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def public(path: Path, images_NCHW: Tensor) -> Training:
    """A step of the public script."""
    text = path.read_text()
    names: dict[str, Any] = {"__name__": "public"}
    end = text.index("if __name__")
    exec(compile(text[:end].replace("@torch.compile\n", ""), str(path), "exec"), names)
    net = names["CifarNet"]().float().to(memory_format=torch.channels_last)
    net.reset()
    net.init_whiten(images_NCHW)
    filters = [p for p in net.parameters() if p.ndim == 4 and p.requires_grad]
    biases = [p for name, p in net.named_parameters() if "norm" in name and p.requires_grad]
    groups = [
        {"params": [net.whiten.bias], "lr": 0.053},
        {"params": biases, "lr": 0.053},
        {"params": [net.head.weight], "lr": 0.67},
    ]
    sgd = torch.optim.SGD(groups, momentum=0.85, nesterov=True, fused=True)
    muon = names["Muon"](filters, lr=0.24, momentum=0.6, nesterov=True)

    def step(x_BCHW: Tensor, labels_B: Tensor, with_bias: bool) -> None:
        logits_BK = net(x_BCHW, whiten_bias_grad=with_bias)
        F.cross_entropy(logits_BK, labels_B, label_smoothing=0.2, reduction="sum").backward()  # type: ignore[no-untyped-call]
        sgd.step()
        muon.step()
        net.zero_grad(set_to_none=True)

    return step


def main(path: Path, rounds: int = 5) -> None:
    """Both in turns, after a step each that does not count."""
    images = pipelines.load("cifar10").train
    pipeline = pipelines.build("native[eager]", images, "speedrun94", batch_size=BATCH)
    x_BCHW, labels_B = next(iter(pipeline.epoch(0)))
    sides = {"ours": ours(x_BCHW), "public": public(path, x_BCHW)}
    seconds: dict[str, list[float]] = {f"{side} {bias}": [] for side in sides for bias in (1, 0)}
    for number in range(rounds + 1):
        for bias in (1, 0):
            for side, step in sides.items():
                start = time.perf_counter()
                step(x_BCHW, labels_B, bool(bias))
                if number:
                    seconds[f"{side} {bias}"].append(time.perf_counter() - start)
    ratios = {
        bias: [
            b / a for a, b in zip(seconds[f"ours {bias}"], seconds[f"public {bias}"], strict=True)
        ]
        for bias in (1, 0)
    }
    print(
        json.dumps(
            {
                "seconds": seconds,
                "public over ours, bias trained": ratios[1],
                "public over ours, bias fixed": ratios[0],
                "medians": [statistics.median(ratios[bias]) for bias in (1, 0)],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
