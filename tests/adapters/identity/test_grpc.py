"""The door of gRPC: the same principals, tenants, scopes and limits as over HTTP (S4, AS-38)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from a2a.types import a2a_pb2 as pb
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from grpc import aio

from pelton.adapters.a2a.operations import OPERATIONS
from pelton.adapters.a2a.tls import Tls
from pelton.adapters.identity.limits import Rate, Rates
from pelton.events.ids import task_id
from pelton.runtime.jetstream import JetStreamLog
from tests.adapters.identity.certificates import Authority
from tests.adapters.identity.people import ACME, KEYS, Town, give_key, key, town

MISSING = task_id("nowhere", "nothing")


@pytest_asyncio.fixture
async def place(logs: Mapping[str, JetStreamLog], tmp_path: Path) -> AsyncIterator[Town]:
    async with town(logs, tmp_path, grpc=True) as found:
        yield found


async def address(place: Town) -> str:
    """Return where gRPC is served, as cards say."""
    async with httpx.AsyncClient(verify=False) as client:
        card = (await client.get(f"{place.url}/acme/echo/.well-known/agent-card.json")).json()
    found: str = card["supportedInterfaces"][2]["url"]
    return found


@pytest_asyncio.fixture
async def stub(place: Town) -> AsyncIterator[Any]:
    async with aio.insecure_channel(await address(place)) as channel:
        yield A2AServiceStub(channel)  # type: ignore[no-untyped-call]


def metadata(who: str) -> tuple[tuple[str, str], ...]:
    credentials = tuple((name.lower(), value) for name, value in key(who).items()) if who else ()
    return (("a2a-version", "1.0"), *credentials)


def asks(task: str) -> dict[str, Any]:
    """Return a request of every operation about a task."""
    said = pb.Message(
        message_id="m", role=pb.ROLE_USER, parts=[pb.Part(text="hello")], task_id=task
    )
    send = pb.SendMessageRequest(tenant="echo", message=said)
    push = pb.TaskPushNotificationConfig(
        tenant="echo", task_id=task, id="p", url="https://h.example"
    )
    return {
        "SendMessage": send,
        "SendStreamingMessage": send,
        "GetTask": pb.GetTaskRequest(tenant="echo", id=task),
        "ListTasks": pb.ListTasksRequest(tenant="echo"),
        "CancelTask": pb.CancelTaskRequest(tenant="echo", id=task),
        "SubscribeToTask": pb.SubscribeToTaskRequest(tenant="echo", id=task),
        "CreateTaskPushNotificationConfig": push,
        "GetTaskPushNotificationConfig": pb.GetTaskPushNotificationConfigRequest(
            tenant="echo", task_id=task, id="p"
        ),
        "ListTaskPushNotificationConfigs": pb.ListTaskPushNotificationConfigsRequest(
            tenant="echo", task_id=task
        ),
        "DeleteTaskPushNotificationConfig": pb.DeleteTaskPushNotificationConfigRequest(
            tenant="echo", task_id=task, id="p"
        ),
        "GetExtendedAgentCard": pb.GetExtendedAgentCardRequest(tenant="echo"),
    }


async def answer(stub: Any, name: str, request: Any, given: Any) -> tuple[Any, str]:
    """Return the status of an answer, and what it says."""
    try:
        call = getattr(stub, name)(request, metadata=given, timeout=20)
        if name in ("SendStreamingMessage", "SubscribeToTask"):
            return grpc.StatusCode.OK, str([each async for each in call])
        return grpc.StatusCode.OK, str(await call)
    except aio.AioRpcError as error:
        return error.code(), str(error.details())


def test_every_operation_is_asked() -> None:
    assert set(asks("t")) == set(OPERATIONS)


@pytest.mark.accepts("AS-38", "S1")
async def test_nobody_is_let_in_without_a_good_credential(stub: Any) -> None:
    wrong = ("x-api-key", key("nobody")["X-API-Key"])
    for name, request in asks(MISSING).items():
        for given in (metadata(""), (*metadata(""), wrong), (*metadata("anna"), wrong)):
            code, _ = await answer(stub, name, request, given)
            twice = len(given) > 2
            expected = "INVALID_ARGUMENT" if twice else "UNAUTHENTICATED"
            assert code is grpc.StatusCode[expected], (name, given)


@pytest.mark.accepts("S4", "AS-1", "AS-3")
async def test_what_another_has_opened_is_not_there(place: Town, stub: Any) -> None:
    task = (await place.send("anna", "ask"))["id"]
    before = {tenant: await log.extent() for tenant, log in place.logs.items()}
    for who in ("bert", "carl", "otto"):
        missing = asks(MISSING)
        for name, request in asks(task).items():
            found = await answer(stub, name, request, metadata(who))
            assert found == await answer(stub, name, missing[name], metadata(who)), (who, name)
            assert "what?" not in found[1]
    assert {tenant: await log.extent() for tenant, log in place.logs.items()} == before
    code, text = await answer(stub, "GetTask", asks(task)["GetTask"], metadata("anna"))
    assert (code, "what?" in text) == (grpc.StatusCode.OK, True)


@pytest.mark.accepts("AS-39")
async def test_a_scope_that_is_missing_is_denied(place: Town, stub: Any) -> None:
    await give_key(place.logs[ACME], "reader", ACME, "client", scopes=("tasks:read",))
    code = grpc.StatusCode.UNAUTHENTICATED
    while code is grpc.StatusCode.UNAUTHENTICATED:  # until the bridge has heard of the key
        code, _ = await answer(stub, "GetTask", asks(MISSING)["GetTask"], metadata("reader"))
    assert code is grpc.StatusCode.NOT_FOUND
    code, _ = await answer(stub, "SendMessage", asks("")["SendMessage"], metadata("reader"))
    assert code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.accepts("AS-37", "S24")
async def test_whoever_asks_too_much_is_told_when_to_come_again(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    few = KEYS._replace(rates=Rates(principal=Rate(0.01, 2.0)))
    async with (
        town(logs, tmp_path, few, grpc=True) as place,
        aio.insecure_channel(await address(place)) as channel,
    ):
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        request = asks(MISSING)["GetTask"]
        codes = [(await answer(stub, "GetTask", request, metadata("anna")))[0] for _ in range(3)]
        assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(aio.AioRpcError) as raised:
            await stub.GetTask(request, metadata=metadata("anna"))
        assert dict(raised.value.trailing_metadata() or ())["retry-after"]
        assert (await answer(stub, "GetTask", request, metadata("bert")))[0] is (
            grpc.StatusCode.NOT_FOUND
        )


@pytest.mark.accepts("S3")
async def test_over_tls_alone_if_there_is_a_certificate(
    logs: Mapping[str, JetStreamLog], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    tls = Tls(*authority.vouch("server", "IP:127.0.0.1"), None)
    request, given = asks(MISSING)["GetTask"], metadata("anna")
    async with town(logs, tmp_path, tls=tls, grpc=True) as place:
        where = await address(place)

        async def code() -> grpc.StatusCode:
            trusted = grpc.ssl_channel_credentials(authority.ca.read_bytes())
            async with aio.secure_channel(where, trusted) as channel:
                stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
                found: grpc.StatusCode = (await answer(stub, "GetTask", request, given))[0]
                return found

        assert await code() is grpc.StatusCode.NOT_FOUND
        authority.vouch("server", "IP:127.0.0.1")
        tls.look()
        assert await code() is grpc.StatusCode.NOT_FOUND
        async with aio.insecure_channel(where) as channel:
            stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
            assert (await answer(stub, "GetTask", request, given))[0] is (
                grpc.StatusCode.UNAVAILABLE
            )
