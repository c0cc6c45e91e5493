"""An executor is killed with a framework's agent in hand, and another one goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pelton.adapters.frameworks.contract import Capability
from pelton.events.a2a import TaskState, text_of
from pelton.events.events import StepCompleted, TurnStarted
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.testing.models import Asked, Play, ScriptedModel, calls, say
from tests.adapters.frameworks.kits import KITS, Kit
from tests.runtime.clients import WORLD, Client, only

POINTS = ("before commit:2", "after commit:2", "after commit:3")
"""Before the first answer of the model is recorded, after it is, and after a tool's result is."""

FRAMEWORKS = ("langgraph", "pydantic-ai", "openai-agents", "google-adk")
"""Whose processes take seconds to start: one point is enough for what is the same in all."""


@asynccontextmanager
async def doomed(
    url: str, model: ScriptedModel, kit: Kit, *point: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run an executor in a process of its own, which may be killed at a point."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.adapters.frameworks.served", url, model.url, kit.name),
        *point,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            while await process.stdout.readline() != b"ready\n":
                assert process.returncode is None
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.accepts("AS-11", "AS-60")
@pytest.mark.timeout(120)  # a process of its own imports a framework
@pytest.mark.parametrize(
    ("name", "point"),
    [
        *((name, point) for name in ("model", "worker") for point in POINTS),
        *((name, POINTS[1]) for name in FRAMEWORKS),
    ],
)
async def test_nothing_that_is_recorded_is_done_again(
    nats_url: str, log: JetStreamLog, effects: Path, name: str, point: str
) -> None:
    kit = KITS[name]
    assert Capability.REPLAY in kit.make("http://127.0.0.1").capabilities
    wanted = calls(("add", {"a": 1, "b": 2}), text="Let me see.")

    client = Client(log, name)
    async with ScriptedModel(
        lambda asked: say("It is 3.") if asked.lines[-1].role == "tool" else wanted
    ) as model:
        async with doomed(nats_url, model, kit, point) as process:
            context, id_ = await client.send("1 + 2")
            async with asyncio.timeout(20):
                assert await process.wait() == -9
        before = [e.key for e in await client.events(context) if isinstance(e, StepCompleted)]
        asked = len(model.asked)
        async with kit.served(log, model.url, patience=1.0):
            task = await client.settled(context, id_, within=20)
        assert len(model.asked) - asked <= 2 - sum(key.startswith("model") for key in before)
    events = await client.events(context)
    assert task.status.state is TaskState.COMPLETED
    assert text_of(only(task).parts) == "Let me see.\n\nIt is 3."
    keys = [e.key for e in events if isinstance(e, StepCompleted)]
    assert keys == sorted(set(keys), key=keys.index)
    assert len([key for key in keys if key.startswith(("model", "tool"))]) == 3
    assert [e.attempt for e in events if isinstance(e, TurnStarted)] == [1, 2]
    if any(key.startswith("tool") for key in before):
        assert effects.read_text() == "add\n"


def gone_on(asked: Asked) -> Play:
    """Play a model that goes on from what it is shown, however it is shown that."""
    done = any(line.role == "tool" or '"result":"3"' in line.text for line in asked.lines)
    return say("It is 3.") if done else calls(("add", {"a": 1, "b": 2}), text="Let me see.")


@pytest.mark.accepts("AS-11", "AS-60")
@pytest.mark.parametrize(
    ("name", "point"),
    [*(("acp", f"after commit:{number}") for number in (2, 3, 4)), ("codex", "after commit:3")],
)
async def test_another_process_goes_on_with_what_is_recorded(
    nats_url: str, log: JetStreamLog, effects: Path, name: str, point: str
) -> None:
    """An agent that acts by itself is shown what it has done; a call with a result is not made."""
    kit, client = KITS[name], Client(log, name)
    async with ScriptedModel(gone_on) as model:
        async with doomed(nats_url, model, kit, point) as process:
            context, id_ = await client.send("1 + 2")
            async with asyncio.timeout(20):
                assert await process.wait() == -9
        before = [e.key for e in await client.events(context) if isinstance(e, StepCompleted)]
        effects_before = effects.read_text()
        async with kit.served(log, model.url, patience=1.0):
            task = await client.settled(context, id_, within=20)
    events = await client.events(context)
    assert task.status.state is TaskState.COMPLETED
    assert text_of(only(task).parts).endswith("It is 3.")
    keys = [e.key for e in events if isinstance(e, StepCompleted)]
    assert keys == sorted(set(keys), key=keys.index)
    if any(key.startswith("tool") for key in before):
        assert effects.read_text() == effects_before == "add\n"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
@pytest.mark.accepts("AS-60")
@pytest.mark.parametrize(
    ("name", "program"),
    [("cli", "command.py"), ("worker", "guest.py"), ("acp", "coder.py"), ("codex", "appserver.py")],
)
async def test_no_command_outlives_its_executor(
    nats_url: str, log: JetStreamLog, name: str, program: str
) -> None:
    """Neither one that is killed, and with it whatever the command has started."""
    kit, client = KITS[name], Client(log, name)
    async with ScriptedModel([say("a beginning", stall=True)]) as model:
        async with doomed(nats_url, model, kit) as process:
            await client.send("go on")
            asked = await model.until(1)
            groups = running(program, model.url)
            assert groups
            process.kill()
            await process.wait()
        await asyncio.wait_for(asked.gone.wait(), 5)
        began = WORLD.monotonic()
        while running(program, model.url):
            assert WORLD.monotonic() - began < 5
            await asyncio.sleep(0.01)


def running(*words: str) -> list[int]:
    """Return the processes whose command lines have all these words."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
            if all(word in line for word in words):
                found.append(int(entry.name))
    return found
