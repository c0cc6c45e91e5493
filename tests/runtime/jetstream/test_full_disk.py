"""A full disk (F5): what callers are told, what doctor says, and that nothing is lost.

Needs root, for a file system of 24 MB.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pelton.runtime import diagnosis
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream import DURABLE, JetStreamLog
from pelton.runtime.log import LogError, LogFull, LogUnavailable
from pelton.runtime.server import EmbeddedServer

SUBJECT = "cmd.echo.c1"
HASTY = replace(DURABLE, deadline=2.0)
BIG = 100_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NOT PROVED HERE: nothing can be mounted, no disk was filled")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def fill(log: JetStreamLog) -> tuple[list[int], LogError]:
    """Append until it is refused; return what was acknowledged, and the refusal."""
    acknowledged: list[int] = []
    while True:
        number = len(acknowledged)
        try:
            sequence = await log.append(SUBJECT, os.urandom(BIG), id=f"{number}", expect=number)
        except LogError as error:
            return acknowledged, error
        acknowledged.append(sequence)


async def remedies(server: EmbeddedServer) -> dict[str, str]:
    """Return what doctor finds wrong and what to do about it."""
    checks = diagnosis.diagnose(
        server.url,
        profile=DURABLE,
        credentials=None,
        monitoring=server.monitoring_url,
        data=server.data,
        world=RealWorld(),
    )
    return {f"{each.name}: {each.says}": each.remedy async for each in checks if each.remedy}


@pytest.mark.accepts("G1")
async def test_a_log_that_fills_its_disk_refuses_at_once(small: Path) -> None:
    """The server leaves a quarter free, as of its start, and says so when it is used up."""
    async with (
        EmbeddedServer(small / "nats", monitor=True) as server,
        JetStreamLog.open(server.url, profile=HASTY) as log,
    ):
        acknowledged, refusal = await fill(log)
        assert type(refusal) is LogFull
        assert "restart the server" in str(refusal)
        assert len(acknowledged) > 100
        assert len(await log.read(SUBJECT)) == len(acknowledged), "what is there can be read"
        found = await remedies(server)
        assert any(name.startswith("disk:") and "room" in found[name] for name in found), found

        subprocess.run(["mount", "-o", "remount,size=48m", str(small)], check=True)
        with pytest.raises(LogFull):
            await log.append(SUBJECT, b"", id="not yet", expect=acknowledged[-1])
        server.kill()
        await server.start()
        after = await log.append(SUBJECT, b"", id="room", expect=acknowledged[-1])
        assert [r.sequence for r in await log.read(SUBJECT)] == [*acknowledged, after]


@pytest.mark.accepts("G1")
async def test_a_disk_that_others_fill_ends_all_appends_and_loses_nothing(small: Path) -> None:
    """The server answers no append any more, even when there is room again, until a restart."""
    async with (
        EmbeddedServer(small / "nats", monitor=True) as server,
        JetStreamLog.open(server.url, profile=HASTY) as log,
    ):
        free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
        other = small / "other"
        other.write_bytes(bytes(free - 15 * BIG))
        acknowledged, refusal = await fill(log)
        assert type(refusal) is LogUnavailable, "unknown: it does not answer"
        assert len(await log.read(SUBJECT)) == len(acknowledged), "reads go on"
        other.unlink()
        with pytest.raises(LogUnavailable):
            await log.append(SUBJECT, b"", id="not yet", expect=acknowledged[-1])
        found = await remedies(server)
        health = [name for name in found if name.startswith("health:")]
        assert ["no space left" in name and "restart" in found[name] for name in health] == [True]

        server.kill()
        await server.start()
        after = await log.append(SUBJECT, b"", id="room", expect=acknowledged[-1])
        assert [r.sequence for r in await log.read(SUBJECT)] == [*acknowledged, after]
        assert not [name for name in await remedies(server) if name.startswith("health:")]
