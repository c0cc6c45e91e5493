"""A sealed conversation in a file: closed to all but those who were given the keys to it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from pelton.adapters.cli.references import load_agent
from pelton.adapters.push.keys import new_key
from pelton.adapters.sealing import TenantCipher
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.vault import Sealing
from tests.acceptance.running import pelton
from tests.acceptance.test_privacy import SEALED
from tests.runtime.clients import Client, serving
from tests.runtime.test_erasure import say

CANARY = "what-carla-said-a7c1"


@pytest.mark.accepts("AS-24")
async def test_who_has_the_keys_opens_it_anywhere(
    nats_server: EmbeddedServer, tmp_path: Path
) -> None:
    keys, code = tmp_path / "tenant.keys", tmp_path / "secretary.py"
    code.write_text(SEALED.replace("async def secretary", "async def echo"))
    new_key(keys, world=RealWorld())
    sealing = Sealing(TenantCipher(keys, world=RealWorld()))
    async with JetStreamLog.open(nats_server.url, sealing=sealing) as log:
        async with serving(log, load_agent(str(code))):
            context, task = await say(log, CANARY)
            await Client(log).settled(context, task)
        await asyncio.to_thread(_carry, tmp_path, nats_server.url, task)


def _carry(cwd: Path, url: str, task: str) -> None:
    """Export it with keys, and open it without the server."""
    there = {"PELTON_NATS_URL": url, "PELTON_ENCRYPTION_KEYS": "tenant.keys"}
    assert pelton("seal-key", "bug.keys", cwd=cwd).returncode == 0
    export = ("export", task, "--json", "--keys", "bug.keys", "-o")
    assert pelton(*export, "shut.pelton", cwd=cwd, PELTON_NATS_URL=url).returncode == 1
    exported = pelton(*export, "x.pelton", cwd=cwd, **there)
    assert json.loads(exported.stdout)["keys"] == 1
    assert CANARY.encode() not in (cwd / "x.pelton").read_bytes()

    assert pelton("import", "x.pelton", cwd=cwd).returncode == 0
    assert CANARY not in pelton("show", task, cwd=cwd).stdout, "its keys are not named"
    mine = {"PELTON_ENCRYPTION_KEYS": "bug.keys"}
    assert CANARY in pelton("show", task, cwd=cwd, **mine).stdout
    code = ("--agent", "secretary.py")
    assert pelton("rerun", task, *code, cwd=cwd, **mine).returncode == 0
    forked = pelton("fork", task, *code, cwd=cwd, **mine)
    assert forked.returncode == 0, forked.stderr
    assert CANARY in forked.stdout, "what it says in the end is opened, too"
    assert CANARY in pelton("show", task, "--file", "fork.pelton", cwd=cwd, **mine).stdout
