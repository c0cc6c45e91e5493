"""Memories in trials and forks: recorded steps name versions, which must be there, or must not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pelton.adapters.cli.diff import sessions_of
from pelton.adapters.cli.shadow import Cohort, recorded
from pelton.events import subjects
from pelton.events.errors import InvalidInput
from pelton.events.memory import CauseKind, MemoryCause, MemoryRef
from pelton.events.remembering import CommitMemory, ReviseMemory
from pelton.runtime.agents import agent
from pelton.runtime.aggregates import agents_of
from pelton.runtime.clock import RealWorld
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.memories import Memories
from pelton.runtime.provenance import recallable
from pelton.runtime.rebuild import rebuild
from pelton.runtime.replay.fork import Policy, Tools, opening, prefix
from pelton.runtime.replay.lineage import with_lineage
from pelton.runtime.replay.rerun import rerun
from pelton.runtime.replay.session import Session, task_session
from pelton.runtime.replay.trial import Ran, from_start, play_live, play_still
from pelton.runtime.replay.without import without
from pelton.runtime.settings import NatsSettings, Secret, Settings
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving

KNOWN = "soup: somebody has asked | soup needs salt | soup: somebody has asked"


@agent(name="echo")
async def cook(turn: Turn) -> str:
    """Notes what it is told, and says what it knows."""
    if turn.text.startswith("note "):
        note = await turn.memory.commit(turn.text.removeprefix("note "))
        return note.memory_id
    last = await turn.memory.commit("soup: somebody has asked")
    found = await turn.memory.recall("soup", order="newest")
    again = await turn.memory.get(last.memory_id)
    assert again is not None
    return " | ".join(each.content for each in (*found.items, again))


async def asked(log: JetStreamLog) -> tuple[Session, str, str]:
    """Return a session, its task, and the memory that the task was given of another one."""
    client = Client(log)
    async with serving(log, cook):
        context, first = await client.send("note soup needs salt")
        memory = reply(await client.settled(context, first))
        _, task = await client.send("what of soup?", context)
        said = reply(await client.settled(context, task))
    assert said == KNOWN
    return await task_session(log, task), task, memory


async def noted(log: JetStreamLog) -> tuple[str, str, Memories]:
    """Return a task, the memory that it has made, and what people change memories with."""
    client, world = Client(log), RealWorld()
    async with serving(log, cook):
        context, task = await client.send("note soup needs salt")
        memory = reply(await client.settled(context, task))
    return task, memory, Memories(log, world=world, agents=agents_of(log, world))


async def replaced(memories: Memories, memory: str) -> tuple[str, str]:
    """Let a person put a memory in the place of one and of another, and return the ids of both."""
    member = await memories.member("echo")
    place: dict[str, Any] = {"owner": "echo", "life": member.life, "author": "echo"}
    cause = MemoryCause(kind=CauseKind.PERSON)
    pepper = CommitMemory(operation="pepper", cause=cause, content="and pepper", **place)
    await memories.by_person(pepper.memory_id, pepper)
    both = CommitMemory(
        operation="both",
        cause=cause,
        content="soup needs salt and pepper",
        sources=tuple(MemoryRef(memory_id=id_, version=1) for id_ in (memory, pepper.memory_id)),
        consolidates=True,
        **place,
    )
    await memories.by_person(both.memory_id, both)
    return pepper.memory_id, both.memory_id


def memories_in(session: Session) -> list[str]:
    """Return the ids of the memories that a session holds."""
    places = [subjects.parse(each.subject) for each in session.records]
    return [*dict.fromkeys(each.beside for each in places if each.agent == subjects.MEMORY)]


def played(session: Session, task: str) -> Ran:
    trial, later = from_start(session, task, [cook], Policy(values=True))
    ran = play_still(trial, within=60)
    assert later.missed == []
    return ran


async def test_a_trial_is_given_what_the_record_was(log: JetStreamLog) -> None:
    session, task, memory = await asked(log)
    ran = await asyncio.to_thread(played, session, task)
    assert (
        reply(ran.task) == "soup: somebody has asked | soup needs salt | soup: somebody has asked"
    )
    dropped = without(session, [memory], opening(session, task))
    ran = await asyncio.to_thread(played, dropped, task)
    assert reply(ran.task) == "soup: somebody has asked | soup: somebody has asked"


async def test_what_people_make_of_memories_later_is_no_part_of_a_rerun(log: JetStreamLog) -> None:
    task, memory, memories = await noted(log)
    for number in range(4):
        command = ReviseMemory(
            operation=memories.new_operation(),
            cause=MemoryCause(kind=CauseKind.PERSON),
            content=f"soup needs {number} grains of salt",
        )
        await memories.by_person(memory, command)
    verdict = await asyncio.to_thread(rerun, await task_session(log, task), task, cook)
    verdict.check()


async def test_steps_that_run_find_what_was_there_then(log: JetStreamLog) -> None:
    session, task, memory = await asked(log)
    start, now = opening(session, task), RealWorld().now()
    policy = Policy(named={f"memory.{name}": Tools.LIVE for name in ("commit", "recall", "get")})
    assert not policy.remembers
    for kept in (session, without(session, [memory], start)):
        trial, _ = from_start(kept, task, [cook], policy, now=now)
        ran = await play_live(trial, within=30)
        known = ["soup needs salt"] if kept is session else []
        said = ["soup: somebody has asked", *known, "soup: somebody has asked"]
        assert reply(ran.task) == " | ".join(said)


async def test_what_was_not_there_cannot_be_dropped(log: JetStreamLog) -> None:
    session, task, memory = await asked(log)
    with pytest.raises(InvalidInput, match="no memory"):
        without(session, ["nothing"], 10**6)
    with pytest.raises(InvalidInput, match="no memory"):
        without(session, [memory], 1)
    begun = without(session, [memory], 10**6)
    subject = f"evt._memory.{memory}"
    assert any(each.subject == subject for each in session.records)
    assert not any(each.subject == subject for each in begun.records)
    told = prefix(begun, 10**6, now=RealWorld().now(), task_id=task)
    assert not any(memory.encode() in data and b"memory.recall" in data for _, data in told)


async def test_a_fork_knows_what_took_the_place_of_a_memory(log: JetStreamLog) -> None:
    """What a person puts in the place of memories is in no conversation, and is recalled there."""
    task, memory, memories = await noted(log)
    pepper, both = await replaced(memories, memory)
    session = await with_lineage(log, await task_session(log, task), sources=False)
    there = {each.subject for each in session.records}
    assert subjects.memory(both) in there
    assert subjects.memory(pepper) not in there
    last = session.records[-1].sequence
    assert [each.id for each in await recallable(session, last, agent="echo")] == [both]
    assert [each.id for each in await recallable(session, last - 2)] == [memory]


@agent(name="echo")
async def deaf(turn: Turn) -> str:
    """Notes what it is told, and knows nothing."""
    if turn.text.startswith("note "):
        await turn.memory.commit(turn.text.removeprefix("note "))
    return "I do not know"


async def test_a_version_in_the_shadow_recalls_what_took_the_place_of_memories(
    log: JetStreamLog, nats_url: str, tmp_path: Path
) -> None:
    """What a person has put in the place of memories is in no conversation: shadow and bisect."""
    client, world = Client(log), RealWorld()
    async with serving(log, deaf):
        context, task = await client.send("note soup needs salt")
        await client.settled(context, task)
        [memory] = memories_in(await task_session(log, task))
        memories = Memories(log, world=world, agents=agents_of(log, world))
        pepper, both = await replaced(memories, memory)
        _, task = await client.send("what of soup?", context)
        await client.settled(context, task)
    settings = Settings(data=str(tmp_path), nats=NatsSettings(url=Secret(nats_url)))
    await rebuild(log, settings.projections_path)

    def sessions() -> list[tuple[Session, str]]:
        cohort = Cohort("echo", None, None, "")
        return [*recorded(settings, None, cohort, 1), *sessions_of(settings, [task])]

    policy = Policy(named={f"memory.{name}": Tools.LIVE for name in ("commit", "recall", "get")})
    for session, played in await asyncio.to_thread(sessions):
        assert played == task
        assert {*memories_in(session)} == {memory, pepper, both}
        trial, _ = from_start(session, task, [cook], policy, now=world.now())
        ran = await play_live(trial, within=30)
        assert "soup needs salt and pepper" in reply(ran.task)
        assert "soup needs salt |" not in reply(ran.task)
