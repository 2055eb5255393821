"""A DALI that does not work is unavailable, with the reason in one line."""

from collections.abc import Iterator

import pytest

from pipelines import building
from pipelines.catalog import Unavailable
from pipelines.dali_ops import trial
from tests.pipelines.test_dali import noise


@pytest.fixture
def _untried() -> Iterator[None]:
    trial.fault.cache_clear()
    yield
    trial.fault.cache_clear()


@pytest.mark.usefixtures("_untried")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("libcudart.so.12: cannot open shared object file"), "cannot be imported"),
        (OSError("libnvimgcodec: wrong ELF class"), "cannot be imported"),
        (RuntimeError("no kernel image is available\nstack"), "fails when it is first used"),
    ],
)
@pytest.mark.parametrize("pipeline", ["dali", "dali[dynamic]"])
def test_a_dali_that_does_not_work_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str, pipeline: str
) -> None:
    def refuse(name: str) -> None:
        raise error

    monkeypatch.setattr(trial, "import_module", refuse)
    with pytest.raises(Unavailable) as caught:
        building.build(pipeline, noise(), "none", batch_size=4)
    assert reason in str(caught.value)
    assert str(error).splitlines()[0] in str(caught.value)
    assert "\n" not in str(caught.value)
