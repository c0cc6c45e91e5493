"""The worlds in which the contract is proved."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.worlds import Drive, drive_jetstream, drive_simulated


@pytest.fixture(params=["simulated", "jetstream"])
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Drive:
    """Return what runs a test in the world that the parameter names."""
    return drive_simulated if request.param == "simulated" else drive_jetstream(tmp_path / "nats")
