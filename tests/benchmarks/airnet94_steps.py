"""Seconds of a training step of airnet94 beside one of the public script, in turns, on the CPU.

    python tests/benchmarks/airnet94_steps.py airbench94_muon.py [ROUNDS]

The public script (cifar10-airbench) is read from the file that is named; its net and its optimizers
are taken as they are, in float32 on the CPU and without compilation. Each side is a process of its
own, which sleeps while the other has its turn: ours with the settings of a worker, the public one
with and without them. All train on the same batch of 2,000 images, first with and then without the
whitening bias, as they do in a run. Prints JSON: each round's seconds and the ratios. The whole
run, with its accuracy, is

    bench run --grid speedrun -k airnet94 --scale full --device cpu --timeout 36000
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import architectures  # noqa: E402
import pipelines  # noqa: E402
from bench import optimizers  # noqa: E402
from bench.executors.local import SETTINGS  # noqa: E402
from bench.freezing import Freezing  # noqa: E402
from bench.recipe_files import book  # noqa: E402
from tests.benchmarks.side_by_side import conditions, told  # noqa: E402

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


def serve(side: str, path: Path) -> None:
    """Does a step for each line that comes, and answers with its seconds."""
    images = pipelines.load("cifar10").train
    pipeline = pipelines.build("native[eager]", images, "speedrun94", batch_size=BATCH)
    x_BCHW, labels_B = next(iter(pipeline.epoch(0)))
    step = ours(x_BCHW) if side == "ours" else public(path, x_BCHW)
    for line in sys.stdin:
        start = time.perf_counter()
        step(x_BCHW, labels_B, line.strip() == "with bias")
        print(time.perf_counter() - start, flush=True)


def child(side: str, path: Path, settings: Mapping[str, str]) -> "subprocess.Popen[str]":
    """A process that serves a side."""
    return subprocess.Popen(
        [sys.executable, __file__, str(path), "--serve", side],
        env={**os.environ, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: "subprocess.Popen[str]", state: str) -> float:
    """Seconds of a step."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(state, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def main(path: Path, rounds: int = 5) -> None:
    """All in turns, after a step each that does not count."""
    before = conditions()
    patient = {"OMP_WAIT_POLICY": "PASSIVE"}  # or a side that waits for its turn takes the cores
    sides = {
        "ours": child("ours", path, SETTINGS),
        "public": child("public", path, patient),
        "public, our settings": child("public", path, SETTINGS),
    }
    seconds: dict[str, dict[str, list[float]]] = {
        state: {side: [] for side in sides} for state in ("with bias", "without bias")
    }
    try:
        for number in range(rounds + 1):
            for state, found in seconds.items():
                for side, process in sides.items():
                    took_s = ask(process, state)
                    if number:
                        found[side].append(took_s)
    finally:
        for process in sides.values():
            process.kill()
    ratios = {
        f"{side} over ours, {state}": statistics.quantiles(
            [b / a for a, b in zip(found["ours"], found[side], strict=True)], n=4
        )
        for state, found in seconds.items()
        for side in list(sides)[1:]
    }
    told(before, {"seconds": seconds, "ratios, quartiles": ratios})


if __name__ == "__main__":
    script, *more = sys.argv[1:]
    if more[:1] == ["--serve"]:
        serve(more[1], Path(script))
    else:
        main(Path(script), *map(int, more))
