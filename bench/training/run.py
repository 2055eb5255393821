"""Carries out one run: set up, warm up, train, test."""

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch

import architectures
from bench.cell import Cell
from bench.job import RecordBuilder
from bench.machine import environment
from bench.machine.clock import CompileWatch, TrainingClock, cache_counts
from bench.machine.cpu import evaluation_threads
from bench.machine.monitor import MachineMonitor, PeakMemory
from bench.record import Compiled, Point, Timings
from bench.store.artifacts import keep_example
from bench.store.files import StoreError
from bench.store.store import Store
from bench.training.ceiling import Ceiling, freeze_as_at_midpoint, throughput
from bench.training.cuda_graph import Trainer, build_trainer
from bench.training.delivery import WARMUP_EPOCH
from bench.training.loop import Predictions, Step, cached_step_s, padded, predict
from bench.training.metrics import Scores, full_scores, positives, quick_scores
from bench.training.profiler import keep_profile
from bench.training.setup import (
    Parts,
    Shared,
    compiles_update,
    fresh_step,
    prepare,
    recipe_of,
)
from bench.training.timing_checks import timing_problems
from bench.training.weights import keep_weights
from pipelines.base import Batch, Normaliser, Pipeline
from pipelines.sources.cache import compare_again
from pipelines.sources.split import commonest

WARMUP_STEPS = 3


class Diverged(RuntimeError):
    """The loss is no longer a finite number."""


def train(draft: RecordBuilder, shared: Shared, on_point: Callable[[Point], None]) -> None:
    """Trains the draft's run and fills in its record.

    Raises:
        Diverged: The loss became NaN or infinite.
        pipelines.base.BrokenPromise: The pipeline did not deliver what was asked for.
        pipelines.base.Unsupported: The pipeline lacks an op of the policy.
        pipelines.sources.SourceError: The cached images changed since they were first read.
    """
    run = draft.job.run
    device = torch.device(run.cell.device)
    store = Store(Path(draft.job.folder))
    draft.environment = environment.describe(run.cell.device)
    memory = PeakMemory(device)
    with closing(prepare(draft, shared, device)) as parts:
        ceiling = warm_up(draft, shared, parts, memory)
        with draft.untimed():
            keep_example(store, run.cell, ceiling.batch[0], parts.training)
        watch = CompileWatch()
        trainer = fit(draft, parts, ceiling, on_point)
        recompiled = watch.new_graphs()
        evaluate_test(draft, parts, store)
        if draft.job.keep_weights:
            with draft.untimed():
                keep_weights(store, run, parts.net.module, parts.training)
        draft.memory = memory.peaks()
        with draft.timed("warmup_s"):
            ceiling.measure()
        draft.throughput = throughput(draft.curve, run.cell.batch_size, ceiling.steps_s)
        draft.timing_suspect += timing_problems(
            recompiled=recompiled,
            curve=draft.curve,
            steady=trainer.step.freezing is None,
            throughput=draft.throughput,
            conditions=draft.conditions,
        )
        with draft.untimed():
            compare_again()
        if draft.job.profile:
            with draft.untimed():
                freeze_as_at_midpoint(trainer.step)
                keep_profile(store, run.id, run.name, trainer, parts.pipeline, WARMUP_EPOCH)


def warm_up(draft: RecordBuilder, shared: Shared, parts: Parts, memory: PeakMemory) -> Ceiling:
    """Pays all one-off costs, with random labels, and measures the ceiling."""
    cell = parts.cell
    start, counts_before = time.perf_counter(), cache_counts()
    batch = first_batch(parts)
    first_batch_s, pipeline_code = time.perf_counter() - start, cache_counts() - counts_before
    step = fresh_step(parts)
    timed = partial(cached_step_s, partial(step, *batch), parts.device, steps=1)
    compile_s = update_s = 0.0
    if compiles_update(cell, step.optimizer):
        compile_s, update_s = first_use_s(step, batch, parts.device)
    for state in step.freeze_states:
        step.go_to_freeze_state(state)
        cold_s, *warm_s = [timed()[0] for _ in range(WARMUP_STEPS)]
        compile_s += cold_s - min(warm_s)
        if cell.compile:
            cold_evaluation_s, warm_evaluation_s = (evaluation_s(parts, batch) for _ in range(2))
            compile_s += cold_evaluation_s - warm_evaluation_s
    step.begin_evaluation()
    step.begin_training()
    fit_net(parts)  # loads its libraries, which must not count as fitting time

    pipeline_key = f"{cell.pipeline}/{cell.augmentation}/{cell.batch_size}/{cell.precision}"
    net_key = cell.model_key or f"{cell.architecture}/{cell.optimizer}"
    update_key = f"{net_key} by {cell.optimizer}"
    costs_s, code = shared.first_cost_s, shared.first_compiled
    draft.timings["first_batch_s"] = costs_s.setdefault(pipeline_key, first_batch_s)
    net_s = costs_s.setdefault(net_key, max(0.0, compile_s))
    draft.timings["compile_s"] = net_s + costs_s.setdefault(update_key, update_s)
    net_code = cache_counts() - counts_before - pipeline_code
    draft.compiled = origin_of_code(
        code.setdefault(pipeline_key, pipeline_code) + code.setdefault(net_key, net_code)
    )
    ceiling = Ceiling(parts=parts, batch=batch, memory=memory)
    ceiling.try_to_capture(draft)
    same_steps = cell.device == "cpu" and step.freezing is None  # as the ceiling takes
    ceiling.measure(min(warm_s), warm_s if same_steps else ())
    draft.timings["warmup_s"] = time.perf_counter() - start
    return ceiling


def origin_of_code(counts: Counter[str]) -> Compiled:
    """The origin of compiled code, from hits and misses of the cache."""
    if not counts:
        return ""
    if not counts["hit"]:
        return "anew"
    return "partly from cache" if counts["miss"] else "from cache"


def first_use_s(step: Step, batch: Batch, device: torch.device) -> tuple[float, float]:
    """Extra seconds of the first pass and the first update over the second ones."""
    clock = TrainingClock(device)
    ends_s = [0.0]
    for _ in range(2):
        for part in (partial(step.backward, *batch), partial(step.update, *batch)):
            with clock.running():
                part()
            ends_s.append(clock.wall_s)
        step.optimizer.zero_grad(set_to_none=True)
    first_pass_s, first_update_s, pass_s, update_s = (b - a for a, b in pairwise(ends_s))
    return max(0.0, first_pass_s - pass_s), max(0.0, first_update_s - update_s)


def first_batch(parts: Parts) -> Batch:
    """A batch of real images with random labels in the pipeline's format."""
    images_BCHW, labels = parts.delivery.first_batch()
    if labels.ndim == 2:
        return images_BCHW, torch.rand_like(labels).softmax(dim=1)
    return images_BCHW, labels[torch.randperm(len(labels), device=labels.device)]


def evaluation_s(parts: Parts, batch: Batch) -> float:
    """Seconds to evaluate a batch of training images; the first time, this compiles the graph."""
    evaluation = parts.test.request
    images_BCHW = padded(batch[0], evaluation.batch_size, evaluation.memory_format)
    clock = TrainingClock(parts.device)
    parts.net.module.eval()
    with clock.running(), evaluation_threads(parts.cell), torch.no_grad(), parts.autocast():
        parts.net.forward(images_BCHW)
    parts.net.module.train()
    return clock.wall_s


def fit(
    draft: RecordBuilder, parts: Parts, ceiling: Ceiling, on_point: Callable[[Point], None]
) -> Trainer:
    """Trains all epochs and returns the trainer; the clock stops for evaluation and logging."""
    clock, machine = TrainingClock(parts.device), MachineMonitor(parts.device)
    with draft.timed("warmup_s"):
        trainer = build_trainer(draft, parts, ceiling.capture, ceiling.batch)
    step, steps = trainer.step, parts.delivery.steps_per_epoch
    if parts.fitting_NHWC is not None:
        with clock.running():
            fit_net(parts)
        draft.timings["fit_s"] = clock.wall_s
    seen = 0
    for epoch in range(parts.cell.epochs):
        before_s = clock.wall_s
        with machine.running(clock):
            step.begin_training()
            loss_sum = trainer.epoch(parts, epoch)
            step.begin_evaluation()
        draft.timings["train_s"] = clock.wall_s
        draft.timings["train_device_s"] = clock.device_s
        draft.energy_j = machine.energy_j()
        parts.delivery.check_epoch(epoch)
        images = parts.delivery.images
        seen += images
        epoch_s = clock.wall_s - before_s
        loss = loss_sum.item() / steps
        scores = evaluate_validation(draft, parts)
        point = Point(
            epoch=epoch + 1,
            images=seen,
            train_s=clock.wall_s,
            train_loss=loss,
            learning_rate=step.schedule.highest((epoch + 1) * steps),
            images_per_s=images / epoch_s,
            step_ms=1000 * epoch_s / steps,
            validation_loss=scores.loss if scores else None,
            validation_accuracy=scores.accuracy if scores else None,
            validation_macro_f1=scores.macro_f1 if scores else None,
        )
        draft.curve.append(point)
        draft.memory = ceiling.memory.peaks()
        on_point(point)
        check_finite(parts.cell, point, "training", loss)
        if scores is not None:  # the only check of the last step's weights
            check_finite(parts.cell, point, "validation", scores.loss)
        with draft.timed("warmup_s"):
            ceiling.measure_during(step, epoch)
    draft.conditions = machine.conditions(clock.wall_s)
    return trainer


def check_finite(cell: Cell, point: Point, kind: str, loss: float | None) -> None:
    """Raises `Diverged` if the loss is NaN or infinite."""
    if loss is None or not math.isfinite(loss):
        peak = recipe_of(cell).lr
        raise Diverged(
            f"the {kind} loss was {loss} in epoch {point.epoch} (peak learning rate {peak:.4g}): "
            f"lower it, as by --set optimizer.lr={peak / 2:.4g}"
        )


def fit_net(parts: Parts) -> None:
    """Fits the part of the net that isn't trained (whitening), if any, to training images."""
    fit_part = architectures.get(parts.cell.architecture).fit
    if fit_part is not None and parts.fitting_NHWC is not None:
        normalise = Normaliser(parts.training, parts.device)
        fit_part(parts.net.module, normalise(parts.fitting_NHWC))


def evaluate_validation(draft: RecordBuilder, parts: Parts) -> Scores | None:
    """Scores on the validation set, if there is one."""
    if parts.validation is None:
        return None
    with draft.timed("evaluate_s"), evaluation_threads(parts.cell):
        predictions = predict_all(parts, parts.validation)
        return quick_scores(predictions.logits_NK, predictions.labels_N)


def evaluate_test(draft: RecordBuilder, parts: Parts, store: Store) -> None:
    """Evaluates the test set once and stores the predictions."""
    cell = parts.cell
    with draft.timed("evaluate_s"), evaluation_threads(cell):
        predictions = predict_all(parts, parts.test)
        logits_NK, labels_N = predictions.logits_NK, predictions.labels_N
        metrics = full_scores(
            logits_NK,
            labels_N,
            parts.classes,
            curve=draft.curve,
            target=cell.target_accuracy,
            compile_s=Timings(**draft.timings).once_s,  # type: ignore[arg-type]
            commonest_share=commonest(parts.validation.request.images)[1]
            if parts.validation
            else None,
        )
        check_finite(cell, draft.curve[-1], "test", metrics.loss)
        draft.metrics = replace(
            metrics,
            eval_views=cell.eval_views,
            one_view_accuracy=quick_scores(predictions.one_view_NK, labels_N).accuracy,
        )
    try:
        store.save_predictions(
            draft.job.run.id,
            labels_N.cpu().numpy(),
            logits_NK.argmax(dim=1).cpu().numpy(),
            positives=positives(logits_NK, labels_N).int().cpu().numpy(),
        )
    except StoreError as error:  # a full disk must not fail a trained run
        print(f"the predictions are not kept, the run continues: {error}", flush=True)


def predict_all(parts: Parts, pipeline: Pipeline) -> Predictions:
    """Predictions for all images of an evaluation pipeline."""
    return predict(parts.net.forward, pipeline, parts.autocast, eval_views=parts.cell.eval_views)
