"""The gRPC binding: what is its own, beside what the official client and `test_bindings` show."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import msgspec
import pytest
import pytest_asyncio
from a2a.types import a2a_pb2 as pb
from a2a.types.a2a_pb2_grpc import A2AServiceStub
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc import aio

from pelton.adapters.a2a import grpc_server, protobuf, waits
from pelton.adapters.a2a.errors import FAULTS
from pelton.adapters.a2a.extensions import POSITION, RESUME
from pelton.adapters.a2a.operations import OPERATIONS
from pelton.events.a2a import TaskState
from pelton.runtime.jetstream import JetStreamLog
from tests.adapters.a2a.world import (
    Script,
    artifact,
    ended,
    opened,
    scripted,
    served,
    started,
    status,
    turn,
    until,
)

VERSION = ("a2a-version", "1.0")


@pytest_asyncio.fixture
async def address(
    log: JetStreamLog, script: Script, client: httpx.AsyncClient, tmp_path: Path
) -> AsyncIterator[str]:
    async with served(log, tmp_path, grpc=True) as url:
        card = (await client.get(f"{url}/scripted/.well-known/agent-card.json")).json()
        [interface] = [
            each for each in card["supportedInterfaces"] if each["protocolBinding"] == "GRPC"
        ]
        assert interface["tenant"] == "scripted"
        yield interface["url"]


@pytest_asyncio.fixture
async def channel(address: str) -> AsyncIterator[aio.Channel]:
    async with aio.insecure_channel(address) as channel:
        yield channel


@pytest_asyncio.fixture
async def stub(channel: aio.Channel) -> Any:
    return A2AServiceStub(channel)  # type: ignore[no-untyped-call]


def request(text: str = "hello", **members: Any) -> pb.SendMessageRequest:
    said = pb.Message(message_id="m", role=pb.ROLE_USER, parts=[pb.Part(text=text)], **members)
    return pb.SendMessageRequest(message=said)


async def refused(call: Any) -> tuple[grpc.StatusCode, Any, dict[str, Any]]:
    """Return the status of a refusal, its first detail and its other details by name."""
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    error = raised.value
    [packed] = [v for k, v in error.trailing_metadata() or () if k == "grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    status_ = status_pb2.Status.FromString(packed)
    assert status_.code == error.code().value[0]
    assert status_.message == error.details()
    info = error_details_pb2.ErrorInfo()
    assert status_.details[0].Unpack(info)
    assert info.domain == "a2a-protocol.org"
    others = {each.type_url.rpartition(".")[2]: each for each in status_.details[1:]}
    return error.code(), info, others


def test_our_messages_are_the_protocols_own() -> None:
    """Every message, every field: number, type, name, presence."""
    for name, theirs in pb.DESCRIPTOR.message_types_by_name.items():
        ours = protobuf.kind(f"lf.a2a.v1.{name}").DESCRIPTOR

        def shape(descriptor: Any) -> Any:
            return {
                field.name: (
                    *(field.number, field.type, field.json_name, field.has_presence),
                    field.is_repeated,
                    field.containing_oneof and field.containing_oneof.name,
                    field.message_type and field.message_type.full_name,
                    field.enum_type and dict(field.enum_type.values_by_name.items()).keys(),
                )
                for field in descriptor.fields
            }

        assert shape(ours) == shape(theirs), name


def test_errors_need_no_definitions_but_ours() -> None:
    """In a process of its own: here, others have imported definitions of the same names."""
    code = """if True:
        from pelton.adapters.a2a import protobuf
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R"}
        assert protobuf.to_bytes("google.rpc.Status", {"details": [info]})
    """
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)


def test_every_operation_has_its_messages() -> None:
    service = pb.DESCRIPTOR.services_by_name["A2AService"]
    assert grpc_server.WIRES.keys() == OPERATIONS.keys() == set(service.methods_by_name)
    for name, method in service.methods_by_name.items():
        wire = grpc_server.WIRES[name]
        assert wire.request == method.input_type.name
        assert wire.answer == method.output_type.name.removeprefix("Empty")


def test_every_error_has_a_status() -> None:
    for fault in FAULTS.values():
        assert fault.status in grpc.StatusCode.__members__


async def test_an_error_says_what_it_is(stub: Any) -> None:
    asked = stub.GetTask(pb.GetTaskRequest(id="nope"), metadata=(VERSION,))
    code, info, _ = await refused(asked)
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND")
    assert info.metadata["correlationId"]
    code, info, others = await refused(
        stub.SendMessage(pb.SendMessageRequest(), metadata=(VERSION,))
    )
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMS")
    violations = error_details_pb2.BadRequest()
    assert others["BadRequest"].Unpack(violations)
    assert violations.field_violations[0].field == "message"


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        ((), "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
        ((("a2a-version", "0.3"),), "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
        ((("a2a-version", "1.7"),), "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED"),
        ((("a2a-version", "1.0.1"),), "NOT_FOUND", "TASK_NOT_FOUND"),
        ((VERSION, ("x-bin", b"\x00")), "NOT_FOUND", "TASK_NOT_FOUND"),
    ],
)
async def test_the_version_stands_in_the_metadata(
    stub: Any, metadata: Any, code: str, reason: str
) -> None:
    found, info, _ = await refused(stub.GetTask(pb.GetTaskRequest(id="x"), metadata=metadata))
    assert (found.name, info.reason) == (code, reason)


async def test_the_tenant_names_the_agent(stub: Any, script: Script, log: JetStreamLog) -> None:
    async with scripted(log, "other"):
        asked = pb.ListTasksRequest(tenant="scripted")
        assert (await stub.ListTasks(asked, metadata=(VERSION,))).page_size == 50
        for tenant in ("nope", "", "../x"):
            asked = pb.ListTasksRequest(tenant=tenant)
            code, info, _ = await refused(stub.ListTasks(asked, metadata=(VERSION,)))
            assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND")


@pytest.mark.accepts("AS-26", "AS-42")
@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\xff", b"\x12\x02\x0a\x01\xff", b"\x12" * 99, b"\x0a\x01\xff"]
)
async def test_what_is_no_message_is_refused(channel: aio.Channel, data: bytes) -> None:
    call = cast("Any", channel).unary_unary("/lf.a2a.v1.A2AService/SendMessage")
    code, info, _ = await refused(call(data, metadata=(VERSION,)))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMS")


async def test_a_method_that_is_not_there_is_refused(channel: aio.Channel) -> None:
    for method in ("/lf.a2a.v1.A2AService/Nope", "/a2a.v1.Nope/SendMessage", "/x"):
        call = cast("Any", channel).unary_unary(method)
        with pytest.raises(aio.AioRpcError) as raised:
            await call(b"", metadata=(VERSION,))
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_body_too_large_is_refused(channel: aio.Channel, stub: Any) -> None:
    call = cast("Any", channel).unary_unary("/lf.a2a.v1.A2AService/SendMessage")
    with pytest.raises(aio.AioRpcError) as raised:
        await call(b"x" * (5 * 1024 * 1024), metadata=(VERSION,))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    asked = pb.ListTasksRequest()
    assert (await stub.ListTasks(asked, metadata=(VERSION,))).total_size == 0


@pytest.mark.accepts("AS-33")
@pytest.mark.accepts("S17")
async def test_what_is_compressed_unpacks_to_no_more_than_a_body(address: str) -> None:
    bomb = bytes(50_000_000)  # 50 KB as it is sent
    options = [("grpc.max_send_message_length", -1)]
    async with aio.insecure_channel(
        address, options=options, compression=grpc.Compression.Gzip
    ) as channel:
        send = cast("Any", channel).unary_unary("/lf.a2a.v1.A2AService/SendMessage")
        with pytest.raises(aio.AioRpcError) as raised:
            await send(bomb, timeout=30)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Decompressed" in str(raised.value.details()), "it was not unpacked beyond that"


async def test_a_deadline_ends_the_wait_and_not_the_work(stub: Any, script: Script) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await stub.SendMessage(request(), metadata=(VERSION,), timeout=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    task = await script.answer()
    found = await stub.GetTask(pb.GetTaskRequest(id=task), metadata=(VERSION,))
    assert found.status.state == pb.TASK_STATE_COMPLETED


async def begin(stub: Any, script: Script) -> str:
    """Begin a task that works; returns its id."""
    asked = request()
    asked.configuration.return_immediately = True
    sending = asyncio.ensure_future(stub.SendMessage(asked, metadata=(VERSION,)))
    sequence, command = await script.command()
    task = opened(command)
    await script.decide(
        started(task), status(task, TaskState.WORKING), sequence=sequence, command=command
    )
    assert (await sending).task.id == task
    return task


@pytest.mark.accepts("AS-33")
async def test_who_cancels_a_stream_frees_all(
    stub: Any, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    living: set[int] = set()
    made, gone = waits.Updates.__init__, waits.Updates.took

    def init(updates: Any, *args: Any, **how: Any) -> None:
        made(updates, *args, **how)
        living.add(id(updates))

    told: list[int] = []

    def took(updates: Any, *args: Any) -> None:
        told.append(id(updates))
        gone(updates, *args)

    monkeypatch.setattr(waits.Updates, "__init__", init)
    monkeypatch.setattr(waits.Updates, "took", took)
    task = await begin(stub, script)
    asked = pb.SubscribeToTaskRequest(id=task)
    calls = [stub.SubscribeToTask(asked, metadata=(VERSION,)) for _ in range(5)]
    for call in calls:
        assert (await call.read()).task.id == task
    for call in calls[1:]:
        call.cancel()

    async def listening() -> int:
        told.clear()
        await script.commit(task, artifact(task, "x"))
        await until(lambda: len(told) > 0)
        return len(told)

    async with asyncio.timeout(10):
        while await listening() > 1:
            await asyncio.sleep(0.05)
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
    last = None
    while (event := await calls[0].read()) is not aio.EOF:
        last = event
    assert last is not None
    assert last.status_update.status.state == pb.TASK_STATE_COMPLETED
    assert await calls[0].code() is grpc.StatusCode.OK


@pytest.mark.accepts("AS-32")
async def test_a_stream_resumes_by_the_extension(stub: Any, script: Script) -> None:
    task = await begin(stub, script)
    asked = pb.SubscribeToTaskRequest(id=task)
    metadata = (VERSION, ("a2a-extensions", "urn:x"), ("a2a-extensions", RESUME))
    call = stub.SubscribeToTask(asked, metadata=metadata)
    assert dict(await call.initial_metadata())["a2a-extensions"] == RESUME
    first = await call.read()
    place = first.task.metadata[POSITION]
    call.cancel()
    await script.commit(task, artifact(task, "0 "))
    await script.commit(task, status(task, TaskState.COMPLETED), ended(task))
    again = (*metadata, ("last-event-id", place))
    events = [event async for event in stub.SubscribeToTask(asked, metadata=again)]
    assert [event.WhichOneof("payload") for event in events] == ["artifact_update", "status_update"]
    from_start = (VERSION, ("last-event-id", "0"))
    whole = [event async for event in stub.SubscribeToTask(asked, metadata=from_start)]
    assert whole[0].task.status.state == pb.TASK_STATE_SUBMITTED
    assert len(whole) == 4
    wrong = (VERSION, ("last-event-id", "99"))
    code, info, _ = await refused(anext(aiter(stub.SubscribeToTask(asked, metadata=wrong))))
    assert (code, info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_NOT_FOUND")


@pytest.mark.accepts("AS-9")
async def test_a_key_in_the_metadata_is_one_over_http(
    stub: Any, script: Script, client: httpx.AsyncClient, log: JetStreamLog
) -> None:
    metadata = (VERSION, ("idempotency-key", "k"))
    sending = asyncio.ensure_future(stub.SendMessage(request(), metadata=metadata))
    sequence, command = await script.command()
    await script.decide(*turn(opened(command), "x"), sequence=sequence, command=command)
    first = await sending
    assert await stub.SendMessage(request(), metadata=metadata) == first
    code, info, _ = await refused(stub.SendMessage(request("else"), metadata=metadata))
    assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_CONFLICT")


def test_numbers_are_whole_where_they_can_be() -> None:
    said = {"messageId": "m", "metadata": {"n": 42, "x": 0.5, "big": 1e300, "l": [1, None, True]}}
    data = protobuf.to_bytes("lf.a2a.v1.Message", said)
    found = protobuf.from_bytes("lf.a2a.v1.Message", data)
    assert msgspec.json.encode(found["metadata"]["n"]) == b"42"
    assert found["metadata"] == said["metadata"]
