"""Short runs reach their low target although they are no better than the commonest class."""

import pytest

from bench.training import run as running


@pytest.fixture(autouse=True)
def any_target_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "commonest", lambda images: ("", 0.0))
