"""How hard the source `shapes` is: a linear model, a good net, few images, the CPU scale.

    .venv/bin/python tests/benchmarks/shapes_difficulty.py [linear] [good] [few] [short]

prints one JSON object; without names it measures all four, about half an hour on one core.
Nothing is asserted: the figures say whether the source's nuisances are still set well.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

import architectures
from pipelines.sources import shapes

BATCH = 64
PAD = 4


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Normalised images float32 (N, 3, 32, 32) and labels int64 (N,)."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load() -> Sets:
    """Both sets, standardised over all pixels of the training images."""
    images, labels, test, test_labels = shapes.generate()
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    y = torch.from_numpy(test).permute(0, 3, 1, 2).float()
    shift, scale = x.mean(), x.std()
    return Sets(
        train=((x - shift) / scale).contiguous(memory_format=torch.channels_last),
        train_labels=torch.from_numpy(labels),
        test=((y - shift) / scale).contiguous(memory_format=torch.channels_last),
        test_labels=torch.from_numpy(test_labels),
    )


def flip_crop(x: Tensor) -> Tensor:
    """`x` (B, C, H, W) mirrored at random and shifted by up to PAD pixels, each image by itself."""
    count, _, height, width = x.shape
    x = torch.where(torch.rand(count, 1, 1, 1) < 0.5, x.flip(3), x)
    padded = functional.pad(x, (PAD,) * 4, mode="reflect").permute(0, 2, 3, 1)
    top, left = torch.randint(2 * PAD + 1, (2, count, 1, 1))
    image = torch.arange(count).view(count, 1, 1)
    rows, columns = top + torch.arange(height).view(1, -1, 1), left + torch.arange(width)
    return padded[image, rows, columns].permute(0, 3, 1, 2)


def accuracy(net: torch.nn.Module, x: Tensor, labels: Tensor) -> float:
    """Share of `x` that `net` gets right, in percent."""
    net.eval()
    with torch.inference_mode():
        right = sum(
            int((net(part).argmax(1) == truth).sum())
            for part, truth in zip(x.split(1000), labels.split(1000), strict=True)
        )
    return 100 * right / len(x)


def train(
    name: str, sets: Sets, *, width: float, images: int, epochs: int, augment: bool, seed: int = 0
) -> float:
    """Test accuracy in percent of one net after SGD with a triangular schedule to 0.05."""
    torch.manual_seed(seed)
    net = architectures.build(name, classes=10, image_size=shapes.SIZE, width=width)
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps = epochs * (images // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.05, steps, pct_start=0.2, anneal_strategy="linear", cycle_momentum=False
    )
    for _ in range(epochs):
        net.train()
        for batch in torch.randperm(images)[: images // BATCH * BATCH].view(-1, BATCH):
            x = flip_crop(sets.train[batch]) if augment else sets.train[batch]
            loss = functional.cross_entropy(net(x), sets.train_labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return accuracy(net, sets.test, sets.test_labels)


def linear(sets: Sets) -> dict[str, float]:
    """Logistic regression on standardised pixels of all training images, by L-BFGS."""
    x, test = sets.train.flatten(1), sets.test.flatten(1)
    shift, scale = x.mean(0), x.std(0)
    x, test = (x - shift) / scale, (test - shift) / scale
    net = torch.nn.Linear(x.shape[1], 10)
    torch.nn.init.zeros_(net.weight)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(x), sets.train_labels)
        loss = loss + 1e-3 * net.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return {
        "train": accuracy(net, x, sets.train_labels),
        "test": accuracy(net, test, sets.test_labels),
    }


def good(sets: Sets) -> dict[str, float]:
    """A narrow net on all images with flip and crop."""
    found = train("cnn6", sets, width=0.25, images=shapes.TRAIN, epochs=4, augment=True)
    return {"cnn6 x0.25, 4 epochs": found}


def few(sets: Sets) -> dict[str, float]:
    """A net on 4,000 images for 20 epochs, with and without flip and crop, over three seeds."""
    return {
        f"cnn4 x0.25 {'flip_crop' if augment else 'none'} seed {seed}": train(
            "cnn4", sets, width=0.25, images=4000, epochs=20, augment=augment, seed=seed
        )
        for seed in range(3)
        for augment in (False, True)
    }


def short(sets: Sets) -> dict[str, float]:
    """Nets at the suite's CPU scale: 5,000 images, four epochs, a quarter of the width."""
    return {
        name: train(name, sets, width=0.25, images=5000, epochs=4, augment=False)
        for name in ("cnn2", "cnn4", "cnn6", "vgg11_bn", "resnet18")
    }


PARTS: dict[str, Callable[[Sets], dict[str, float]]] = {
    "linear": linear,
    "good": good,
    "few": few,
    "short": short,
}


def main() -> None:
    """Measures the parts named on the command line and prints them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no part {min(unknown)!r}: known are {', '.join(PARTS)}")
    sets = load()
    found: dict[str, object] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "version": shapes.VERSION,
    }
    for part in chosen:
        started = time.perf_counter()
        figures = {name: round(value, 2) for name, value in PARTS[part](sets).items()}
        found[part] = figures | {"seconds": round(time.perf_counter() - started)}
        print(part, found[part], file=sys.stderr, flush=True)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
