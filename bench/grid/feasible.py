"""Whether runs can be trained on the images of a source, found out before a worker starts."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

import architectures
from bench.cell import Cell, Run
from bench.process import Forked, ForkLost
from bench.text import count
from pipelines import augmentations, building
from pipelines.sources.base import Data, Images, SourceError
from pipelines.sources.split import commonest, training_and_validation

Net = tuple[str, float, int]


@dataclass(frozen=True)
class Feasibility:
    """Checks runs against the images of a source; remembers what it found.

    Args:
        work: Work per image of each net that works: architecture, width and batch size.
    """

    data: Data
    work: dict[Net, float] = field(default_factory=dict)
    _problems: dict[Net, str] = field(default_factory=dict)
    _unfit: dict[tuple[Any, ...], str] = field(default_factory=dict)
    _splits: dict[tuple[Any, ...], tuple[Images, Images | None]] = field(default_factory=dict)

    def problem(self, run: Run) -> str:
        """Why a run can't be trained on these images; "" if nothing is known against it."""
        cell = run.cell
        try:
            training, _ = self.split(cell)
        except SourceError as error:
            return str(error)
        images = len(training)
        if images < cell.batch_size:
            advice = f": add --set batch_size={images}" if images else ""
            return (
                f"{cell.source} has {count(images, 'training image')} after the split, fewer than "
                f"a batch of {cell.batch_size}{advice}"
            )
        batches = cell.pipeline, cell.augmentation, cell.batch_size, split_of(cell)
        if batches not in self._unfit:
            policy = augmentations.catalog.get(cell.augmentation)
            variant = building.parse(cell.pipeline)
            self._unfit[batches] = building.unfit(variant, policy, training, cell.batch_size)
        if reason := self._unfit[batches]:
            return reason
        net = net_of(cell)
        if net not in self._problems:
            from_plugin = isinstance(run.versions.get("architecture"), str)
            try:
                self._problems[net], work = self._trial((cell, from_plugin))
            except ForkLost as error:
                self._problems[net], work = f"{cell.architecture} cannot be tried: {error}", None
            if work is not None:
                self.work[net] = work
        return self._problems[net]

    def work_of(self, runs: Iterable[Run]) -> dict[str, float]:
        """Work of runs relative to each other, by id; without those with plugins."""
        known = [run for run in runs if not run.plugins and not self.problem(run)]
        return {
            run.id: self.work[net] * run.cell.epochs * (run.cell.train_images or 1)
            for run in known
            if (net := net_of(run.cell)) in self.work
        }

    def warnings(self, runs: Iterable[Run]) -> list[str]:
        """Sentences about targets that say nothing, each once."""
        cells = dict.fromkeys(run.cell for run in runs if run.cell.holds_out)
        return list(filter(None, dict.fromkeys(map(self.target_problem, cells))))

    def split(self, cell: Cell) -> tuple[Images, Images | None]:
        """A cell's training and validation sets, without memory for the images."""
        key = split_of(cell)
        if key not in self._splits:
            self._splits[key] = training_and_validation(
                self._light.train,
                self._light.validation,
                protocol=cell.protocol,
                train_images=cell.train_images,
                validation_images=cell.validation_images,
            )
        return self._splits[key]

    def target_problem(self, cell: Cell) -> str:
        """Why reaching a cell's target means nothing; "" if it means something."""
        _, validation = self.split(cell)
        name, share = commonest(validation) if validation else ("", 0.0)
        if cell.target_accuracy > share:
            return ""
        return (
            f"The target of {cell.target_accuracy:.1%} is no more than the {share:.1%} of "
            f"validation images that are {name!r}: a net that always answers {name!r} reaches it, "
            "so no time to accuracy is given. Choose a higher --target."
        )

    @cached_property
    def _light(self) -> Data:
        own = self.data.validation
        validation = None if own is None else _light(own)
        return replace(self.data, train=_light(self.data.train), validation=validation)

    @cached_property
    def _trial(self) -> Forked[tuple[Cell, bool], tuple[str, float | None]]:
        return Forked(self._try)

    def close(self) -> None:
        """Ends the process that tries nets; it is started again when it is needed."""
        self._trial.close()

    def _try(self, net: tuple[Cell, bool]) -> tuple[str, float | None]:
        """Runs a cell's net once, without memory: the problem or "", and its work.

        A plugin's net that needs memory or a GPU is left to the worker, which tries it there.
        """
        from bench.machine.roofline import count_work  # imports torch's counter, which is slow

        cell, from_plugin = net
        images = self.data.train
        shape: dict[str, Any] = {
            "classes": len(images.classes),
            "image_size": images.image_size[0],
            "channels": images.images.shape[3],
            "width": cell.width,
        }
        try:
            work = count_work(cell.architecture, **shape, images=cell.batch_size)
        except architectures.Unfit as error:
            return str(error), None
        except Exception:  # noqa: BLE001 - a net raises anything; some can't be counted
            if from_plugin:
                return "", None
            problem = architectures.problem(cell.architecture, **shape, batch_size=cell.batch_size)
            return problem, None
        return "", work.equivalent_flops(cell.precision)


def net_of(cell: Cell) -> Net:
    """What distinguishes the nets of a source's cells."""
    return cell.architecture, cell.width, cell.batch_size


def split_of(cell: Cell) -> tuple[Any, ...]:
    """What distinguishes the training and validation sets of a source's cells."""
    return cell.protocol, cell.train_images, cell.validation_images


def _light(images: Images) -> Images:
    pixels = torch.empty(images.images.shape, dtype=torch.uint8, device="meta")
    return replace(images, images=pixels)
