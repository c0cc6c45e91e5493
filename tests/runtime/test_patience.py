"""Waiting for the log."""

from __future__ import annotations

import asyncio

import pytest

from pelton.runtime.log import LogUnavailable
from pelton.runtime.patience import why


async def test_whoever_waited_in_vain_says_so() -> None:
    with pytest.raises(TimeoutError) as late:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    assert why(late.value) == "no answer in time"
    assert why(LogUnavailable("no server")) == "no server"
