"""What the exceptions of providers' clients say of a failure."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
import httpx
import pytest

from pelton.adapters.frameworks.providers import provider_error
from pelton.events.events import FailureClass
from pelton.testing.models import Play, ScriptedModel, fail, say

ASKED: Final = {"model": "m", "messages": [{"role": "user", "content": "count"}], "stream": True}


async def by_aiohttp(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(url, json=ASKED) as response:
        response.raise_for_status()
        await response.read()


async def by_httpx(url: str) -> None:
    async with httpx.AsyncClient() as client:
        (await client.post(url, json=ASKED)).raise_for_status()


@pytest.mark.accepts("AS-60")
@pytest.mark.parametrize("ask", [by_aiohttp, by_httpx])
@pytest.mark.parametrize(
    ("play", "kind", "says"),
    [
        (say("one two three", cut=2), FailureClass.PROVIDER, "has broken off"),
        (fail(401), FailureClass.AUTHORISATION, "has answered 401"),
    ],
)
async def test_a_client_says_what_came(ask: Any, play: Play, kind: FailureClass, says: str) -> None:
    """Of an answer that breaks off aiohttp says 400, as servers call what they cannot read."""
    async with asyncio.timeout(10), ScriptedModel([play]) as model:
        with pytest.raises((aiohttp.ClientError, httpx.HTTPError)) as raised:
            await ask(f"{model.url}/v1/chat/completions")
    found = provider_error(raised.value)
    assert found is not None
    assert found.kind is kind
    assert says in str(found)
