"""The debugger as a bridge serves it: its files, its API, what is new, and who gets none of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from pelton.adapters.debug import assets
from pelton.adapters.debug.debugger import Debugger
from pelton.adapters.debug.routes import ROUTES
from pelton.events.events import FailureClass
from pelton.runtime.agents import agent
from pelton.runtime.failures import AgentError
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.adapters.a2a import conftest
from tests.adapters.a2a.world import HEADERS, WORLD, executing, message, parsed, served

log = conftest.log
TOKEN = "the-token-of-this-run"
VENDORED = "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"
"""The SHA-256 of `preact/standalone.module.js` in the npm package htm 3.1.1."""
HOSTILE = "</script><img src=x onerror=alert(1)>"


@agent
async def boss(turn: Turn) -> str:
    """Hands on, or asks, or fails."""
    match turn.text:
        case "ask":
            return await turn.ask("Which colour?")
        case "fail":
            raise AgentError("It is broken.", kind=FailureClass.VALIDATION)
        case "note":
            known = await turn.memory.recall("honey")
            refs = [each.ref for each in known.items]
            await turn.memory.commit(f"honey {len(refs)}", scope="global", sources=refs)
            return "noted"
        case _:
            report = await turn.delegate("clerk", turn.text)
            await turn.step("weigh", len, report.text, idempotent=True)
            return report.text


@agent
async def clerk(turn: Turn) -> str:
    """Writes much."""
    return await turn.step("write", lambda text: text + "!" * 60_000, turn.text, idempotent=True)


@dataclass
class Place:
    """A bridge with a debugger, and somebody who may."""

    url: str
    client: httpx.AsyncClient

    async def get(self, name: str, **query: Any) -> Any:
        """Return what is under a path of the API."""
        answer = await self.client.get(f"{self.url}/debug/api/{name}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any) -> httpx.Response:
        """Post to the API."""
        return await self.client.post(f"{self.url}/debug/api/{path}", json=body)

    async def send(self, text: str, context: str) -> dict[str, Any]:
        """Say something to `boss`, and return the task."""
        params = message(text, messageId=f"{context} {text}", contextId=context)
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
        answer = await self.client.post(f"{self.url}/boss", json=body, headers=HEADERS)
        task: dict[str, Any] = answer.json()["result"]["task"]
        return task


@pytest_asyncio.fixture
async def place(log: JetStreamLog, tmp_path: Path) -> AsyncIterator[Place]:
    async with (
        executing(log, boss, clerk),
        served(log, tmp_path, debug=partial(Debugger, token=TOKEN, world=WORLD)) as url,
        httpx.AsyncClient(timeout=20) as client,
    ):
        answer = await client.get(f"{url}/debug", params={"token": TOKEN})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/debug"
        yield Place(url, client)


async def test_a_conversation_is_shown_whole(place: Place) -> None:
    task = await place.send(HOSTILE, "c1")
    [row] = (await place.get("conversations"))["items"]
    assert (row["agent"], row["id"], row["text"]) == ("boss", "c1", HOSTILE)
    both = (await place.get("conversations", handedOn="true"))["items"]
    assert {each["agent"]: each["by"] for each in both} == {"boss": "", "clerk": "boss"}
    view = await place.get("conversations/c1")
    assert [each["state"] for each in view["tasks"]] == ["TASK_STATE_COMPLETED"] * 2
    assert view["tasks"][1]["askedBy"] == task["id"]
    assert view["pending"] == []
    window = await place.get("conversations/c1/entries", outline="true")
    assert len(window["items"]) == len(window["kinds"]) == window["total"] == view["total"]
    some = await place.get("conversations/c1/entries", start=3, count=4)
    assert some["items"] == window["items"][3:7]
    mine = await place.get("conversations/c1/entries", task=task["id"], kinds="ms")
    assert mine["items"] == [
        each for each in window["items"] if each["task"] == task["id"] and each["kind"] in "ms"
    ]
    near = await place.get("conversations/c1/entries", near=window["items"][5]["sequence"])
    assert near["items"][near["at"]]["sequence"] == window["items"][5]["sequence"]
    last = window["items"][-1]
    seen = await place.get(
        "conversations/c1/moment", sequence=last["sequence"], place=last["place"]
    )
    assert seen["entry"] == last
    assert seen["at"] == view["total"] - 1
    assert [each["path"] for each in seen["changes"]] == ["turn"]
    assert seen["state"]["value"]["history"][0]["parts"][0]["text"] == HOSTILE
    nodes = (await place.get("conversations/c1/graph"))["nodes"]
    assert [each["branch"]["tasks"] for each in nodes] == [2, 1]
    early = await place.get("conversations/c1/graph", until=window["items"][0]["sequence"])
    assert early["nodes"] == []


async def test_what_is_large_comes_when_it_is_asked_for(place: Place) -> None:
    await place.send("much", "c1")
    steps = (await place.get("conversations/c1/steps"))["items"]
    [write] = [each for each in steps if each["key"] == "write#1"]
    assert write["size"] > 60_000
    sequence, at = write["end"]
    moment = await place.get("conversations/c1/moment", sequence=sequence, place=at)
    blob = moment["record"]["value"]["blob"]
    piece = await place.get(f"blobs/{blob['sha256']}")
    assert json.loads(piece["text"]) == "much" + "!" * 60_000
    assert not piece["more"]
    answer = await place.client.get(f"{place.url}/debug/api/blobs/{'0' * 64}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "blob-missing")
    inside = {"sequence": sequence, "place": at, "what": "record"}
    deep = await place.get("conversations/c1/inside", path='["blob","member"]', **inside)
    assert deep["value"] == "data"


async def test_people_answer_and_redrive(place: Place) -> None:
    asks = await place.send("ask", "c1")
    fails = await place.send("fail", "c2")
    overview = await place.get("overview")
    assert (overview["inbox"], overview["deadLetters"]) == (1, 1)
    [question] = (await place.get("inbox"))["items"]
    assert question["taskId"] == asks["id"]
    [letter] = (await place.get("dead-letters"))["items"]
    assert letter["taskId"] == fails["id"]
    said = await place.post("answers", {"task": asks["id"], "text": "blue"})
    assert said.json() == {"context": "c1", "task": asks["id"], "decided": True}
    assert (await place.get("inbox"))["items"] == []
    again = (await place.post("redrives", {"task": fails["id"]})).json()
    assert again["decided"]
    assert again["task"] != fails["id"]
    twice = await place.post("redrives", {"task": fails["id"]})
    assert (twice.status_code, twice.json()["error"]["code"]) == (400, "unsupported-operation")


async def test_memories_are_shown_as_of_any_moment_with_their_why(place: Place) -> None:
    await place.send("note", "c1")
    [first] = (await place.get("memories"))["items"]
    assert first["content"] == "honey 0"
    middle = (await place.get("overview"))["end"]
    await place.send("note", "c2")
    items = (await place.get("memories", query="honey", order="newest"))["items"]
    assert [each["content"] for each in items] == ["honey 1", "honey 0"]
    now = await place.get(f"memories/{first['id']}")
    assert [(e["agent"], e["contextId"], e["version"]) for e in now["readers"]] == [
        ("boss", "c2", 1)
    ]
    assert now["why"]["message"]["parts"] == [{"text": "note"}]
    then = await place.get(f"memories/{first['id']}", until=middle)
    assert (then["readers"], len(then["versions"])) == ([], 1)
    before = await place.get(f"memories/{first['id']}", until=1)
    assert (before["versions"], before["why"]) == ([], None)
    second = await place.get(f"memories/{items[0]['id']}")
    assert [each["memoryId"] for each in second["why"]["sources"]] == [first["id"]]
    assert [each["memoryId"] for each in second["why"]["given"]] == [first["id"]]
    touched = (await place.get("conversations/c2/memories"))["items"]
    assert [(e["content"], [t["made"] for t in e["touches"]]) for e in touched] == [
        ("honey 1", [True]),
        ("honey 0", [False]),
    ]
    assert touched[0]["sources"] == [{"memoryId": first["id"], "version": 1}]
    early = await place.get("conversations/c2/memories", until=middle)
    assert (early["items"], early["total"]) == ([], 0)
    answer = await place.client.get(f"{place.url}/debug/api/memories/{'0' * 32}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "memory-not-found")


async def test_without_a_place_for_them_there_are_no_forks(place: Place) -> None:
    task = await place.send("one", "c1")
    made = await place.post("forks/new", {"task": task["id"]})
    assert (made.status_code, made.json()["error"]["code"]) == (400, "unsupported-operation")


@pytest.mark.accepts("AS-32")
async def test_what_is_new_comes_once_from_any_position(place: Place) -> None:
    await place.send("one", "c1")
    end = (await place.get("overview"))["end"]

    async def news(after: int, upto: int, **headers: str) -> list[Any]:
        found: list[Any] = []
        url = f"{place.url}/debug/api/live"
        async with place.client.stream(
            "GET", url, params={"after": after}, headers=headers
        ) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            async with aclosing(parsed(answer.aiter_lines())) as events:
                while not found or found[-1][0] < upto:
                    found.append(await anext(events))
        return found

    past = await news(0, end)
    assert [number for number, _ in past] == sorted({number for number, _ in past})
    assert all(number == each["last"] for number, each in past)
    touched = {tuple(pair) for _, each in past for pair in each["contexts"]}
    assert ("boss", "c1") in touched
    assert len(touched) == 2
    middle = past[0][0] if len(past) > 1 else end - 1
    rest = await news(0, end, **{"Last-Event-ID": str(middle)})
    assert all(number > middle for number, _ in rest)
    answer = await place.client.get(f"{place.url}/debug/api/live", params={"after": end + 1000})
    assert answer.json()["error"]["code"] == "position-not-found"


@pytest.mark.accepts("S20", "S21")
async def test_every_answer_says_what_the_page_may_do(place: Place) -> None:
    paths = ["/debug", "/debug?token=wrong", "/debug/style.css", "/debug/no", "/debug/api/overview"]
    for path in paths:
        answer = await place.client.get(place.url + path)
        policy = dict(
            part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.accepts("S20", "AS-38")
async def test_without_the_cookie_there_is_a_page_that_says_so_and_no_more(place: Place) -> None:
    await place.send("canary", "c1")
    async with httpx.AsyncClient() as stranger:
        for route in ROUTES:
            path = re.sub(r"\{\w+\}", "c1", route.path)
            verb = "GET" if route.body is None else "POST"
            answer = await stranger.request(verb, f"{place.url}/debug/api/{path}", json={})
            assert answer.status_code == 401, path
            assert "canary" not in answer.text
        for path in ("", "/", "?token=", "?token=wrong", "/index.html", "/api/live"):
            answer = await stranger.get(f"{place.url}/debug{path}")
            assert answer.status_code == (404 if path == "/index.html" else 401), path
            assert "set-cookie" not in answer.headers
            assert TOKEN not in answer.text
        assert (await stranger.get(f"{place.url}/debug/style.css")).status_code == 200


@pytest.mark.accepts("S20")
async def test_other_pages_get_nothing_even_with_the_cookie(place: Place) -> None:
    others = [
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Host": "evil.example"}, 421),
    ]
    for headers, status in others:
        answer = await place.client.get(f"{place.url}/debug/api/overview", headers=headers)
        assert answer.status_code == status, headers
    own = {"Origin": place.url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    answer = await place.client.get(f"{place.url}/debug/api/overview", headers=own)
    assert answer.status_code == 200
    form = await place.client.post(f"{place.url}/debug/api/redrives", data={"task": "x"})
    assert form.status_code == 415
    cookies = "; ".join(f"{name}={value}" for name, value in place.client.cookies.items())
    url = f"{place.url.replace('http', 'ws')}/debug/api/live?after=0"
    async with connect(url, additional_headers={"Cookie": cookies}) as socket:
        assert json.loads(await socket.recv())["error"]["code"] == "path-not-found"


async def test_what_changes_something_is_no_get(place: Place) -> None:
    for route in ROUTES:
        path = f"{place.url}/debug/api/" + re.sub(r"\{\w+\}", "c1", route.path)
        wrong = await place.client.request("GET" if route.body else "POST", path, json={})
        assert wrong.status_code == 405, route.path
        bad = await place.client.request("POST" if route.body else "GET", path, params={"x": "1"})
        assert bad.status_code in (400, 415), route.path


async def test_without_a_token_there_is_no_debugger(log: JetStreamLog, tmp_path: Path) -> None:
    async with served(log, tmp_path) as url, httpx.AsyncClient() as client:
        for path in ("/debug", "/debug?token=", "/debug/style.css", "/debug/api/overview"):
            answer = await client.get(url + path)
            assert answer.status_code == 404
            assert "content-security-policy" not in answer.headers


@pytest.mark.accepts("S27")
def test_the_vendored_file_is_what_was_published() -> None:
    found = assets.load()["vendor/htm-preact-standalone.js"]
    assert hashlib.sha256(found.data).hexdigest() == VENDORED
    licence = files("pelton.adapters.debug").joinpath("page/vendor/LICENSE").read_text("utf-8")
    assert "htm 3.1.1" in licence
    assert "Apache License" in licence
    assert "MIT License" in licence


@pytest.mark.accepts("S21")
def test_the_page_makes_no_markup_of_text_and_fetches_nothing_elsewhere() -> None:
    """What the policy would refuse is not even tried."""
    banned = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML"
        r"|\beval\b|new Function|javascript:|https?://(?!www\.w3\.org/2000/svg)"
        r"|<style|<script(?! type=.module)"
    )
    for path, asset in assets.load().items():
        if not path.startswith("vendor/"):
            assert not banned.search(asset.data.decode()), path
