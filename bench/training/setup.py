"""Sets up a run: splits the source, builds or reuses the net, builds pipelines and optimizer."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

import architectures
import pipelines
from bench import optimizers
from bench.cell import Cell
from bench.job import RecordBuilder
from bench.machine.gpu import set_up_gpu
from bench.recipe import Recipe
from bench.training.compiling import compiled_net, loss_of
from bench.training.convolutions import FaultyCalls, avoid_faulty_kernels, sliced
from bench.training.delivery import Delivery
from bench.training.freezing import Freezing, trained_parameters
from bench.training.loop import Autocast, Step
from bench.training.lr_schedule import LRSchedule
from bench.training.weight_average import WeightAverage
from pipelines import building
from pipelines.base import Pipeline, derive_seed
from pipelines.sources.base import Images
from pipelines.sources.split import reduced, training_and_validation

REFRESH_BATCHES = 8  # recent training batches, to refresh batch-norm statistics from
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
EVALUATION_BATCH = {"cuda": 1000, "cpu": 250}  # images


@dataclass(frozen=True, kw_only=True)
class Net:
    """A model and the callable that runs it (itself, or compiled)."""

    module: nn.Module
    forward: nn.Module


@dataclass(kw_only=True)
class Shared:
    """State shared by the runs of one worker process: compiled nets and costs of first use.

    Args:
        nets: Compiled nets by `Cell.model_key`.
        first_cost_s: Seconds that the first use of a net, pipeline or update took.
        first_compiled: Hits and misses of the compiler's cache, by the same keys.
    """

    nets: dict[str, Net] = field(default_factory=dict)
    first_cost_s: dict[str, float] = field(default_factory=dict)
    first_compiled: dict[str, Counter[str]] = field(default_factory=dict)
    compiler_started: bool = False

    def start_compiler(self, device: torch.device) -> None:
        """Compiles a trivial function once, so that no net pays for the compiler's start."""
        if not self.compiler_started:
            torch.compile(lambda x: x + 1)(torch.zeros(1, device=device))
            self.compiler_started = True


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything one run trains with.

    Args:
        fitting_NHWC: The first training images, uint8 on the device, if a part of the net is
            fitted to images instead of trained.
    """

    cell: Cell
    seed: int
    device: torch.device
    net: Net
    weights: dict[str, Tensor]
    pipeline: Pipeline
    delivery: Delivery
    training: Images
    fitting_NHWC: Tensor | None
    validation: Pipeline | None
    test: Pipeline
    classes: tuple[str, ...]
    autocast: Autocast

    def close(self) -> None:
        """Closes the pipelines."""
        for pipeline in (self.pipeline, self.validation, self.test):
            if pipeline is not None:
                pipeline.close()


def prepare(draft: RecordBuilder, shared: Shared, device: torch.device) -> Parts:
    """Reads the source, splits it, and builds net and pipelines."""
    run, cell = draft.job.run, draft.job.run.cell
    with draft.timed("load_s"):
        data = pipelines.load(cell.source, draft.job.data_dir, report=partial(print, flush=True))
        fits = architectures.get(cell.architecture).fit is not None
        draft.reads = building.reads(cell.pipeline, data.train)
        training, validation = training_and_validation(
            data.train,
            data.validation,
            protocol=cell.protocol,
            train_images=cell.train_images,
            validation_images=cell.validation_images,
            training_pixels=fits or draft.reads == "array",
        )
    dtype = torch.bfloat16 if cell.precision == "bf16" else torch.float32
    if device.type == "cuda":
        set_up_gpu()
    with draft.timed("build_s"):
        if cell.compile or building.parse(cell.pipeline).mode == "compiled":
            shared.start_compiler(device)
        if isinstance(run.versions.get("architecture"), str):  # a plugin's; the plan ran no code
            check_net(cell, data.train, device)
        net = build_net(cell, run.seed, data.train, device, shared)
        build = partial(pipelines.build, cell.pipeline, device=device, dtype=dtype, seed=run.seed)
        pipeline = build(training, cell.augmentation, batch_size=cell.batch_size)
        evaluation = partial(
            build, augmentation="none", batch_size=EVALUATION_BATCH[device.type], training=False
        )
    fitting_NHWC = None
    if fits:
        fitting_NHWC = training.images[: recipe_of(cell).fit_images].to(device)
    draft.parameters = trained_parameters(net.module)
    if names := sliced(net.module):
        draft.environment["sliced_convolutions"] = f"{names}: a kernel of oneDNN is faulty (#6035)"
    draft.augmentation_draws = dict(pipeline.semantics.draws)
    draft.augmentation_differs = dict(pipeline.semantics.differs)
    test = reduced(data.test, cell.test_images)
    draft.image_counts = {
        "training_images": len(training),
        "validation_images": 0 if validation is None else len(validation),
        "test_images": len(test),
    }
    return Parts(
        cell=cell,
        seed=run.seed,
        device=device,
        net=net,
        weights={name: value.clone() for name, value in net.module.state_dict().items()},
        pipeline=pipeline,
        delivery=Delivery(
            pipeline,
            cell.pipeline,
            training,
            batch_size=cell.batch_size,
            device=device,
            dtype=dtype,
        ),
        training=training,
        fitting_NHWC=fitting_NHWC,
        validation=None if validation is None else evaluation(validation),
        test=evaluation(test),
        classes=data.train.classes,
        autocast=partial(
            torch.autocast, device.type, dtype=torch.bfloat16, enabled=cell.precision == "bf16"
        ),
    )


def check_net(cell: Cell, images: Images, device: torch.device) -> None:
    """Raises `Unfit` if a cell's net can't take the images, or its outputs aren't logits."""
    with FaultyCalls(device) as faulty:
        problem = architectures.problem(
            cell.architecture,
            classes=len(images.classes),
            image_size=images.image_size[0],
            channels=images.images.shape[3],
            width=cell.width,
            batch_size=cell.batch_size,
            device=device.type,
            prepare=faulty.prepare,
        )
    if not problem and faulty.found:
        problem = f"{cell.architecture} cannot be trained here: {faulty.found}"
    if problem:
        raise architectures.Unfit(problem)


def build_net(cell: Cell, seed: int, images: Images, device: torch.device, shared: Shared) -> Net:
    """A net with fresh weights from the seed; a compiled one is reused with new weights."""
    torch.manual_seed(derive_seed(seed, "weights"))
    module = architectures.build(
        cell.architecture,
        classes=len(images.classes),
        image_size=images.image_size[0],
        channels=images.images.shape[3],
        width=cell.width,
    ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe_of(cell).weights == "bf16":
        convert_to_bf16(module)
    avoid_faulty_kernels(module, device)
    if not cell.compile:
        return Net(module=module, forward=module)
    key = f"{cell.model_key} with {recipe_of(cell).weights} weights"
    if key in shared.nets:
        net = shared.nets[key]
        net.module.load_state_dict(module.state_dict())
        return net
    net = Net(module=module, forward=compiled_net(module, cell))
    shared.nets[key] = net
    return net


def convert_to_bf16(net: nn.Module) -> None:
    """Converts the weights to bfloat16, in place, except for those of norms."""
    for module in net.modules():
        if not isinstance(module, NORMS):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(torch.bfloat16)


def recipe_of(cell: Cell) -> Recipe:
    """The cell's own recipe, or its optimizer's default."""
    return cell.recipe or optimizers.catalog.get(cell.optimizer).default_recipe(cell.batch_size)


def fresh_step(parts: Parts) -> Step:
    """A training step with the initial weights and a new optimizer; seeds the training."""
    cell, module = parts.cell, parts.net.module
    entry, recipe = optimizers.catalog.get(cell.optimizer), recipe_of(cell)
    reset_net(parts)
    steps = cell.epochs * parts.pipeline.steps_per_epoch
    freezing = Freezing(module, steps)  # first: optimizers check what is trainable
    optimizer = entry.build(module, recipe)
    if compiles_update(cell, optimizer):
        optimizer.compile_step()  # type: ignore[attr-defined]
    if cell.precision == "bf16" and hasattr(optimizer, "orthogonalise_in"):
        optimizer.orthogonalise_in(torch.bfloat16)
    return Step(
        model=parts.net.forward,
        optimizer=optimizer,
        schedule=LRSchedule(optimizer, factors(optimizer, recipe, steps), steps),
        autocast=parts.autocast,
        loss=loss_of(cell),
        label_smoothing=recipe.label_smoothing,
        passes=entry.passes,
        freezing=freezing if freezing.changes else None,
        average=None if recipe.average == "none" else WeightAverage(module, recipe, steps),
        recent=deque(maxlen=REFRESH_BATCHES) if entry.schedule_free else None,
    )


def compiles_update(cell: Cell, optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer's update is compiled too, which Muon supports.

    On a CPU, compiling it for ResNet-18 takes half a minute and saves only 3 ms per step.
    """
    return cell.compile and cell.device == "cuda" and hasattr(optimizer, "compile_step")


def reset_net(parts: Parts) -> None:
    """Puts the initial weights into the net, in place, and seeds the training."""
    parts.net.module.load_state_dict(parts.weights)
    parts.net.module.zero_grad(set_to_none=True)
    torch.manual_seed(derive_seed(parts.seed, "training"))


def factors(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> list[Callable[[int], float]]:
    """Each group's factor on its peak rate by step; "trained_for" shortens its schedule."""

    def scheduled(share: float) -> Callable[[int], float]:
        def factor(step: int) -> float:
            progress = step / steps / share
            return recipe.factor(min(progress, 1.0)) if progress <= 1.0 or share == 1.0 else 0.0

        return factor

    return [scheduled(group.get("trained_for", 1.0)) for group in optimizer.param_groups]
