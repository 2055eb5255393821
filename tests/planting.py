"""Where faults are planted, and what verification says of them."""

from collections.abc import Callable, Iterator

import pytest

from pipelines import native
from pipelines.verification.checks import TRIED, verify
from pipelines.verification.draws import check_draws
from pipelines.verification.trial import Trial, Wrong
from pipelines.verification.ways import way_of

PIPELINE = "native[eager]"
Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


@pytest.fixture
def fresh_kernels() -> Iterator[None]:
    """No kernel of a fault is kept, and none is used that was made before it."""
    native.kernels.cache_clear()
    yield
    native.kernels.cache_clear()


def problem(op: str) -> str:
    """What verification says; empty where it finds nothing."""
    finding = verify(PIPELINE, op, "cpu")
    assert finding.status in ("ok", "wrong"), finding
    return finding.problem


def problem_of_draws(op: str) -> str:
    """Likewise, of the draws alone."""
    try:
        check_draws(Trial(PIPELINE, TRIED[op], "cpu"), way_of(TRIED[op]))
    except Wrong as wrong:
        return str(wrong)
    return ""
