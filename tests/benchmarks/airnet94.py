"""airnet94 trained by the suite and by a plain program of the same recipe, in turns.

    python -m tests.benchmarks.airnet94 [STEPS] [SIDE ...]

All 50,000 images of CIFAR-10, on the CPU. Each side is a process that takes one step when it is its
turn and sleeps otherwise, so that disturbances affect all sides alike. The suite's side is the run
of `bench run --grid speedrun -k airnet94 --scale full --device cpu`, in bf16 if the processor
multiplies it, and once more in fp32; the plain side is `plain_airnet94.py`, in fp32, once as it is
and once with the suite's memory settings. A side's time is the sum of its steps, without
compilation. STEPS is 25 by default, one of eight epochs; 200 are the whole run, which takes hours
and ends with the accuracies.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import torch

import pipelines
from bench.cell import Run
from bench.executors.protocol import ENVIRONMENT
from bench.grid.options import RunOptions
from bench.grid.plan import choose_cells, choose_config
from bench.machine.environment import Probe
from bench.training.loop import predict
from bench.training.metrics import quick_scores
from bench.training.run import first_batch, fit_net
from bench.training.setup import fresh_step
from tests.benchmarks.common import conditions, median_ratio, prepared, print_figures, serve, side
from tests.benchmarks.plain_airnet94 import Plain

CPU = torch.device("cpu")
EPOCH, WHOLE, REPORT_EVERY = 25, 200, 5
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}  # a waiting side must not keep the cores busy
SUITE, SUITE_FP32 = "suite", "suite, fp32"
SIDES = {
    SUITE: ENVIRONMENT,
    SUITE_FP32: ENVIRONMENT,
    "plain": PASSIVE,
    "plain, our memory settings": ENVIRONMENT,
}


def run_of_airnet94(precision: str) -> Run:
    options = RunOptions(
        grid="speedrun", select="airnet94", scale="full", compile=False, precision=precision
    )
    (cell,) = choose_cells(options, choose_config(options, Probe(), "cpu"))
    return Run(cell=replace(cell, source="cifar10"), seed=0, versions={}, fingerprint="")


class Suite:
    """A run of the suite, a step at a time."""

    def __init__(self, precision: str) -> None:
        _, self.parts = prepared(run_of_airnet94(precision))
        fresh_step(self.parts)(*first_batch(self.parts))

    def steps(self) -> Iterator[None]:
        step = fresh_step(self.parts)
        fit_net(self.parts)
        loss_sum = torch.zeros(())
        for epoch in range(self.parts.cell.epochs):
            for batch in self.parts.pipeline.epoch(epoch):
                loss_sum += step(*batch)
                yield

    def accuracies(self) -> tuple[float, float]:
        """On the test set: with six views of each image, and with one."""
        found = predict(self.parts.net.forward, self.parts.test, self.parts.autocast, eval_views=6)
        six, one = (quick_scores(k, found.labels_N) for k in (found.logits_NK, found.one_view_NK))
        return six.accuracy, one.accuracy


class PlainProgram:
    """The plain program; a first step of another one builds what is built once."""

    def __init__(self) -> None:
        self.data = pipelines.load("cifar10")
        next(Plain(self.data.train.images[:4000], self.data.train.labels[:4000]).steps())
        self.plain: Plain | None = None

    def steps(self) -> Iterator[None]:
        torch.manual_seed(0)
        self.plain = Plain(self.data.train.images, self.data.train.labels)
        yield from self.plain.steps()

    def accuracies(self) -> tuple[float, float]:
        """On the test set: with six views of each image, and with one."""
        return self.plain.accuracies(self.data.test.images, self.data.test.labels)


def work(name: str) -> None:
    """Serves one side: seconds of its next step, or its accuracies."""
    precisions = {SUITE: "auto", SUITE_FP32: "fp32"}
    program = Suite(precisions[name]) if name in precisions else PlainProgram()
    steps = program.steps()

    def answer(question: str) -> object:
        if question == "accuracies":
            return program.accuracies()
        start = time.perf_counter()
        next(steps)
        return time.perf_counter() - start

    serve(answer)


def main(steps: int = EPOCH, *chosen: str) -> None:
    before = conditions()
    sides = {name: SIDES[name] for name in dict.fromkeys((SUITE, *(chosen or SIDES)))}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    with ExitStack() as stack:
        asked = {
            name: stack.enter_context(side("airnet94", "--side", name, settings=settings))
            for name, settings in sides.items()
        }
        for done in range(steps):
            for name in sorted(asked, reverse=bool(done % 2)):
                seconds[name].append(asked[name]("step"))
            if not (done + 1) % REPORT_EVERY:
                so_far = {name: round(sum(found), 1) for name, found in seconds.items()}
                print(f"{done + 1} steps: {so_far} s", file=sys.stderr, flush=True)
        figures: dict[str, object] = {
            "steps": steps,
            "train_s": {name: round(sum(found), 1) for name, found in seconds.items()},
            "suite_over": {
                name: {
                    "train_s": round(sum(seconds[SUITE]) / sum(seconds[name]), 4),
                    "step_s": median_ratio(seconds[SUITE], seconds[name]),
                }
                for name in list(sides)[1:]
            },
        }
        if steps == WHOLE:
            figures["accuracies_six_views_one_view"] = {
                name: ask("accuracies") for name, ask in asked.items()
            }
    print_figures(before | {"torch": torch.__version__}, figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        work(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:2]), *sys.argv[2:])
