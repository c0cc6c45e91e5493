"""`pelton doctor` finds what is wrong, and says what to do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pelton.adapters.sealing import TenantCipher
from pelton.runtime import diagnosis
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream.client import connect
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import DURABLE, RELAXED, Profile
from pelton.runtime.log import LogMisconfigured
from pelton.runtime.server import EmbeddedServer, find_binary
from pelton.runtime.vault import Sealing
from tests.acceptance.running import eventually, pelton


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(tmp_path / "nats", profile=RELAXED, monitor=True) as running:
        yield running


async def founded(server: EmbeddedServer, profile: Profile = RELAXED) -> None:
    """Make the log."""
    async with JetStreamLog.open(server.url, profile=profile):
        pass


def examine(cwd: Path, url: str, **variables: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code and the checks by name."""
    done = pelton("doctor", "--json", cwd=cwd, PELTON_NATS_URL=url, **variables)
    found = json.loads(done.stdout)
    assert found["ok"] is (done.returncode == 0)
    for check in found["checks"]:
        assert check["state"] == "ok" or check["remedy"], check
    return done.returncode, {check["name"]: check for check in found["checks"]}


async def test_all_is_well(tmp_path: Path, server: EmbeddedServer) -> None:
    await founded(server)
    code, checks = examine(tmp_path, server.url, PELTON_NATS_PROFILE="relaxed")
    assert code == 0, checks
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert {"disk", "server", "jetstream", "sync", "log", "clock", "version"} < set(checks)
    assert "keys" in checks
    assert {"may append", "may read", "may listen", "may lease", "may blobs"} < set(checks)


async def test_looking_changes_nothing(tmp_path: Path, server: EmbeddedServer) -> None:
    await founded(server)
    examine(tmp_path, server.url, PELTON_NATS_PROFILE="relaxed")
    async with JetStreamLog.open(server.url, profile=RELAXED) as log:
        assert (await log.extent()).last == 0


async def test_a_server_that_promises_less_than_the_profile(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    await founded(server)
    code, checks = examine(tmp_path, server.url, PELTON_NATS_MONITORING=server.monitoring_url)
    assert code == 1
    assert checks["sync"]["state"] == "wrong"
    assert "sync_interval: always" in checks["sync"]["remedy"]
    code, checks = examine(tmp_path, server.url)
    assert (code, checks["sync"]["state"]) == (0, "unknown")


@pytest.mark.accepts("S26")
async def test_no_part_starts_on_a_server_that_promises_less_than_the_profile(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    known = {"PELTON_NATS_URL": server.url, "PELTON_NATS_MONITORING": server.monitoring_url}
    for part in ("bridge", "projector"):
        done = pelton("serve", part, cwd=tmp_path, **known)
        assert done.returncode == 4
        assert "sync_interval: always" in done.stderr
    with pytest.raises(LogMisconfigured):
        await diagnosis.hold_to(DURABLE, server.monitoring_url)
    await diagnosis.hold_to(RELAXED, server.monitoring_url)
    await diagnosis.hold_to(DURABLE, "")  # it cannot be known


async def test_replicas_that_a_profile_promises_and_are_not_there(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    await founded(server)
    code, checks = examine(tmp_path, server.url, PELTON_NATS_PROFILE="cluster")
    assert code == 1
    assert checks["replicas"]["state"] == "wrong"


async def test_no_log_yet(tmp_path: Path, server: EmbeddedServer) -> None:
    code, checks = examine(tmp_path, server.url)
    assert code == 1
    assert "no log yet" in checks["log"]["says"]


def test_no_server(tmp_path: Path) -> None:
    code, checks = examine(tmp_path, "nats://127.0.0.1:1")
    assert code == 1
    assert checks["server"]["state"] == "wrong"
    assert "pelton dev" in checks["server"]["remedy"]
    done = pelton("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert "no pelton dev is running" in done.stdout


async def test_credentials_that_the_server_refuses(tmp_path: Path, server: EmbeddedServer) -> None:
    code, checks = examine(tmp_path, f"nats://pelton:wrong@{server.address}")
    assert code == 1
    assert checks["server"]["state"] == "wrong"
    assert "credentials" in checks["server"]["says"]


async def test_content_that_is_sealed_with_keys_that_are_not_here(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    for name in ("keys", "others"):
        assert pelton("seal-key", name, cwd=tmp_path).returncode == 0
    sealing = Sealing(TenantCipher(tmp_path / "keys", world=RealWorld()))
    async with JetStreamLog.open(server.url, profile=RELAXED, sealing=sealing) as log:
        await log.vault.seal("secretary", "c1", b"a secret")
    for keys, code, state in (("", 0, "warn"), ("others", 1, "wrong"), ("keys", 0, "ok")):
        found, checks = examine(
            *(tmp_path, server.url), PELTON_NATS_PROFILE="relaxed", PELTON_ENCRYPTION_KEYS=keys
        )
        assert (found, checks["keys"]["state"]) == (code, state), keys
        assert ("encryption.keys" in checks["keys"]["says"]) is (state != "ok")


def test_jetstream_is_off(tmp_path: Path) -> None:
    ports = tmp_path / "ports"
    ports.mkdir()
    with subprocess.Popen(
        [find_binary(), "--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", str(ports)],
        stderr=subprocess.DEVNULL,
    ) as plain:
        try:
            file = eventually(lambda: next(iter(ports.iterdir()), None))
            url = eventually(lambda: _url(file))
            code, checks = examine(tmp_path, url)
        finally:
            plain.terminate()
    assert code == 1
    assert checks["server"]["state"] == "ok"
    assert checks["jetstream"]["state"] == "wrong"
    assert "jetstream {}" in checks["jetstream"]["remedy"]


def _url(file: Path) -> str | None:
    try:
        url: str = json.loads(file.read_bytes())["nats"][0]
    except ValueError:  # not yet whole
        return None
    return url


@pytest.mark.accepts("AS-41")
async def test_a_user_that_may_not_append(tmp_path: Path) -> None:
    deny = '{ user: reader, password: p, permissions: { publish: { deny: ["cmd.>", "evt.>"] } } }'
    users = f"{{ user: owner, password: p }}, {deny}"
    extra = f"accounts {{ tenant: {{ jetstream: enabled, users: [{users}] }} }}"
    async with EmbeddedServer(tmp_path / "nats", profile=RELAXED, extra=extra) as server:
        async with JetStreamLog.open(f"nats://owner:p@{server.address}", profile=RELAXED):
            pass
        code, checks = examine(
            tmp_path, f"nats://reader:p@{server.address}", PELTON_NATS_PROFILE="relaxed"
        )
    assert code == 1
    assert checks["may append"]["state"] == "wrong"
    assert checks["may read"]["state"] == "ok"


async def test_a_stream_that_was_changed_by_hand(tmp_path: Path, server: EmbeddedServer) -> None:
    await founded(server, DURABLE)
    world = RealWorld()
    async with connect(server.url, world=world, name="hand", within=5.0) as hand:
        reply = await hand.request("$JS.API.STREAM.INFO.LOG", b"", within=5.0)
        config = {**json.loads(reply.data)["config"], "discard": "old", "max_msgs": 10}
        await hand.request("$JS.API.STREAM.UPDATE.LOG", json.dumps(config).encode(), within=5.0)
    code, checks = examine(tmp_path, server.url)
    assert code == 1
    assert "changed by hand: discard, max_msgs" in checks["log"]["says"]


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_FREE", 1 << 60)
    assert diagnosis.disk(tmp_path).state == "wrong"
