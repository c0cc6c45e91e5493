"""The agent in another language does a full turn on the documented subjects, for real."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from pelton.events import subjects
from pelton.events.a2a import TaskState, text_of
from pelton.events.commands import Command
from pelton.events.context import Context, fold
from pelton.events.envelope import encode
from pelton.events.ids import context_of, task_id
from pelton.runtime.aggregates import agents_of
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from tests.stories import Story

FOLDER = Path(__file__).parents[2] / "examples" / "node-agent"
NODE = shutil.which("node")

needs_node = pytest.mark.skipif(
    NODE is None or not (FOLDER / "node_modules").is_dir(),
    reason="NOT TESTED: install Node.js 20 and run `make node`",
)


@contextlib.asynccontextmanager
async def running(url: str) -> AsyncGenerator[None, None]:
    """Run the agent until the context ends; it has registered and hears its bells."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE, "agent.mjs", cwd=FOLDER, env={"NATS_URL": url}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"ready: shout hears its bells\n"
        yield
    finally:
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def folded(log: JetStreamLog, context: str, commits: int) -> Context:
    """Return a context once it has so many commits."""
    state = Context(agent="shout", id=context)
    subject = subjects.commits("shout", context)
    async with asyncio.timeout(20):
        while True:
            for record in await log.read(subject, after=state.head):
                state = fold(state, record.sequence, record.data)
                commits -= 1
            if commits <= 0:
                return state
            await asyncio.sleep(0.05)


@needs_node
@pytest.mark.accepts("AS-9")
async def test_an_agent_in_node_does_full_turns(nats_url: str) -> None:
    context = "two words \u00e9"
    story = Story(agent="shout", context=context)
    first: Command = story.send("hello")
    again = first
    cancel = story.cancel(task_id(context, first.id))
    second = story.send("and more")
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log, running(nats_url):
        subject = subjects.commands("shout", context)
        await log.append(subject, encode(first), id=first.id, expect=0)
        await log.append(subject, encode(cancel), id=cancel.id)
        await log.append(subject, b"no command", id="poison")
        async with running(nats_url):  # two of them share the work
            await log.append(subject, encode(again), id="after the window")
            last = await log.append(subject, encode(second), id=second.id)
            state = await folded(log, context, commits=5)

        profile = (await agents_of(log, RealWorld()).load("shout")).profile
        assert profile is not None
        assert profile.title == "Shout"

    one, two = state.tasks.values()
    assert one.id == task_id(context, first.id)
    assert context_of(one.id) == context
    assert [task.status.state for task in (one, two)] == [TaskState.COMPLETED] * 2
    assert text_of(one.artifacts["answer"].parts) == "HELLO"
    assert text_of(two.artifacts["answer"].parts) == "AND MORE"
    codes = [refusal.code for refusal in state.rejected.values()]
    assert codes == ["task-not-cancelable", "damaged-record"]
    assert state.handled == last, "every command is decided, the repeated one without an event"


def test_the_lock_names_no_address() -> None:
    lock = (FOLDER / "package-lock.json").read_text()
    assert "resolved" not in lock
    assert "integrity" in lock
    assert "://" not in lock
