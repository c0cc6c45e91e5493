"""`pelton chaos sweep` kills users' agents, and says whether anything came of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.server import EmbeddedServer
from tests.acceptance.running import pelton_itself
from tests.runtime.clients import Client

AGENT = """\
from pelton.runtime.agents import agent
from pelton.runtime.turn import Turn


def pay(amount: int) -> int:
    return amount


@agent
async def payer(turn: Turn) -> str:
    \"\"\"Pay.\"\"\"
    paid = await turn.step("pay", pay, 7, idempotent=turn.text == "safely")
    return f"paid {paid}"


@agent
async def fickle(turn: Turn) -> str:
    \"\"\"Say something else each time.\"\"\"
    return turn.task_id + str(id(turn)) + str(turn.random())
"""


def sweep(cwd: Path, code: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a sweep; it must end with an exit code."""
    done = pelton_itself("chaos", "sweep", *arguments, cwd=cwd, within=120.0)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.timeout(180)
@pytest.mark.accepts("AS-11", "G5")
def test_a_sweep_tells_whether_a_kill_makes_a_difference(tmp_path: Path) -> None:
    (tmp_path / "payer.py").write_text(AGENT)
    done = sweep(tmp_path, 0, "payer.py:payer", "--message", "safely")
    header, *rows, undisturbed, verdict = done.stdout.splitlines()
    assert header.split() == ["k", "killed", "attempts", "steps", "again", "result"]
    assert len(rows) >= 5
    assert all("equal" in row for row in rows)
    assert undisturbed.strip() == "undisturbed: completed"
    assert "each time the same came of it" in verdict
    assert f"{len(rows)} of {len(rows)} kills" in done.stderr
    done = sweep(tmp_path, 1, "payer.py:payer", "--message", "rashly", "--json")
    found = json.loads(done.stdout)
    assert not found["ok"]
    wrong = [point for point in found["points"] if point["differs"]]
    assert "after commit:1" in {point["where"] for point in wrong}
    assert "INPUT_REQUIRED" in wrong[0]["differs"][0], "nobody knows whether it was paid"
    assert all(point["killed"] for point in wrong)


@pytest.mark.timeout(120)
async def test_a_sweep_repeats_what_clients_have_sent_to_a_context(tmp_path: Path) -> None:
    (tmp_path / "payer.py").write_text(AGENT)
    async with (
        EmbeddedServer(tmp_path / "nats", profile=RELAXED) as server,
        JetStreamLog.open(server.url, profile=RELAXED) as log,
    ):
        context, _ = await Client(log, "payer").send("safely")
        sent = ("payer.py:payer", "--context", context, "--nats", server.url, "--json")
        done = await asyncio.to_thread(sweep, tmp_path, 0, *sent)
        assert json.loads(done.stdout)["ok"]
        wrong = ("payer.py:payer", "--context", "nowhere", "--nats", server.url)
        assert "no message" in (await asyncio.to_thread(sweep, tmp_path, 3, *wrong)).stderr


@pytest.mark.timeout(120)
def test_a_sweep_says_why_it_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "payer.py").write_text(AGENT)
    said = sweep(tmp_path, 2, "payer.py:fickle").stderr
    assert "--message or --context" in said
    said = sweep(tmp_path, 1, "payer.py:fickle", "--message", "hello").stderr
    assert "does otherwise each time" in said
