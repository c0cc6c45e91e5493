"""Memory under misfortune: an executor dies between a memory and the step that records it.

Memories are aggregates of their own, so that a version may be in the log and the turn not know of
it yet. Wherever the executor dies, a later attempt gives the same version, and no other is made.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest

from pelton.events import subjects
from pelton.events.a2a import TaskState, text_of
from pelton.events.events import StepCompleted, TurnStarted
from pelton.events.memories import Memory, memories_as_of
from pelton.events.memory import result_of
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Terms, agent
from pelton.runtime.executor import Executor
from pelton.runtime.remembered import MemoryMoved
from pelton.runtime.simulation import Faults, Process, SimulatedLog, SimulatedWorld, run
from pelton.runtime.turn import Turn
from tests.simulation.stage import Stage

MOMENTS = 150
"""Callbacks of the executor after one of which it dies: it makes fewer until the task has ended."""


@agent(name="echo", team="red", terms=Terms(suspend_after=0.5))
async def keeper(turn: Turn) -> str:
    """Use memory in every way that writes, and tell what it was given."""
    memory = turn.memory
    note = await memory.commit("The door is blue.", scope="team")
    count = await memory.put("count", 1, expect=0)
    await memory.put("count", 2, expect=count.version)
    try:
        await memory.put("count", 9, expect=count.version)
    except MemoryMoved:
        await memory.revise(note.memory_id, "The door is red.", expect=1)
    other = await memory.commit("A door.", scope="team")
    latest = [await memory.get(note.memory_id), await memory.get(other.memory_id)]
    made = await memory.consolidate([each.ref for each in latest if each], "One.", scope="team")
    await memory.forget(key="count")
    said = await memory.history(key="count")
    return f"{[each.version for each in said]} {made.version} {latest[0] and latest[0].content}"


EXPECTED = "[2, 1] 1 The door is red."


def remembered(stage: Stage) -> Mapping[str, Memory]:
    """Return the memories that the log has, folded: what does not chain raises."""
    stored = [each.record for each in stage.server.log]
    return memories_as_of((r.sequence, r.subject, r.data) for r in stored).memories


def left_open(stage: Stage) -> int:
    """Return how many versions were written and not recorded before a later attempt began."""
    written: dict[tuple[str, int], int] = {}
    recorded: set[tuple[str, int]] = set()
    left = 0
    for stored in stage.server.log:
        record = stored.record
        if not record.subject.startswith("evt."):
            continue
        for event in decode_commit(record.data).data.events:
            if isinstance(event, StepCompleted):
                made = result_of(event.result).made
                recorded |= {(made.memory_id, made.version)} if made else set()
            elif isinstance(event, TurnStarted):
                left += event.attempt > 1 and bool(written.keys() - recorded)
            elif subjects.parse(record.subject).agent == subjects.MEMORY:
                written[event.memory_id, event.version] = record.sequence  # type: ignore[union-attr]
    return left


def play(moment: int, counts: Counter[str], faults: Faults) -> None:
    """Let the executor die at a moment, and another go on; then look at everything."""

    async def main(world: SimulatedWorld) -> None:
        stage = Stage(world)

        def executor(name: str) -> Process:
            async def serve() -> None:
                log = SimulatedLog(stage.server, name=name, faults=faults)
                process.killed.append(log.link.close)
                await Executor(log, [keeper], world=world.part(name)).run()

            process = Process(name)
            process.start(serve())
            return process

        first = executor("first")
        await stage.until(lambda: first.alive and stage.server.read(
            subjects.agent_commits("echo"), 0, None, decisive=True
        ))  # fmt: skip
        task = await stage.send("go")
        first.doom(moment)
        ended = asyncio.ensure_future(stage.ended(task))
        await asyncio.wait((ended, first.ended), return_when="FIRST_COMPLETED")
        counts["killed"] += not first.alive
        second = executor("second")
        done = await ended
        assert done.status.state is TaskState.COMPLETED, done.status
        assert done.status.message is not None
        assert text_of(done.status.message.parts) == EXPECTED
        found = remembered(stage)
        assert sorted(len(memory.versions) for memory in found.values()) == [1, 1, 2, 3]
        counts["left open"] += left_open(stage)
        for process in (first, second):
            process.kill()

    run(moment, main, limit=600.0)


@pytest.mark.accepts("G2", "G5", "AS-53", "AS-62")
@pytest.mark.parametrize("lost", [0.0, 0.2], ids=["quiet", "lost replies"])
def test_wherever_an_executor_dies_each_version_is_made_once(lost: float) -> None:
    counts, faults = Counter[str](), Faults(lost_replies=lost)
    for moment in range(0, MOMENTS, 10 if lost else 2):
        play(moment, counts, faults)
    assert counts["killed"] >= (8 if lost else 30), counts
    assert counts["left open"] >= (1 if lost else 2), counts
    assert bool(faults.fired["lost reply"]) == bool(lost)
