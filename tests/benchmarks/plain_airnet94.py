"""The 94 % speed record's training as a plain program, to compare the suite with.

It follows the recipe of cifar10-airbench's airbench94_muon in one file: an epoch's images are
augmented at once, Muon updates one weight after the other. float32, on the CPU. Nothing of the
suite is used, so that no mistake can be shared.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, EPOCHS, BIAS_EPOCHS = 2000, 8, 3
MEAN = torch.tensor((0.4914, 0.4822, 0.4465)).view(3, 1, 1)
STD = torch.tensor((0.2470, 0.2435, 0.2616)).view(3, 1, 1)
PAD = 2


def normal(images_NHWC: Tensor) -> Tensor:
    """float32 (N, C, H, W), channels last."""
    x_NCHW = (images_NHWC.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    return x_NCHW.contiguous(memory_format=torch.channels_last)


class Block(nn.Module):
    """Two convolutions; the scales of its norms are not trained."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4)
        self.norm2 = nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4)
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])
            norm.weight.requires_grad = False

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = F.gelu(self.norm1(F.max_pool2d(self.conv1(x_BCHW), 2)))
        return F.gelu(self.norm2(self.conv2(x_BCHW)))


class Net(nn.Module):
    """Images (B, 3, 32, 32) to logits (B, 10)."""

    def __init__(self, images_NCHW: Tensor) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        self.whiten.weight.data = whitening(images_NCHW)
        self.blocks = nn.Sequential(Block(24, 64), Block(64, 256), Block(256, 256))
        self.head = nn.Linear(256, 10, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.blocks(F.gelu(self.whiten(x_BCHW)))
        logits_BK: Tensor = self.head(F.max_pool2d(x_BCHW, 3).flatten(1)) / 256
        return logits_BK


def whitening(images_NCHW: Tensor) -> Tensor:
    """Filters (24, 3, 2, 2) that make patches white, and their negatives."""
    patches = images_NCHW.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    return torch.cat([filters, -filters])


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum, one weight after the other."""

    def __init__(self, weights: list[nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                buffer = state.setdefault("buffer", torch.zeros_like(weight))
                buffer.mul_(group["momentum"]).add_(weight.grad)
                ahead = weight.grad.add(buffer, alpha=group["momentum"])
                weight.mul_(math.sqrt(len(weight)) / weight.norm())
                update = orthogonal(ahead.reshape(len(ahead), -1)).view_as(weight)
                weight.sub_(update, alpha=group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Three Newton-Schulz iterations."""
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if len(matrix) > matrix.shape[1] else x
    for _ in range(3):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if len(matrix) > matrix.shape[1] else x


def augmented(padded_NCHW: Tensor) -> Tensor:
    """Each image cropped at an offset of its own."""
    size = padded_NCHW.shape[-1] - 2 * PAD
    offsets_N2 = torch.randint(0, 2 * PAD + 1, (len(padded_NCHW), 2))
    out_NCHW = torch.empty(len(padded_NCHW), 3, size, size)
    for top in range(2 * PAD + 1):
        for left in range(2 * PAD + 1):
            chosen_N = (offsets_N2[:, 0] == top) & (offsets_N2[:, 1] == left)
            out_NCHW[chosen_N] = padded_NCHW[chosen_N, :, top : top + size, left : left + size]
    return out_NCHW


class Plain:
    """A training on uint8 images (N, 32, 32, 3) and their labels (N,)."""

    def __init__(self, images_NHWC: Tensor, labels_N: Tensor) -> None:
        self.labels_N = labels_N
        x_NCHW = normal(images_NHWC)
        self.net = Net(x_NCHW[:5000]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        mirrored_N111 = torch.rand(len(x_NCHW), 1, 1, 1) < 0.5
        x_NCHW = torch.where(mirrored_N111, x_NCHW.flip(-1), x_NCHW)
        self.padded_NCHW = F.pad(x_NCHW, (PAD,) * 4, mode="reflect")
        self.per_epoch = len(labels_N) // BATCH
        weights = dict(self.net.named_parameters())
        biases = [w for name, w in weights.items() if "norm" in name and w.requires_grad]
        decay = 2e-6 * BATCH
        self.sgd = torch.optim.SGD(
            [
                {"params": params, "lr": lr, "weight_decay": decay / lr}
                for params, lr in (
                    ([self.net.whiten.bias], 0.053),
                    (biases, 0.053),
                    ([self.net.head.weight], 0.67),
                )
            ],
            lr=0.053,
            momentum=0.85,
            nesterov=True,
            fused=True,
        )
        hidden = [w for name, w in weights.items() if "conv" in name]
        self.muon = Muon(hidden, lr=0.24, momentum=0.6)
        self.groups = [*self.sgd.param_groups, *self.muon.param_groups]
        self.peaks = [group["lr"] for group in self.groups]

    def steps(self) -> Iterator[None]:
        """Trains; gives back control after each of the 200 steps."""
        self.net.train()
        done = 0
        for epoch in range(EPOCHS):
            x_NCHW = augmented(self.padded_NCHW)
            if epoch % 2:
                x_NCHW = x_NCHW.flip(-1)
            order = torch.randperm(len(x_NCHW))
            for chosen in order[: self.per_epoch * BATCH].split(BATCH):
                self.step(done, x_NCHW[chosen], self.labels_N[chosen])
                done += 1
                yield

    def step(self, done: int, x_BCHW: Tensor, labels_B: Tensor) -> None:
        """The step after `done` others."""
        bias = self.net.whiten.bias
        bias.requires_grad_(done < BIAS_EPOCHS * self.per_epoch)
        logits_BK = self.net(x_BCHW)
        loss = F.cross_entropy(logits_BK, labels_B, label_smoothing=0.2, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        self.update(done)

    def update(self, done: int) -> None:
        """Moves the weights by the gradients that are there."""
        for number, (group, peak) in enumerate(zip(self.groups, self.peaks, strict=True)):
            ends = self.per_epoch * (EPOCHS if number else BIAS_EPOCHS)
            group["lr"] = peak * max(0.0, 1 - done / ends)
        self.sgd.step()
        self.muon.step()
        self.net.zero_grad(set_to_none=True)

    @torch.no_grad()
    def accuracies(self, images_NHWC: Tensor, labels_N: Tensor) -> tuple[float, float]:
        """On a test set: with six views of each image, and with one."""
        self.net.eval()
        right = torch.zeros(2)
        for x_BCHW, labels_B in zip(
            normal(images_NHWC).split(BATCH), labels_N.split(BATCH), strict=True
        ):
            padded_BCHW = F.pad(x_BCHW, (1,) * 4, mode="reflect")
            moved = [padded_BCHW[:, :, :32, :32], padded_BCHW[:, :, 2:, 2:]]
            of_one_BK = self.net(x_BCHW)
            of_six_BK = (of_one_BK + self.net(x_BCHW.flip(-1))) / 2
            of_six_BK += sum(self.net(v) + self.net(v.flip(-1)) for v in moved) / 4
            for place, logits_BK in enumerate((of_six_BK, of_one_BK)):
                right[place] += (logits_BK.argmax(1) == labels_B).sum()
        of_six, of_one = (right / len(labels_N)).tolist()
        return of_six, of_one
