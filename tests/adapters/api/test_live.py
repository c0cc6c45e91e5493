"""The log as it grows: for whom it is, from where on, and without loss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from tests.adapters.a2a.world import HEADERS, parsed
from tests.adapters.identity import conftest
from tests.adapters.identity.people import ACME, GLOBEX, PEOPLE, Town, key

logs = conftest.logs
place = conftest.place


@asynccontextmanager
async def lines(
    place: Town, who: str, query: str = "", **headers: str
) -> AsyncGenerator[AsyncGenerator[tuple[int, Any]]]:
    """Follow the log by server-sent events."""
    whole = HEADERS | key(who) | headers
    async with (
        asyncio.timeout(10),
        place.client.stream("GET", f"{place.url}/v1/live{query}", headers=whole) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        async with aclosing(parsed(answer.aiter_lines())) as events:
            yield events


async def frames(place: Town, who: str, last: int, position: str = "0") -> list[tuple[int, Any]]:
    """Follow the log by a WebSocket up to a record."""
    url = f"{place.url.replace('http', 'ws')}/v1/live?Last-Event-ID={position}"
    found: list[tuple[int, Any]] = []
    async with asyncio.timeout(10), connect(url, additional_headers=key(who)) as connection:
        while not found or found[-1][0] < last:
            frame = json.loads(await connection.recv())
            found.append((frame["id"], frame["data"]))
    return found


async def listed(place: Town, who: str) -> Mapping[int, Any]:
    """Return the records that the API lists."""
    answer = (await place.ask("GET", "/v1/events?pageSize=100", who)).json()
    assert not answer["nextPageToken"]
    return {each["sequence"]: each for each in answer["items"]}


@pytest.mark.accepts("AS-32")
async def test_all_records_come_once_and_in_order(place: Town) -> None:
    await place.send("anna", "before")
    last = (await place.logs[ACME].extent()).last
    async with lines(place, "olga") as now, lines(place, "olga", **{"Last-Event-ID": "0"}) as all_:
        await place.send("bert", "after")
        records = await listed(place, "olga")
        past = [await anext(all_) for _ in records]
        new = [await anext(now) for _ in range(len(records) - last)]
    assert dict(past) == records
    assert [number for number, _ in past] == sorted(records)
    assert new == past[last:]
    end = max(records)
    assert await frames(place, "olga", end) == past
    assert await frames(place, "olga", end, str(last)) == new


async def test_only_of_one_agent(place: Town) -> None:
    await place.send("anna")
    async with lines(place, "olga", "?agent=echo", **{"Last-Event-ID": "0"}) as of_echo:
        for _ in range(3):
            _, event = await anext(of_echo)
            assert event["subject"].split(".")[1] == "echo"


@pytest.mark.accepts("S4", "AS-1", "AS-28", "AS-39")
async def test_it_is_for_operators_of_the_tenant(place: Town) -> None:
    """And for nobody else, by server-sent events and by a WebSocket alike."""
    await place.send("anna", "canary of acme")
    url = f"{place.url.replace('http', 'ws')}/v1/live?Last-Event-ID=0"
    for who, (tenant, roles) in [*PEOPLE.items(), ("", ("", ()))]:
        if "operator" in roles:
            continue
        answer = await place.ask("GET", "/v1/live", who)
        code = "policy-denied" if who else "auth-denied"
        assert answer.json()["error"]["code"] == code
        async with connect(url, additional_headers=key(who) if who else {}) as connection:
            assert json.loads(await connection.recv()) == answer.json()
            with pytest.raises(ConnectionClosedError) as closed:
                await connection.recv()
            assert closed.value.rcvd
            assert closed.value.rcvd.code == 4000 + answer.status_code, tenant
    theirs = await frames(place, "otto", (await place.logs[GLOBEX].extent()).last)
    assert "canary" not in json.dumps(theirs)


@pytest.mark.accepts("AS-28", "AS-42")
async def test_what_is_wrong_is_refused(place: Town) -> None:
    for query, position, code in (
        ("?nonsense=1", "", "validation-denied"),
        ("?agent=*", "", "validation-denied"),
        ("?agent=echo&agent=echo", "", "validation-denied"),
        ("", "99999", "position-not-found"),
        ("", "-1", "position-not-found"),
        ("", "9" * 16, "position-not-found"),
        ("", "x", "position-not-found"),
        ("", "1-0123456789abcdef", "position-not-found"),
    ):
        headers = {"Last-Event-ID": position} if position else {}
        answer = await place.ask("GET", f"/v1/live{query}", "olga", headers=headers)
        assert answer.status_code == 400, query
        assert answer.json()["error"]["code"] == code
    for verb in ("POST", "HEAD", "DELETE"):
        assert (await place.ask(verb, "/v1/live", "olga")).status_code == 405


async def test_who_leaves_leaves_nothing(place: Town) -> None:
    before = len(asyncio.all_tasks())
    async with lines(place, "olga"):
        assert len(asyncio.all_tasks()) > before
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.02)
