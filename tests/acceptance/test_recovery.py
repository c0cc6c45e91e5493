"""After a kill work goes on by itself, and soon (G10); `make recovery` gives percentiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recovery import BARS, kills


@pytest.mark.slow
@pytest.mark.accepts("G10")
@pytest.mark.timeout(180)
async def test_after_a_kill_work_goes_on_within_seconds(tmp_path: Path) -> None:
    for part, times in (await kills(tmp_path, rounds=2)).items():
        for each in times:
            assert max(each) < BARS[part], f"{part}: {each}"
