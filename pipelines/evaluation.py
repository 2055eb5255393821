"""The evaluation path that all pipelines share: normalisation only."""

from collections.abc import Iterator

from pipelines.base import Batch, Normaliser, Pipeline, Request, Semantics


class EvaluationPipeline(Pipeline):
    """Every image once, in the source's order; the last batch may be smaller."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, Semantics(draws={}))
        self.steps_per_epoch = -(-len(request.images) // request.batch_size)
        self.images_NHWC = request.images.images.to(request.device)
        self.labels_N = request.images.labels.to(request.device)
        self._normalise = Normaliser(request.images, request.device)

    def epoch(self, index: int) -> Iterator[Batch]:
        request = self.request
        for start in range(0, len(request.images), request.batch_size):
            images_BHWC = self.images_NHWC[start : start + request.batch_size]
            x_BCHW = self._normalise(images_BHWC, request.dtype, request.memory_format)
            yield x_BCHW, self.labels_N[start : start + request.batch_size]
