"""What is sealed runs again, forks and is compared where its keys are, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from pelton.adapters.push.keys import new_key
from pelton.adapters.sealing import TenantCipher
from pelton.events.a2a import TaskState
from pelton.runtime.agents import Agent, agent
from pelton.runtime.bulk import inline_task
from pelton.runtime.erasure import all_contexts, erase
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.replay import rerun as reruns
from pelton.runtime.replay.archive import Header, pack, unpack
from pelton.runtime.replay.diff import diff
from pelton.runtime.replay.fork import Chosen, Later, Policy, opening, prefix
from pelton.runtime.replay.session import Session, task_session, with_keys
from pelton.runtime.replay.trial import Trial, from_start, play_live, play_still
from pelton.runtime.replay.unsealed import unsealed
from pelton.runtime.replay.verdict import Verdict
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn
from pelton.runtime.vault import ContentErased, ContentSealed, Sealing, carried
from tests.runtime.clients import Client, serving
from tests.runtime.test_erasure import WORLD, say, words

CANARY = "canary"


@pytest_asyncio.fixture
async def log(nats_server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[JetStreamLog]:
    new_key(tmp_path / "keys.json", world=WORLD)
    sealing = Sealing(TenantCipher(tmp_path / "keys.json", world=WORLD))
    async with JetStreamLog.open(nats_server.url, sealing=sealing) as log:
        yield log


def look(text: str) -> dict[str, str]:
    return {"seen": text}


@agent(name="echo")
async def noter(turn: Turn) -> str:
    await turn.memory.commit(turn.text)
    return turn.text


def talker(also: str = "") -> Agent:
    @agent(name="echo")
    async def talk(turn: Turn) -> str:
        seen = await turn.step("look", look, turn.text, idempotent=True)
        note = await turn.memory.commit(f"{turn.text} was seen{also}")
        known = await turn.memory.get(note.memory_id)
        assert known is not None
        await turn.stream(f"{turn.text}{also}")
        await turn.artifact(seen["seen"], name="note")
        helped = await turn.delegate("helper", f"help {turn.text}")
        return f"{known.content}: {helped.text}"

    return talk


@agent(name="helper")
async def helper(turn: Turn) -> str:
    return f"did {turn.text}"


async def played(log: JetStreamLog, text: str) -> tuple[str, Session]:
    client = Client(log)
    context, task = await say(log, text)
    ended = await client.settled(context, task)
    assert ended.status.state is TaskState.COMPLETED, ended.status
    return task, await task_session(log, task)


async def rerun(session: Session, task: str, code: Agent) -> Verdict:
    return await asyncio.to_thread(reruns.rerun, session, task, code)


def on_disk(session: Session) -> bytes:
    return pack(Header(context="c", exported="t"), session)[0]


@pytest.mark.accepts("AS-23", "AS-24")
async def test_what_is_sealed_runs_again_where_its_keys_are(log: JetStreamLog) -> None:
    async with serving(log, talker(), helper):
        task, session = await played(log, CANARY)
    assert (await rerun(session, task, talker())).divergence is None
    other = (await rerun(session, task, talker("!"))).divergence
    assert other is not None
    assert other.found is not None
    away = unpack(on_disk(session)).session
    with pytest.raises(ContentSealed):
        await rerun(away, task, talker())
    assert (await rerun(await with_keys(away, log.vault), task, talker())).divergence is None
    await erase(log, log.vault, await all_contexts(log), world=WORLD, tenant="local", actor="cli")
    with pytest.raises(ContentErased):
        await rerun(await task_session(log, task), task, talker())


@pytest.mark.accepts("AS-24")
async def test_a_fork_is_sealed_with_the_same_keys(log: JetStreamLog) -> None:
    async with serving(log, talker(), helper):
        task, session = await played(log, CANARY)
    start, now = opening(session, task), datetime.now(UTC)
    records = prefix(session, start, now=now)
    steps = partial(Chosen, Policy(memory=True), Later(session, start))
    trial = Trial(session, records, task, now, [talker("!"), helper], steps)
    fork = await play_live(trial, within=10)
    assert fork.task.status.state is TaskState.COMPLETED
    assert CANARY.encode() not in on_disk(fork.session)
    again = await with_keys(unpack(on_disk(fork.session)).session, log.vault)
    shown = words(await inline_task(again, fork.task.view()))
    assert f"{CANARY} was seen!: did help {CANARY}" in shown
    await erase(log, log.vault, await all_contexts(log), world=WORLD, tenant="local", actor="cli")
    again = await with_keys(unpack(on_disk(fork.session)).session, log.vault)
    assert CANARY not in words(await inline_task(again, fork.task.view()))


@pytest.mark.accepts("AS-24")
async def test_a_file_carries_keys_for_who_has_the_file_that_wraps_them(
    log: JetStreamLog, tmp_path: Path
) -> None:
    async with serving(log, talker(), helper):
        task, session = await played(log, CANARY)
    new_key(tmp_path / "theirs.json", world=WORLD)
    theirs = TenantCipher(tmp_path / "theirs.json", world=WORLD)
    vault = session.vault
    assert vault is not None
    data = pack(Header(context="c", exported="t"), session, await vault.wrapped_with(theirs))[0]
    assert CANARY.encode() not in data
    opened = unpack(data)
    away = await with_keys(opened.session, carried(opened.keys, theirs, world=WORLD))
    assert (await rerun(away, task, talker())).divergence is None
    assert away.vault is not None
    assert away.vault.carried
    new_key(tmp_path / "others.json", world=WORLD)
    others = TenantCipher(tmp_path / "others.json", world=WORLD)
    closed = await with_keys(opened.session, carried(opened.keys, others, world=WORLD))
    with pytest.raises(ContentSealed):
        await rerun(closed, task, talker())
    await erase(log, log.vault, await all_contexts(log), world=WORLD, tenant="local", actor="cli")
    gone = (await task_session(log, task)).vault
    assert gone is not None
    assert await gone.wrapped_with(theirs) == {}, "what is erased is carried nowhere"


async def test_what_is_said_is_compared_and_not_how_it_is_sealed(log: JetStreamLog) -> None:
    async with serving(log, noter):
        one, first = await played(log, CANARY)
        two, second = await played(log, CANARY)
        three, third = await played(log, "else")
    plain = [await unsealed(each) for each in (first, second, third)]
    assert CANARY.encode() in on_disk(plain[0])
    assert diff(first, one, second, two).differences
    assert not diff(plain[0], one, plain[1], two).differences
    assert diff(plain[0], one, plain[2], three).differences
    assert (await rerun(plain[0], one, noter)).divergence is None
    away = unpack(on_disk(first)).session
    with pytest.raises(ContentSealed):
        await unsealed(away)


async def test_a_trial_in_memory_has_the_keys_too(log: JetStreamLog) -> None:
    async with serving(log, talker(), helper):
        task, session = await played(log, CANARY)
    trial, later = from_start(session, task, [talker()], Policy())
    ran = await asyncio.to_thread(play_still, trial, within=3600)
    assert (ran.task.status.state, later.missed) == (TaskState.COMPLETED, [])
    shown = words(await inline_task(ran.session, ran.task.view()))
    assert f"{CANARY} was seen: did help {CANARY}" in shown
    assert not diff(session, task, ran.session, task).differences
