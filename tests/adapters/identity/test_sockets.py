"""Credentials of WebSockets: where pages put them, and that they are worth as much there."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Subprotocol

from pelton.adapters.a2a import reader
from pelton.adapters.a2a.sockets import BEARER, PROTOCOL
from pelton.adapters.identity.limits import Rate, Rates
from pelton.events.ids import task_id
from pelton.runtime.access import KeyChanges
from pelton.runtime.jetstream import JetStreamLog
from tests.adapters.a2a.world import WORLD
from tests.adapters.identity.people import ACME, KEYS, Town, key, key_id, town


async def opened(place: Town, task: str, *offers: str, **headers: str) -> tuple[int, Any, str]:
    """Open the stream of a task; returns the code it closed with, its first frame, its protocol."""
    url = f"{place.url.replace('http', 'ws')}/echo/tasks/{task}:subscribe"
    wanted = [Subprotocol(each) for each in offers] or None
    async with (
        asyncio.timeout(10),
        connect(url, subprotocols=wanted, additional_headers=headers) as connection,
    ):
        first = json.loads(await connection.recv())
        if "error" not in first:
            return 0, first["data"], connection.subprotocol or ""
        with pytest.raises(ConnectionClosedError) as closed:
            await connection.recv()
        assert closed.value.rcvd
        return closed.value.rcvd.code, first["error"], connection.subprotocol or ""


def bearer(name: str) -> str:
    """Return the subprotocol with somebody's key."""
    return BEARER + key(name)["X-API-Key"]


@pytest.mark.accepts("S1", "S11", "AS-38")
async def test_a_page_says_who_it_is_among_its_subprotocols(place: Town) -> None:
    task = (await place.send("anna", "ask"))["id"]
    with capture_logs() as logged:
        for offers in ((PROTOCOL, bearer("anna")), (bearer("anna"), "other", PROTOCOL)):
            code, event, chosen = await opened(place, task, *offers)
            assert (code, event["task"]["id"], chosen) == (0, task, PROTOCOL)
        code, event, _ = await opened(place, task, **key("anna"))
        assert (code, event["task"]["id"]) == (0, task)
        for offer in (
            "other",
            BEARER,
            f"{BEARER}nonsense",
            f"{bearer('anna')}x",
            bearer("anna").replace(BEARER, "bearer."),
        ):
            code, error, chosen = await opened(place, task, PROTOCOL, offer)
            assert (code, chosen) == (4401, PROTOCOL)
            assert error["details"][0]["reason"] == "AUTH_DENIED"
        for more in ((bearer("anna"), bearer("bert")), (bearer("anna"),)):
            with pytest.raises(InvalidStatus) as refused:  # twice, which of them is meant?
                await opened(place, task, *more, Authorization="Bearer x")
            assert refused.value.response.status_code == 400
    assert key("anna")["X-API-Key"] not in str(logged)


@pytest.mark.accepts("S4", "AS-1")
async def test_what_another_has_opened_is_not_there(place: Town) -> None:
    task = (await place.send("anna", "ask"))["id"]
    nowhere = task_id("nowhere", "x")
    for who in ("bert", "carl", "otto", "robot"):
        there = await opened(place, task, bearer(who))
        code, error, _ = there
        assert (code, error["details"][0]["reason"]) == (4404, "TASK_NOT_FOUND")
        missing = await opened(place, nowhere, bearer(who))
        for each in (there, missing):
            each[1]["details"][0]["metadata"].clear()  # the id of the request
        assert there == missing
    for who in ("anna", "olga", "paul"):
        code, event, _ = await opened(place, task, bearer(who))
        assert (code, event["task"]["id"]) == (0, task)


@pytest.mark.accepts("S24", "AS-37")
async def test_sockets_count_as_what_a_principal_has_open(
    logs: dict[str, JetStreamLog], tmp_path: Path
) -> None:
    rates = Rates(tenant=Rate(1000, 1000), principal=Rate(1000, 1000), open_of_principal=2)
    async with town(logs, tmp_path, KEYS._replace(rates=rates)) as place:
        task = (await place.send("anna", "ask"))["id"]
        url = f"{place.url.replace('http', 'ws')}/echo/tasks/{task}:subscribe"
        async with (
            connect(url, additional_headers=key("anna")),
            connect(url, additional_headers=key("anna")),
        ):
            code, error, _ = await opened(place, task, bearer("anna"))
            assert (code, error["details"][0]["reason"]) == (4429, "RATE_LIMITED")
            assert (await opened(place, task, bearer("olga")))[0] == 0
        async with asyncio.timeout(5):
            while (await opened(place, task, bearer("anna")))[0]:
                await asyncio.sleep(0.02)


@pytest.mark.accepts("S1", "AS-36", "AS-38")
@pytest.mark.parametrize("end", ["expires", "is revoked"])
async def test_a_stream_ends_with_the_credential_that_it_was_opened_with(
    place: Town, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(reader, "HEARTBEAT", 0.1)
    task = (await place.send("anna", "ask"))["id"]
    url = f"{place.url}/echo/tasks/{task}:subscribe"
    socket = connect(url.replace("http", "ws"), additional_headers=key("anna"))
    async with (
        asyncio.timeout(20),
        socket as connection,
        httpx.AsyncClient() as http,
        http.stream("POST", url, headers={"A2A-Version": "1.0", **key("anna")}) as response,
    ):
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith("id: ")
        assert json.loads(await connection.recv())["data"]["task"]["id"] == task
        if end == "is revoked":
            changes = KeyChanges(place.logs[ACME], world=WORLD, tenant=ACME, actor="cli")
            await changes.revoke(key_id("anna"))
        else:
            later = WORLD.now() + timedelta(days=2)

            def now(_: object) -> datetime:
                return later

            monkeypatch.setattr(type(WORLD), "now", now)
        error = json.loads(await connection.recv())["error"]
        with pytest.raises(ConnectionClosedError) as closed:
            await connection.recv()
        *_, last = [line async for line in lines if line.startswith("data: ")]
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    for said in (error, json.loads(last.removeprefix("data: "))["error"]):
        assert said["details"][0]["reason"] == "AUTH_DENIED"
