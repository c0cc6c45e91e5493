"""What a card declares works, and what it does not declare is refused; and what others leave out.

The second half are the gaps of the official SDK's server, measured on its version 1.3.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from a2a.types import a2a_pb2 as pb
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from grpc import aio

from pelton.adapters.a2a.extensions import OWN
from pelton.events.card import AgentExtension, AgentSkill
from pelton.runtime.agents import Agent, agent
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.a2a import validate
from tests.adapters.a2a.world import HEADERS, Rpc, executing, message, served

MORE = AgentSkill(id="more", name="More", description="Does more.", tags=("more",))
NEEDED = AgentExtension(uri="urn:needed", description="It is needed.", required=True)
KNOWN = AgentExtension(uri="urn:known", params={"x": 1})


async def ask(turn: Turn) -> None:
    """Ask until it is told that it is done."""
    if not turn.text.startswith("done"):
        await turn.require_input("What else?")


def asker(**members: Any) -> Agent:
    return agent(name="asker", **members)(ask)


@asynccontextmanager
async def serving(
    log: JetStreamLog, data: Path, agent: Agent, **options: Any
) -> AsyncGenerator[tuple[Rpc, dict[str, Any]]]:
    """Serve an agent; gives a client of its JSON-RPC, and its card."""
    async with (
        executing(log, agent),
        served(log, data, **options) as url,
        httpx.AsyncClient(timeout=10) as client,
    ):
        rpc = Rpc(f"{url}/{agent.name}", client)
        card = (await client.get(f"{rpc.url}/.well-known/agent-card.json")).json()
        validate("Agent Card", card)
        yield rpc, card


@pytest.mark.accepts("AS-27")
async def test_an_agent_that_does_not_stream_says_so(log: JetStreamLog, tmp_path: Path) -> None:
    async with serving(log, tmp_path, asker(streaming=False), grpc=True) as (rpc, card):
        assert card["capabilities"]["streaming"] is False
        # Whatever the parameters are: what is not declared is refused before they are looked at.
        for method in ("SendStreamingMessage", "SubscribeToTask"):
            for params in ({}, message()):
                refused = await rpc.error(method, **params)
                assert refused == (-32004, "UNSUPPORTED_OPERATION")
        for verb, path in (("POST", "message:stream"), ("GET", "tasks/x:subscribe")):
            answer = await rpc.client.request(verb, f"{rpc.url}/{path}", headers=HEADERS)
            assert answer.json()["error"]["details"][0]["reason"] == "UNSUPPORTED_OPERATION"
        async with aio.insecure_channel(card["supportedInterfaces"][2]["url"]) as channel:
            stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
            asked = stub.SubscribeToTask(
                pb.SubscribeToTaskRequest(id="x"), metadata=(("a2a-version", "1.0"),)
            )
            with pytest.raises(aio.AioRpcError) as raised:
                await asked.read()
            assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        result = await rpc.result("SendMessage", **message("done"))
        assert result["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


@pytest.mark.accepts("AS-27")
async def test_an_extended_card_shows_more(log: JetStreamLog, tmp_path: Path) -> None:
    async with serving(log, tmp_path, asker(extended_skills=(MORE,)), grpc=True) as (rpc, card):
        assert card["capabilities"]["extendedAgentCard"] is True
        assert "more" not in {skill["id"] for skill in card["skills"]}
        extended = await rpc.result("GetExtendedAgentCard")
        validate("Agent Card", extended)
        assert {skill["id"] for skill in extended["skills"]} == {"asker", "more"}
        assert {**extended, "skills": card["skills"]} == card
        for path in ("extendedAgentCard", "acme/extendedAgentCard"):
            answer = await rpc.client.get(f"{rpc.url}/{path}", headers=HEADERS)
            assert answer.json() == extended
        async with aio.insecure_channel(card["supportedInterfaces"][2]["url"]) as channel:
            stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
            over = await stub.GetExtendedAgentCard(
                pb.GetExtendedAgentCardRequest(), metadata=(("a2a-version", "1.0"),)
            )
            assert [skill.id for skill in over.skills] == ["asker", "more"]
            assert over.capabilities.extended_agent_card
        body = {"jsonrpc": "2.0", "id": 1, "method": "GetExtendedAgentCard"}  # without params
        answer = await rpc.client.post(rpc.url, json=body, headers=HEADERS)
        assert answer.json()["result"] == extended


@pytest.mark.accepts("AS-27")
@pytest.mark.parametrize(
    ("skills", "code", "reason"),
    [
        (None, -32004, "UNSUPPORTED_OPERATION"),
        ((), -32007, "EXTENDED_AGENT_CARD_NOT_CONFIGURED"),
    ],
)
async def test_an_extended_card_that_there_is_not(
    log: JetStreamLog, tmp_path: Path, skills: Any, code: int, reason: str
) -> None:
    async with serving(log, tmp_path, asker(extended_skills=skills)) as (rpc, card):
        assert card["capabilities"]["extendedAgentCard"] is (skills is not None)
        assert await rpc.error("GetExtendedAgentCard") == (code, reason)
        answer = await rpc.client.get(f"{rpc.url}/extendedAgentCard", headers=HEADERS)
        assert answer.status_code == 400
        assert answer.json()["error"]["details"][0]["reason"] == reason


@pytest.mark.accepts("AS-27")
async def test_what_is_required_must_be_asked_for(log: JetStreamLog, tmp_path: Path) -> None:
    async with serving(log, tmp_path, asker(extensions=(NEEDED, KNOWN))) as (rpc, card):
        declared = card["capabilities"]["extensions"]
        assert [each["uri"] for each in declared] == [
            *("urn:needed", "urn:known"),
            *(each.uri for each in OWN),
        ]
        assert declared[0]["required"] is True
        assert declared[1] == {"uri": "urn:known", "params": {"x": 1}}
        for method in ("SendMessage", "SendStreamingMessage", "GetTask", "ListTasks"):
            for asked in ("", "urn:other", "urn:needed/v2", "urn:known"):
                rpc.client.headers["A2A-Extensions"] = asked
                refused = await rpc.error(method, **message())
                assert refused == (-32008, "EXTENSION_SUPPORT_REQUIRED")
        rpc.client.headers["A2A-Extensions"] = "urn:x , urn:needed,urn:known"
        answer = await rpc.client.post(f"{rpc.url}/message:send", json=message(), headers=HEADERS)
        assert answer.status_code == 200
        assert answer.headers["a2a-extensions"] == "urn:needed, urn:known"
        del rpc.client.headers["A2A-Extensions"]
        several = [*HEADERS.items(), ("A2A-Extensions", "urn:x"), ("A2A-Extensions", "urn:needed")]
        answer = await rpc.client.get(f"{rpc.url}/tasks", headers=several)
        assert answer.status_code == 200


# Gaps of the official SDK's server (a2a-sdk 1.3.0), which are none here


async def test_follow_ups_need_no_context(log: JetStreamLog, tmp_path: Path) -> None:
    """There, the second one fails: "Context in event doesn't match TaskManager"."""
    async with serving(log, tmp_path, asker()) as (rpc, _):
        first = (await rpc.result("SendMessage", **message("a")))["task"]
        for text in ("b", "c", "d"):
            again = await rpc.result("SendMessage", **message(text, taskId=first["id"]))
            assert again["task"]["contextId"] == first["contextId"]
            assert again["task"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
        last = await rpc.result("SendMessage", **message("done", taskId=first["id"]))
        assert last["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_a_message_id_that_was_seen_is_a_message_all_the_same(
    log: JetStreamLog, tmp_path: Path
) -> None:
    """There, a message with an id that the history has is dropped from it."""
    async with serving(log, tmp_path, asker()) as (rpc, _):
        first = (await rpc.result("SendMessage", **message("a", messageId="same")))["task"]
        second = message("b", messageId="same", taskId=first["id"])
        task = (await rpc.result("SendMessage", **second))["task"]
        said = [each["parts"][0]["text"] for each in task["history"] if each["role"] == "ROLE_USER"]
        assert said == ["a", "b"]
        another = (await rpc.result("SendMessage", **message("c", messageId="same")))["task"]
        assert another["id"] != first["id"]


@pytest.mark.parametrize("version", ["1.7", "1.", "1", "10.0", "01.0", "1.0.x", "\u0661.\u0660"])
async def test_another_minor_version_is_another_version(
    log: JetStreamLog, tmp_path: Path, version: str
) -> None:
    """There, only the first number counts over HTTP, and none over gRPC (see `test_grpc`)."""
    async with serving(log, tmp_path, asker()) as (rpc, _):
        headers: Any = {"A2A-Version": version.encode()}
        answer = await rpc.client.get(f"{rpc.url}/tasks", headers=headers)
        assert answer.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"
        answer = await rpc.client.get(f"{rpc.url}/tasks", params={"A2A-Version": version})
        assert answer.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"


@pytest.mark.parametrize("state", ["working", "TASK_STATE_NOPE", "7", "*"])
async def test_an_unknown_filter_is_an_error(log: JetStreamLog, tmp_path: Path, state: str) -> None:
    """There, it silently means no filter."""
    async with serving(log, tmp_path, asker()) as (rpc, _):
        assert await rpc.error("ListTasks", status=state) == (-32602, "INVALID_PARAMS")
        answer = await rpc.client.get(f"{rpc.url}/tasks", params={"status": state}, headers=HEADERS)
        assert answer.json()["error"]["details"][0]["reason"] == "INVALID_PARAMS"


@pytest.mark.accepts("AS-29")
async def test_every_path_is_there_with_a_tenant_too(log: JetStreamLog, tmp_path: Path) -> None:
    """There, a path prefix makes them all 404. Both verbs subscribe, here and there."""
    async with serving(log, tmp_path, asker(extended_skills=(MORE,))) as (rpc, _):
        base = f"{rpc.url}/acme%2Feast"
        sent = message("a") | {"tenant": "acme/east"}
        answer = await rpc.client.post(f"{base}/message:send", json=sent, headers=HEADERS)
        task = answer.json()["task"]["id"]
        for verb, path in (
            ("GET", "tasks"),
            ("GET", f"tasks/{task}"),
            ("GET", "extendedAgentCard"),
            ("GET", f"tasks/{task}:subscribe"),
            ("POST", f"tasks/{task}:subscribe"),
            ("POST", f"tasks/{task}:cancel"),
        ):
            async with rpc.client.stream(verb, f"{base}/{path}", headers=HEADERS) as answer:
                assert answer.status_code == 200, path
                if "subscribe" in path:
                    assert answer.headers["content-type"] == "text/event-stream"
                    first = await anext(answer.aiter_lines())
                    assert first.startswith("id: ")
        sent = message("done") | {"tenant": "acme/east"}
        async with rpc.client.stream(
            "POST", f"{base}/message:stream", json=sent, headers=HEADERS
        ) as answer:
            assert b"TASK_STATE_COMPLETED" in await answer.aread()


@pytest.mark.accepts("AS-31")
async def test_a_task_survives_the_executor_that_ran_it(log: JetStreamLog, tmp_path: Path) -> None:
    """There, it stays as it was for ever, and a subscription hangs."""
    running = asyncio.Event()

    @agent(name="asker")
    async def slow(turn: Turn) -> None:
        running.set()
        if turn.attempt == 1:
            await asyncio.Event().wait()
        await turn.reply("after all")

    async with served(log, tmp_path) as url, httpx.AsyncClient(timeout=20) as client:
        rpc = Rpc(f"{url}/asker", client)
        async with executing(log, slow, patience=1.0):
            now = message("a", configuration={"returnImmediately": True})
            task = (await rpc.result("SendMessage", **now))["task"]["id"]
            await running.wait()
        events = rpc.events("SubscribeToTask", {"id": task}, **{"Last-Event-ID": "0"})
        await anext(events)
        async with executing(log, slow, patience=1.0):
            rest = [event async for _, event in events]
        assert rest[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
