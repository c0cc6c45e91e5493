"""Commands that run in this process: they leave its logging as it is."""

from __future__ import annotations

import pytest


def _stay(**_: object) -> None:
    """Leave logging as it is."""


@pytest.fixture(autouse=True)
def unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep commands from sending what is logged where their process would: all tests log here."""
    monkeypatch.setattr("pelton.adapters.logging.set_up", _stay)
