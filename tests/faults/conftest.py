"""What the tests of faults share."""

from collections.abc import Iterator

import pytest

from tests.faults.made import Zygote, make_copy


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Starts commands, among them nets that are trouble."""
    made = Zygote(make_copy(tmp_path_factory.mktemp("copy")))
    yield made
    made.end()
