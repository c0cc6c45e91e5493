"""What waits for what: for the log, for a client that goes, for a provider that says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from pelton.adapters.gateway import upstream
from pelton.adapters.gateway.server import Gateway
from pelton.events.events import FailureClass, StepCompleted, StepFailed, StepStarted
from pelton.runtime.agents import Agent, agent
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.model_gateway import ModelRoute
from pelton.runtime.turn import Turn
from pelton.testing.models import ScriptedModel, say
from tests.adapters.gateway.conftest import environ
from tests.runtime.clients import Client, serving

BODY: Any = {
    "model": "scripted",
    "stream": True,
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "How many are two and two? " * 40}],
}
END = b"message_stop"


def prober(asking: Callable[[ModelRoute, aiohttp.ClientSession], Awaitable[None]]) -> Agent:
    """Return an agent that asks as a program of its own would, in one step."""

    async def running(turn: Turn) -> None:
        assert turn.models is not None
        async with turn.models.route() as route, aiohttp.ClientSession() as client:
            await asking(route, client)

    @agent(name="prober")
    async def made(turn: Turn) -> str:
        await turn.step("run", running, turn)
        return "done"

    return made


def asked(route: ModelRoute, client: aiohttp.ClientSession) -> Any:
    return client.post(f"{route.url('anthropic')}/v1/messages", json=BODY)


@asynccontextmanager
async def served(log: JetStreamLog, url: str, agent: Agent) -> AsyncGenerator[Client]:
    async with (
        Gateway(GatewaySettings(), environ=environ(url)) as gateway,
        serving(log, agent, gateway=gateway),
    ):
        yield Client(log, "prober")


async def events(log: JetStreamLog, url: str, agent: Agent) -> list[Any]:
    """Have an agent do a task; return what has happened to its calls of models."""
    async with served(log, url, agent) as client:
        context, task = await client.send("go")
        await client.settled(context, task, within=20)
        found = await client.events(context)
    kinds = (StepStarted, StepCompleted, StepFailed)
    return [each for each in found if isinstance(each, kinds) and each.key.startswith("model:")]


class Held:
    """Holds appends back that have something to say of a call of a model."""

    def __init__(self, log: JetStreamLog, what: bytes) -> None:
        self._append, self._what = log.append, what
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def append(self, subject: str, data: bytes, **more: Any) -> int:
        if self._what in data and b'"model:' in data:
            self.reached.set()
            await self.go.wait()
        return await self._append(subject, data, **more)


async def test_nobody_is_asked_before_that_is_stored_and_what_is_asked_is_kept_meanwhile(
    log: JetStreamLog, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, kept = Held(log, b'"StepStarted.'), asyncio.Event()
    put = log.put_blob

    async def putting(data: bytes) -> str:
        found = await put(data)
        kept.set()
        return found

    async def asking(route: ModelRoute, client: aiohttp.ClientSession) -> None:
        asking = asyncio.create_task(whole(route, client))
        await held.reached.wait()
        await kept.wait()
        assert not model.asked
        held.go.set()
        assert END in await asking

    async def whole(route: ModelRoute, client: aiohttp.ClientSession) -> bytes:
        async with asked(route, client) as response:
            found: bytes = await response.read()
            return found

    monkeypatch.setattr(log, "append", held.append)
    monkeypatch.setattr(log, "put_blob", putting)
    model.script(say("four"))
    found = await events(log, model.url, prober(asking))
    assert [type(each) for each in found] == [StepStarted, StepCompleted]


async def test_the_end_of_an_answer_is_had_once_it_is_stored(
    log: JetStreamLog, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(log, b'"StepCompleted.')
    before, after = b"", b""

    async def asking(route: ModelRoute, client: aiohttp.ClientSession) -> None:
        nonlocal before, after
        async with asked(route, client) as response:
            reading = asyncio.create_task(response.content.readuntil(b"message_delta"))
            await held.reached.wait()
            before = await reading
            rest = asyncio.create_task(response.content.read())
            held.go.set()
            after = await rest

    monkeypatch.setattr(log, "append", held.append)
    model.script(say("four"))
    await events(log, model.url, prober(asking))
    assert b"four" in before
    assert END not in before
    assert END in after


async def test_a_client_that_goes_in_the_middle_breaks_the_call_off(
    log: JetStreamLog, model: ScriptedModel
) -> None:
    """The provider goes on for nobody; the same question is a call of its own afterwards."""

    async def asking(route: ModelRoute, client: aiohttp.ClientSession) -> None:
        async with asked(route, client) as response:
            await response.content.readuntil(b"four")
            response.close()
        async with asyncio.timeout(5):
            await model.asked[0].gone.wait()
        async with asked(route, client) as response:
            assert END in await response.read()

    model.script(say("four and", stall=True), say("four"))
    found = await events(log, model.url, prober(asking))
    assert [type(each) for each in found] == [StepStarted, StepStarted, StepCompleted]
    assert len({each.key for each in found}) == 2


@pytest.mark.parametrize("text", ["", "four and"])
async def test_a_provider_that_says_nothing_any_more_is_left(
    log: JetStreamLog, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Before its answer, or in the middle of it, where the client must not take it for whole."""
    monkeypatch.setattr(upstream, "SILENCE", 0.3)

    async def asking(route: ModelRoute, client: aiohttp.ClientSession) -> None:
        async with asked(route, client) as response:
            if not text:
                assert response.status == 504
                return
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()

    model.script(say(text, stall=True))
    found = await events(log, model.url, prober(asking))
    assert [type(each) for each in found] == [StepStarted, StepFailed]
    assert found[1].failure.kind is FailureClass.TIMEOUT
    async with asyncio.timeout(5):
        await model.asked[0].gone.wait()
