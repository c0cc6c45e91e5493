"""An executor is killed while its agent waits for a model, and another one goes on."""

from __future__ import annotations

import asyncio
import sys

import pytest

from pelton.adapters.gateway.server import Gateway
from pelton.events.events import StepCompleted, StepStarted
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.testing.models import ScriptedModel, say
from tests.adapters.gateway.conftest import asker, environ
from tests.runtime.clients import Client, only, serving

STEPS = ("messages:2 + 2?", "chat:2 + 3?")


@pytest.mark.timeout(120)
async def test_what_has_an_intent_and_no_result_is_asked_again(
    nats_url: str, log: JetStreamLog, model: ScriptedModel
) -> None:
    """The first answer is recorded, and served; the second one was cut off in the middle."""
    model.script(say("four"), say("it is", stall=True), say("five"))
    client = Client(log, "cli")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.adapters.gateway.served", nats_url, model.url, *STEPS),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            while await process.stdout.readline() != b"ready\n":
                assert process.returncode is None
        context, task = await client.send("go")
        asked = await model.until(2)
    finally:
        process.kill()
        await process.wait()
    await asyncio.wait_for(asked.gone.wait(), 5)
    async with (
        Gateway(GatewaySettings(), environ=environ(model.url)) as gateway,
        serving(log, asker(*STEPS), gateway=gateway, patience=1.0),
    ):
        ended = await client.settled(context, task, within=30)
    assert "".join(part.text or "" for part in only(ended).parts).split() == ["four", "five"]
    assert len(model.asked) == 3
    events = await client.events(context)
    begun = [e for e in events if isinstance(e, StepStarted) and e.name == "model"]
    assert [e.attempt for e in begun] == [1, 1, 2]
    assert begun[1].idempotency_key == begun[2].idempotency_key
    done = [e.key for e in events if isinstance(e, StepCompleted) and e.key.startswith("model:")]
    assert done == [begun[0].key, begun[2].key]
