"""What we build on in nats-py beyond its documented names: what changes there fails here."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import inspect

import pytest
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.runtime.jetstream.lean import _ENOUGH, LeanClient
from pelton.runtime.jetstream.parser import WholeParser
from pelton.runtime.log import Heard


def test_the_names_are_there() -> None:
    client = Client()
    for name in (
        "_deliver",
        "_posted",
        "open",
        "end",
        "silence",
        "drop",
        "post",
        "write",
        "forget",
        "heard",
        "server_info",
    ):
        assert not hasattr(client, name), f"nats-py has a {name!r} of its own now"
    assert client._subs == {}
    assert client._sid == 0
    assert client._pending == []
    assert client._pongs == []
    assert client._pending_data_size == 0
    assert client._server_info == {}
    assert client._flush_queue is None
    assert client._current_server is None
    assert client._transport is None
    assert isinstance(client._ps, Parser)
    assert (client._ps.state, client._ps.needed) == (AWAITING_CONTROL_LINE, 0)
    assert client._ps.buf == bytearray()
    assert isinstance(LeanClient()._ps, WholeParser)
    assert TcpTransport()._io_writer is None  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_process_msg", ["self", "sid", "subject", "reply", "data", "headers"]),
        ("_process_err", ["self", "err_msg"]),
        ("_process_pong", ["self"]),
        ("_process_info", ["self", "info", "initial_connection"]),
        ("_process_op_err", ["self", "e"]),
    ],
)
def test_what_we_replace_or_call_has_its_shape(name: str, parameters: list[str]) -> None:
    method = getattr(Client, name)
    assert inspect.iscoroutinefunction(method)
    assert list(inspect.signature(method).parameters) == parameters
    if name != "_process_op_err":
        assert getattr(LeanClient, name) is not method


async def test_subscriptions_are_numbered_as_we_foresee(log: JetStreamLog) -> None:
    client = log._connection._client
    number = await client.open("some.subject", lambda _, __, ___, ____: None)
    assert client._subs[number].subject == "some.subject"
    client.drop(number)
    assert number not in client._subs


def fail(_: Heard) -> None:
    raise RuntimeError


async def test_an_error_of_the_server_reconnects_and_a_delivery_that_fails_does_not(
    nats_url: str,
) -> None:
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        restored: list[bool] = []
        log.on_restored(lambda: restored.append(True))
        async with log.listen("evt.>", fail):
            await log.append("evt.a.c", b"", id="1")
            assert await log.append("evt.a.c", b"", id="2") == 2
            assert not restored, "the error of a listener is nobody else's"
        # The server ends a connection that breaks its protocol; nats-py would then stay closed.
        log._connection._client.post(b"NONSENSE\r\n")
        assert await log.append("evt.a.c", b"", id="3") == 3
        assert restored


async def test_what_is_much_does_not_wait_for_the_end_of_the_turn(log: JetStreamLog) -> None:
    client = log._connection._client
    ping = b"PING\r\n"
    client.post(ping)
    assert client._pending == [ping], "what comes of the same turn may go along"
    client.post(ping * (_ENOUGH // len(ping)))
    assert client._pending == []
    assert isinstance(client._transport, TcpTransport)
    writer = client._transport._io_writer
    assert writer is not None
    assert writer.transport.get_write_buffer_size() == 0, "it is with the kernel"


async def test_who_waits_no_longer_for_a_flush_leaves_the_connection_alone(
    log: JetStreamLog,
) -> None:
    restored: list[bool] = []
    log.on_restored(lambda: restored.append(True))
    flushing = asyncio.create_task(log._connection.flush(within=5))
    while not log._connection._client._pongs:
        await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.wait((flushing,))
    assert await log.append("evt.a.c", b"", id="1") == 1
    async with log.listen("evt.>", lambda _: None):
        assert await log.append("evt.a.c", b"", id="2") == 2
    assert not restored


async def test_who_is_cancelled_just_when_the_answer_comes_ends_all_the_same(
    log: JetStreamLog,
) -> None:
    flushing = asyncio.create_task(log._connection.flush(within=5))
    while not log._connection._client._pongs:
        await asyncio.sleep(0)
    log._connection._client._pongs[0].set_result(True)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
