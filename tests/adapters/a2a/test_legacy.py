"""A2A 0.3 beside 1.0: the official client of 0.3 against the bridge, and what each side refuses."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.compat.v0_3 import types as old
from a2a.types import a2a_pb2 as pb
from a2a.utils import errors
from google.protobuf.json_format import MessageToDict

from examples import conformance_agent
from pelton.adapters.a2a import legacy
from pelton.adapters.a2a.card import Cards
from pelton.runtime.jetstream import JetStreamLog
from tests.a2a import validate
from tests.adapters.a2a.world import executing, message, profile, served

STATE = pb.TaskState


@pytest_asyncio.fixture
async def url(
    log: JetStreamLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    monkeypatch.setattr(conformance_agent, "STREAMING_TIMEOUT", 0.3)
    async with (
        executing(log, conformance_agent.conformance),
        served(log, tmp_path, legacy=True) as url,
    ):
        yield f"{url}/conformance"


@pytest_asyncio.fixture(params=["JSONRPC", "HTTP+JSON"])
async def old_client(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Client]:
    """Return the official client, made to speak 0.3."""
    async with httpx.AsyncClient(timeout=10) as http:
        config = ClientConfig(httpx_client=http, supported_protocol_bindings=[request.param])
        card = (await http.get(f"{url}/.well-known/agent-card.json")).json()
        spoken = [
            pb.AgentInterface(url=each["url"], protocol_binding=each["transport"])
            for each in card["additionalInterfaces"]
            if each["transport"] == request.param
        ]
        spoken[0].protocol_version = "0.3"
        known = pb.AgentCard(
            name=card["name"],
            supported_interfaces=spoken,
            capabilities=pb.AgentCapabilities(streaming=True),
        )
        async with ClientFactory(config).create(known) as client:
            yield client


def request(scenario: str, *, text: str = "hello", **members: Any) -> pb.SendMessageRequest:
    said = pb.Message(
        message_id=f"{scenario}-{uuid.uuid4().hex[:8]}",
        role=pb.Role.ROLE_USER,
        parts=[pb.Part(text=text)],
        **members,
    )
    return pb.SendMessageRequest(message=said)


async def test_the_official_client_of_0_3_works(old_client: Client) -> None:
    events = [each async for each in old_client.send_message(request("tck-stream-001"))]
    kinds = [each.WhichOneof("payload") for each in events]
    assert kinds == ["task", "status_update", "artifact_update", "status_update"]
    assert events[-1].status_update.status.state == STATE.TASK_STATE_COMPLETED
    task = await old_client.get_task(pb.GetTaskRequest(id=events[0].task.id))
    assert task.artifacts[0].parts[0].text == "Generated text content"
    assert task.history[0].parts[0].text == "hello"
    with pytest.raises(errors.TaskNotFoundError):
        await old_client.get_task(pb.GetTaskRequest(id="nope"))
    with pytest.raises(errors.TaskNotCancelableError):
        await old_client.cancel_task(pb.CancelTaskRequest(id=task.id))

    asked = request("tck-input-required")
    events = [each async for each in old_client.send_message(asked)]
    task = events[0].task
    assert events[-1].status_update.status.state == STATE.TASK_STATE_INPUT_REQUIRED
    canceled = await old_client.cancel_task(pb.CancelTaskRequest(id=task.id))
    assert canceled.status.state == STATE.TASK_STATE_CANCELED

    [event] = [each async for each in old_client.send_message(request("tck-message-response"))]
    assert event.message.parts[0].text == "Direct message response"

    asked = request("tck-delayed-complete")
    stream = old_client.send_message(asked)
    task_id = (await anext(stream)).task.id
    await stream.aclose()  # type: ignore[attr-defined]
    subscribed = old_client.subscribe(pb.SubscribeToTaskRequest(id=task_id))
    events = [each async for each in subscribed]
    assert events[0].task.id == task_id
    assert events[-1].status_update.status.state == STATE.TASK_STATE_COMPLETED


@pytest.mark.parametrize(
    ("scenario", "part"),
    [
        (
            "tck-artifact-file-url",
            pb.Part(
                url="https://example.com/output.txt",
                filename="output.txt",
                media_type="text/plain",
            ),
        ),
        ("tck-artifact-data", None),
    ],
)
async def test_parts_survive_both_ways(old_client: Client, scenario: str, part: Any) -> None:
    asked = request(scenario)
    sent = [pb.Part(url="https://x.example", media_type="image/png", filename="a")]
    asked.message.parts.extend(sent)
    events = [each async for each in old_client.send_message(asked)]
    task = await old_client.get_task(pb.GetTaskRequest(id=events[0].task.id))
    assert list(task.history[0].parts[1:]) == sent
    if part is None:
        found = MessageToDict(task.artifacts[0].parts[0])["data"]
        assert found == {"key": "value", "count": 42}
    else:
        assert task.artifacts[0].parts[0] == part


async def post(url: str, method: str, params: Any, **headers: str) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with httpx.AsyncClient(timeout=10) as client:
        return (await client.post(url, json=body, headers=headers)).json()


def old_message(text: str = "hello", **members: Any) -> dict[str, Any]:
    parts = [{"kind": "text", "text": text}]
    said = {"kind": "message", "messageId": "m", "role": "user", "parts": parts}
    return {"message": said | members}


async def test_bytes_are_base64_once(url: str) -> None:
    """As the specification has it; a2a-sdk encodes them twice over HTTP+JSON 0.3, in its client."""
    file = {"name": "a", "mimeType": "text/plain"}
    sent = old_message(messageId="tck-artifact-file-1")
    sent["message"]["parts"].append({"kind": "file", "file": file | {"bytes": "eA=="}})
    task = (await post(url, "message/send", sent))["result"]
    [part] = task["artifacts"][0]["parts"]
    file_ = {"bytes": "dGNr", "mimeType": "text/plain", "name": "output.txt"}
    assert part == {"kind": "file", "file": file_}
    assert task["history"][0]["parts"][1] == {"kind": "file", "file": file | {"bytes": "eA=="}}
    content: Any = [{"file": file | {"fileWithBytes": "eA=="}}]
    said = {"messageId": "tck-artifact-file-2", "role": "ROLE_USER", "content": content}
    body = {"message": said}
    async with httpx.AsyncClient() as client:
        task = (await client.post(f"{url}/v1/message:send", json=body)).json()["task"]
    assert task["history"][0]["content"] == content
    file_ = {"fileWithBytes": "dGNr", "mimeType": "text/plain", "name": "output.txt"}
    assert task["artifacts"][0]["parts"] == [{"file": file_}]


async def test_answers_are_those_of_0_3(url: str) -> None:
    """Held to the models that the SDK has of 0.3."""
    for version in ({}, {"A2A-Version": "0.3"}, {"A2A-Version": "0.3.0"}):
        answer = await post(url, "message/send", old_message(), **version)
        task = old.Task.model_validate(answer["result"])
        assert task.status.state is old.TaskState.completed
    got = await post(url, "tasks/get", {"id": task.id, "historyLength": 0})
    assert len(old.Task.model_validate(got["result"]).history or []) == 1  # 0 is no limit
    answer = await post(url, "message/send", old_message(messageId="tck-message-response"))
    assert old.Message.model_validate(answer["result"]).role is old.Role.agent
    now = old_message("tck-cancel") | {"configuration": {"blocking": False}}
    answer = await post(url, "message/send", now)
    assert answer["result"]["status"]["state"] in ("submitted", "working")
    canceled = await post(url, "tasks/cancel", {"id": answer["result"]["id"]})
    assert canceled["result"]["status"]["state"] == "canceled"


async def test_the_two_do_not_mix(url: str) -> None:
    for method, params, headers in (
        ("message/send", old_message(), {"A2A-Version": "1.0"}),
        ("SendMessage", message(), {}),
        ("SendMessage", message(), {"A2A-Version": "0.3"}),
    ):
        answer = await post(url, method, params, **headers)
        assert answer["error"]["code"] == -32009, method
    answer = await post(url, "tasks/list", {})  # over JSON-RPC, 0.3 has no lists
    assert answer["error"]["code"] == -32601
    answer = await post(url, "agent/getAuthenticatedExtendedCard", {})
    assert "more" in {skill["id"] for skill in answer["result"]["skills"]}
    for method in legacy.METHODS:
        if "push" in method:
            answer = await post(url, method, {"id": "x"})
            assert answer["error"]["code"] == -32003
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/v1/card")
        assert "more" in {skill["id"] for skill in answer.json()["skills"]}
        answer = await client.get(f"{url}/v1/tasks/nope")
        assert answer.status_code == 404
        answer = await client.get(f"{url}/v1/tasks/nope", headers={"A2A-Version": "1.0"})
        assert answer.json()["error"]["details"][0]["reason"] == "VERSION_NOT_SUPPORTED"


@pytest.mark.parametrize("version", ["", "0.3", "1.0"])
async def test_a_method_that_neither_has_is_not_found(url: str, version: str) -> None:
    answer = await post(url, "nonexistent/method", {}, **{"A2A-Version": version})
    assert answer["error"]["code"] == -32601


BAD: list[Any] = [
    *(None, [], 7, {}, {"message": None}, {"message": []}, {"message": {"parts": 7}}),
    {"message": {"messageId": "m", "role": "user", "parts": [7, None]}},
    {"message": {"messageId": "m", "role": "nobody", "parts": [{"kind": "text", "text": "a"}]}},
    {"message": {"messageId": "m", "role": "user", "parts": [{"kind": "file", "file": {}}]}},
    {"message": {"messageId": "m", "role": "user", "parts": [{"kind": "text"}]}},
    old_message() | {"configuration": []},
    old_message() | {"configuration": {"historyLength": "x"}},
]


@pytest.mark.accepts("AS-26", "AS-42")
@pytest.mark.parametrize("params", BAD)
async def test_what_is_no_request_of_0_3_is_refused(url: str, params: Any) -> None:
    answer = await post(url, "message/send", params)
    assert answer["error"]["code"] == -32602, answer
    if params is None:
        return
    async with httpx.AsyncClient() as client:
        rest = await client.post(f"{url}/v1/message:send", json=params)
        assert rest.json()["error"]["details"][0]["reason"] == "INVALID_PARAMS"


async def test_the_merged_card_is_one_of_0_3(url: str) -> None:
    async with httpx.AsyncClient() as client:
        card = (await client.get(f"{url}/.well-known/agent-card.json")).json()
    parsed = old.AgentCard.model_validate(card)
    assert parsed.url == url
    assert parsed.preferred_transport == "JSONRPC"
    assert parsed.protocol_version == "0.3.0"
    assert {each["protocolVersion"] for each in card["supportedInterfaces"]} == {"1.0", "0.3"}


def test_security_schemes_are_those_of_0_3_too() -> None:
    schemes: dict[str, Any] = {
        "key": {"apiKeySecurityScheme": {"location": "header", "name": "X-API-Key"}},
        "bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer", "bearerFormat": "JWT"}},
        "oauth2": {
            "oauth2SecurityScheme": {
                "flows": {"clientCredentials": {"tokenUrl": "https://a/t", "scopes": {"a": "b"}}}
            }
        },
        "certificate": {"mtlsSecurityScheme": {}},
    }

    class Security:
        def schemes(self) -> dict[str, Any]:
            return schemes

        def requirements(self) -> list[dict[str, Any]]:
            return [{"schemes": {"key": {"list": []}}}, {"schemes": {"oauth2": {"list": ["a"]}}}]

    cards = Cards("https://a.example", legacy=True, security=Security())
    card: dict[str, Any] = json.loads(msgspec.json.encode(cards.shown(profile())))
    parsed = old.AgentCard.model_validate(card)
    assert parsed.security == [{"key": []}, {"oauth2": ["a"]}]
    assert parsed.security_schemes is not None
    found = {name: each.root for name, each in parsed.security_schemes.items()}
    assert found["key"] == old.APIKeySecurityScheme.model_validate(
        {"in": "header", "name": "X-API-Key", "type": "apiKey"}
    )
    assert isinstance(found["bearer"], old.HTTPAuthSecurityScheme)
    assert isinstance(found["oauth2"], old.OAuth2SecurityScheme)
    assert isinstance(found["certificate"], old.MutualTLSSecurityScheme)
    for name, scheme in schemes.items():
        assert scheme.items() <= card["securitySchemes"][name].items(), "readers of 1.0 find theirs"


async def test_off_unless_wanted(log: JetStreamLog, tmp_path: Path) -> None:
    agent = conformance_agent.conformance
    async with executing(log, agent), served(log, tmp_path) as url, httpx.AsyncClient() as client:
        base = f"{url}/conformance"
        card = (await client.get(f"{base}/.well-known/agent-card.json")).json()
        validate("Agent Card", card)
        answer = await post(base, "message/send", old_message(), **{"A2A-Version": "0.3"})
        assert answer["error"]["code"] == -32009
        answer = await post(base, "message/send", old_message(), **{"A2A-Version": "1.0"})
        assert answer["error"]["code"] == -32601
