"""torchvision's v2 transforms on whole device batches: fast, but one draw per batch.

Many scripts do this unknowingly: given a batch, v2 draws once for all images. This augmentation is
weaker, and declared so.
"""

from collections.abc import Iterator

from pipelines.base import Batch, Library, Pipeline, Request, derive_seed, flipped
from pipelines.decoding import DeviceImages, unfit
from pipelines.libraries import require
from pipelines.ops import AlternatingFlip
from pipelines.options import DEVICE_READER_OPTIONS
from pipelines.randomness import RandomStream
from pipelines.torchvision import OPS, TORCHVISION, V2, Alternating, mixing, transforms


class TorchvisionBatchPipeline(Pipeline):
    """Takes a uint8 batch on the device and applies the transforms to it."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, TORCHVISION_BATCH.semantics(request.augmentation))
        require("torchvision", V2)
        self._images = DeviceImages(request)
        self._labels_N = request.images.labels.to(request.device)
        self._mix = mixing(request.augmentation.ops, len(request.images.classes))
        self._transform = transforms(request.augmentation.ops, request.images)
        self._flips = [step for step in self._transform.transforms if isinstance(step, Alternating)]

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        stream = RandomStream(derive_seed(request.seed, "draws", index), request.device)
        flipped_N = flipped(request, index).to(request.device) if self._flips else None
        for index_B, images_BHWC in self._images.batches(self.permutation(index)):
            for flip in self._flips:
                assert flipped_N is not None
                flip.flipped = flipped_N[index_B]
            labels = self._labels_N[index_B]
            with stream.drawing():
                x_BCHW = self._transform(images_BHWC.permute(0, 3, 1, 2))
                if self._mix is not None:
                    x_BCHW, labels = self._mix(x_BCHW, labels)
            x_BCHW = x_BCHW.to(request.dtype).contiguous(memory_format=request.memory_format)
            yield x_BCHW, labels

    def close(self) -> None:
        self._images.close()


TORCHVISION_BATCH = Library(
    name="torchvision_batch",
    why="torchvision's transforms on device batches: no workers, but one draw for a whole batch.",
    build=TorchvisionBatchPipeline,
    ops={**dict.fromkeys(OPS, "per batch"), AlternatingFlip: "per sample"},
    plugin_ops="torchvision",
    plugin_draws="per batch",
    options=DEVICE_READER_OPTIONS,
    problem=TORCHVISION.problem,
    decodes=True,
    unfit=unfit,
    reference="https://github.com/pytorch/vision/issues/8484",
)
