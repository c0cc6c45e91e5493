"""Bridges killed in the middle of delivery: another goes on, nothing is left out (F1)."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from pelton.adapters.push.keys import new_key
from pelton.adapters.push.sender import TTL
from pelton.events.a2a import TaskState
from pelton.runtime.jetstream import JetStreamLog
from tests.adapters.a2a.test_trouble import process
from tests.adapters.a2a.world import (
    WORLD,
    Rpc,
    artifact,
    message,
    scripted,
    started,
    status,
    until_ready,
)
from tests.adapters.push.receiver import Got, receiving

PIECES = 40


@pytest.mark.accepts("G1")
async def test_what_a_killed_bridge_had_in_hand_is_posted_by_another(
    log: JetStreamLog, nats_url: str, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The first one is killed while it posts, the one that goes on too, then a third ends it."""
    dice = random.Random(7)
    new_key(tmp_path / "push-keys.json", world=WORLD)

    async def slowly(_: Got) -> web.StreamResponse:
        await asyncio.sleep(dice.random() * 0.05)  # the receiver's work
        return web.Response(status=503 if dice.random() < 0.1 else 200)

    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiving())
        script = await stack.enter_async_context(scripted(log))
        receiver.answer = slowly
        running, url = await stack.enter_async_context(process(nats_url, tmp_path))
        await until_ready(url)
        config = {"url": f"{receiver.url}/hook"}
        sent = message(
            configuration={"taskPushNotificationConfig": config, "returnImmediately": True}
        )
        task = (await Rpc(f"{url}/scripted", client).result("SendMessage", **sent))["task"]["id"]
        sequence, command = await script.command()
        work = (started(task), status(task, TaskState.WORKING))
        await script.decide(*work, sequence=sequence, command=command)
        for number in range(PIECES):
            await script.commit(task, artifact(task, f"{number},", append=number > 0))
        await script.commit(task, status(task, TaskState.COMPLETED))
        for enough in (8, 20):
            await receiver.until(enough, within=4 * TTL)
            running.kill()
            await running.wait()
            assert len(receiver.got) < PIECES
            running, _ = await stack.enter_async_context(process(nats_url, tmp_path))
        async with asyncio.timeout(30):
            while not receiver.got or receiver.got[-1].kind != "statusUpdate completed":
                await asyncio.sleep(0.01)
    seen: dict[str, str] = {}
    for got in receiver.got:
        piece = got.json.get("artifactUpdate", {}).get("artifact", {}).get("parts", [{}])[0]
        seen.setdefault(got.headers["webhook-id"], piece.get("text", got.kind))
    assert list(seen.values()) == [
        *("task submitted", "statusUpdate working"),
        *(f"{number}," for number in range(PIECES)),
        "statusUpdate completed",
    ], "in order, without a gap; what came again has the id that it had"
    assert len(receiver.got) - len(seen) <= 2, "at most what each was posting when it was killed"
