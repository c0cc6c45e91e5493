"""Opening a log: what is wrong, and what to do, in one typed error."""

# nats-py's signatures are partly unknown to a type checker.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace
from pathlib import Path

import nats
import pytest

from pelton.events.errors import InvalidInput, PeltonError
from pelton.runtime.jetstream import CLUSTER, RELAXED, JetStreamLog, profile
from pelton.runtime.log import LogMisconfigured, LogUnavailable
from pelton.runtime.server import EmbeddedServer

HASTY = replace(RELAXED, deadline=1.0)


async def opened(url: str | list[str], **options: object) -> None:
    async with JetStreamLog.open(url, profile=HASTY, **options):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass


async def test_no_server(unused_tcp_port: int) -> None:
    begin = time.monotonic()
    with pytest.raises(LogUnavailable, match="running"):
        await opened(f"nats://user:secret@127.0.0.1:{unused_tcp_port}")
    assert time.monotonic() - begin < 3


async def test_something_else_listens() -> None:
    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LogUnavailable):
            await opened(f"nats://127.0.0.1:{port}")


async def test_a_server_that_never_greets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(LogUnavailable):
        await opened(f"nats://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("url", ["nats://", "nats://host:port", "ws://127.0.0.1:1", "nats://:1"])
async def test_no_url(url: str) -> None:
    with pytest.raises(LogMisconfigured, match="nats://"):
        await opened(url)


async def test_wrong_password_is_told_at_once_and_keeps_its_secret(nats_url: str) -> None:
    begin = time.monotonic()
    with pytest.raises(LogMisconfigured) as error:
        await opened(nats_url.replace(":secret@", ":wrongsecret@"))
    assert time.monotonic() - begin < 0.9
    assert "wrongsecret" not in str(error.value)


async def test_tls_is_asked_of_a_server_without(nats_url: str) -> None:
    with pytest.raises(PeltonError):
        await opened(nats_url.replace("nats://", "tls://").replace(":secret@", ":x@"))


async def test_a_server_without_jetstream(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, extra="")
    original = server._config  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    lines = [line for line in original().splitlines() if not line.startswith("jetstream")]
    server._config = lambda: "\n".join(lines)  # type: ignore[method-assign]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    async with server:
        begin = time.monotonic()
        with pytest.raises(LogMisconfigured, match="JetStream"):
            await opened(server.url)
        assert time.monotonic() - begin < 0.9


LIMITED = """
accounts {
  none: { users: [ { user: none, password: secret } ] }
  some: { jetstream: enabled, users: [
    { user: owner, password: secret }
    { user: deaf, password: secret, permissions: { subscribe: "_INBOX_bridge.>" } }
    { user: blind, password: secret, permissions: { publish: { deny: ["$JS.API.STREAM.INFO.>"] } } }
    { user: reader, password: secret, permissions: { publish: {
        deny: ["$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "evt.>"] } } }
  ] }
}
"""


async def test_what_an_account_or_user_may_not(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path, profile=RELAXED, extra=LIMITED) as server:

        def url(user: str) -> str:
            return f"nats://{user}:secret@{server.address}"

        with pytest.raises(LogMisconfigured, match="JetStream"):
            await opened(url("none"))
        with pytest.raises(LogMisconfigured, match="permit"):
            await opened(url("blind"))
        begin = time.monotonic()
        with pytest.raises(LogMisconfigured, match=r"permit subscribing to '_INBOX_"):
            await opened(url("deaf"))
        assert time.monotonic() - begin < 0.9, "not only at the deadline"
        with pytest.raises(LogMisconfigured, match="start pelton once"):
            await opened(url("reader"), migrate=False)
        with pytest.raises(LogMisconfigured, match="permit"):
            await opened(url("reader"))
        await opened(url("owner"))
        async with JetStreamLog.open(url("reader"), profile=HASTY, migrate=False) as log:
            assert await log.append("cmd.a.c", b"", id="1") == 1
            begin = time.monotonic()
            with pytest.raises(LogMisconfigured, match="permit"):
                await log.append("evt.a.c", b"", id="2")
            assert time.monotonic() - begin < 0.9, "not only at the deadline"
            assert len(await log.read("cmd.a.c")) == 1


async def test_a_stream_of_somebody_else(nats_url: str) -> None:
    async with await nats.connect(nats_url) as client:
        await client.jetstream().add_stream(name="LOG", subjects=["cmd.>"])
    with pytest.raises(LogMisconfigured, match="not pelton's"):
        await opened(nats_url)


async def test_a_profile_that_the_server_cannot_keep(nats_url: str) -> None:
    with pytest.raises(LogMisconfigured):
        async with JetStreamLog.open(nats_url, profile=CLUSTER):
            pass
    await opened(nats_url)
    with pytest.raises(LogMisconfigured, match="replicas"):
        async with JetStreamLog.open(nats_url, profile=CLUSTER, migrate=False):
            pass


async def test_several_addresses_of_one_cluster(nats_url: str, unused_tcp_port: int) -> None:
    await opened([f"nats://127.0.0.1:{unused_tcp_port}", nats_url])


async def test_credentials_that_are_no_credentials(tmp_path: Path, nats_url: str) -> None:
    with pytest.raises(LogMisconfigured):
        await opened(nats_url, credentials=tmp_path / "missing.creds")


def test_profiles_are_found_by_name() -> None:
    assert profile("relaxed") is RELAXED
    with pytest.raises(InvalidInput, match="durable, relaxed, cluster"):
        profile("fast")
