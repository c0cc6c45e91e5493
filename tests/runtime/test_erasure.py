"""Erased content is unreadable for good, and everything else stands as it did (AS-24, AS-20)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from pelton.adapters.push.keys import new_key
from pelton.adapters.sealing import TenantCipher
from pelton.events import access, subjects
from pelton.events.a2a import Artifact, Message, Part, Role, Task, TaskState, text_of
from pelton.events.commands import SendMessage
from pelton.events.events import FailureClass, TurnEnded
from pelton.events.upcast import decode_command, decode_commit
from pelton.projections.dump import digest
from pelton.projections.store import open_store
from pelton.runtime.agents import Terms, agent
from pelton.runtime.bulk import ContextBlobs, fetch, inline, inline_task, offload, readable
from pelton.runtime.clock import RealWorld
from pelton.runtime.erasure import all_contexts, contexts_of, erase, look, minded
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.rebuild import rebuild
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn
from pelton.runtime.vault import ContentErased, ContentSealed, Sealing
from tests.runtime.clients import Client, reply, serving
from tests.runtime.test_projector import projecting

WORLD = RealWorld()
CANARY = "canary-of-anna-"


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    new_key(tmp_path / "keys.json", world=WORLD)
    return Sealing(TenantCipher(tmp_path / "keys.json", world=WORLD))


@pytest_asyncio.fixture
async def log(nats_server: EmbeddedServer, sealing: Sealing) -> AsyncIterator[JetStreamLog]:
    async with JetStreamLog.open(nats_server.url, sealing=sealing) as log:
        yield log


def tool(text: str) -> dict[str, str]:
    return {"seen": text}


@agent(name="echo", terms=Terms(suspend_after=0.1))
async def talker(turn: Turn) -> str:
    """Says what it hears in every way there is, over two attempts."""
    said = turn.text
    seen = await turn.step("tool", tool, said, idempotent=True)
    await turn.status(f"status {said}")
    for piece in ("streamed ", said):
        await turn.stream(piece)
    await turn.artifact([Part(data=seen), Part(url=f"https://x.test/{said}")], name="parts")
    await turn.sleep(0.3)  # the next attempt has it all from the log, and says the same
    return f"{len(turn.history)} {seen['seen']}"


def words(task: Task) -> str:
    holders: list[Message | Artifact] = [*task.history, *task.artifacts]
    if task.status.message is not None:
        holders.append(task.status.message)
    parts = [part for holder in holders for part in holder.parts]
    return " ".join(str(each) for p in parts for each in (p.text, p.url, p.data) if each)


def files(directory: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(directory.rglob("*")) if each.is_file())


async def say(log: JetStreamLog, text: str, context: str | None = None) -> tuple[str, str]:
    """Send a message as a bridge does: sealed."""
    client, id_ = Client(log), context or WORLD.new_id()
    message = Message(message_id=WORLD.new_id(), role=Role.USER, parts=(Part(text=text),))
    message = await offload(ContextBlobs(log, "echo", id_), message)
    return await client.send("", id_, message=message)


@pytest.mark.accepts("AS-24", "AS-20")
async def test_an_erased_context_is_unreadable_and_still_chains(
    log: JetStreamLog, nats_server: EmbeddedServer, sealing: Sealing, tmp_path: Path
) -> None:
    client, said = Client(log), f"{CANARY}1"
    async with serving(log, talker):
        kept, other_task = await say(log, f"{CANARY}2")
        other = await client.settled(kept, other_task)
        context, task = await say(log, said)
        ended = await client.settled(context, task)
    whole = await inline_task(log, ended.view())
    assert words(whole).count(said) == 6  # message, status, stream, data, url, answer
    assert reply(ended) == ""
    assert CANARY.encode() not in files(tmp_path / "nats")
    wrapped = re.compile(rb'"wrapped":"([^"]+)"')
    keys = set(wrapped.findall(files(tmp_path / "nats")))
    assert len(keys) == 2
    live, anew = tmp_path / "live.db", tmp_path / "anew.db"
    await rebuild(log, live)

    places = await contexts_of(log, context)
    planned = await look(log, log.vault, places[0], await minded(log))
    assert (planned.had_key, planned.erased, planned.chained) == (True, False, True)
    async with JetStreamLog.open(nats_server.url, sealing=sealing) as elsewhere:
        assert words(await inline_task(elsewhere, ended.view())) == words(whole)  # it has the key
        for _ in range(2):  # again is once
            await erase(log, log.vault, places, world=WORLD, tenant="local", actor="cli")
        async with asyncio.timeout(5):
            while said in words(await inline_task(elsewhere, ended.view())):
                await asyncio.sleep(0.01)
        with pytest.raises(ContentErased):
            await say(elsewhere, "more", context)
    gone = await look(log, log.vault, places[0], await minded(log))
    assert gone == msgspec.structs.replace(planned, erased=True)
    assert gone.plain == gone.foreign == {}
    assert gone.sealed["StepCompleted"] == gone.sealed["SendMessage"] == 1
    (left,) = set(wrapped.findall(files(tmp_path / "nats")))
    assert left in keys
    assert sum(files(tmp_path / "nats").count(key) for key in keys - {left}) == 0
    shown = words(await inline_task(log, ended.view()))
    assert CANARY not in shown
    assert shown.count("(erased)") == 6
    assert f"{CANARY}2" in words(await inline_task(log, other.view()))
    told = await log.read(subjects.access(subjects.ERASURES))
    (event,) = [event for each in told for event in decode_commit(each.data).data.events]
    assert event == access.ContentErased(agent="echo", context_id=context)
    async with open_store(live) as store, projecting(log, store) as projector:
        assert await projector.reached(told[-1].sequence, within=5)
    await rebuild(log, anew)
    assert await digest(anew) == await digest(live)
    assert CANARY.encode() not in live.read_bytes() + anew.read_bytes()


@pytest.mark.accepts("AS-24")
async def test_a_turn_that_runs_meanwhile_fails_for_good(log: JetStreamLog) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @agent(name="echo")
    async def slow(turn: Turn) -> str:
        await turn.stream(turn.text)
        begun.set()
        await go.wait()
        return turn.text

    client = Client(log)
    async with serving(log, slow):
        context, task = await say(log, "one")
        await begun.wait()
        places = await contexts_of(log, context)
        await erase(log, log.vault, places, world=WORLD, tenant="local", actor="cli")
        go.set()
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.FAILED
    (end,) = [each for each in await client.events(context) if isinstance(each, TurnEnded)]
    assert end.failure is not None
    assert (end.failure.kind, end.failure.exception) == (FailureClass.POLICY, "ContentErased")


@pytest.mark.accepts("AS-24")
async def test_all_that_a_principal_or_the_tenant_has_goes(log: JetStreamLog) -> None:
    client = Client(log)
    for actor in ("anna", "anna", "bert"):
        id_ = WORLD.new_id()
        message = Message(message_id=id_, role=Role.USER, parts=(Part(text=actor),))
        message = await offload(ContextBlobs(log, "echo", id_), message)
        await client.send("", id_, message=message, actor=actor)
    async with serving(log, talker):
        for place in await all_contexts(log):
            await client.until(place[1], lambda state: bool(state.tasks))
    await client.send("never sealed")
    annas = await all_contexts(log, "anna")
    assert len(annas) == 2
    for places, left in ((annas, 1), (await all_contexts(log), 0)):
        await erase(log, log.vault, places, world=WORLD, tenant="local", actor="cli")
        found = [
            await look(log, log.vault, place, await minded(log))
            for place in await all_contexts(log)
        ]
        assert [each.had_key for each in found] == [True, True, True, False]
        assert sum(each.had_key and not each.erased for each in found) == left
        assert found[-1].plain == {"SendMessage": 1}


@pytest.mark.accepts("AS-24")
async def test_what_another_agent_has_said_goes_with_its_own_context(log: JetStreamLog) -> None:
    @agent(name="helper")
    async def helper(turn: Turn) -> str:
        await turn.artifact(f"helped {turn.text}")
        return f"did {turn.text}"

    @agent(name="echo")
    async def boss(turn: Turn) -> str:
        done = await turn.delegate("helper", turn.text)
        return f"{done.text}: {text_of(done.artifacts[0].parts)}"

    client = Client(log)
    async with serving(log, boss, helper):
        context, task = await say(log, CANARY)
        ended = await client.settled(context, task)
    assert f"did {CANARY}: helped {CANARY}" in words(await inline_task(log, ended.view()))
    first, second = await all_contexts(log)
    parent, child = [
        await look(log, log.vault, place, await minded(log)) for place in (first, second)
    ]
    assert (first, parent.elsewhere) == (("echo", context), (f"helper/{second[1]}",))
    assert (child.elsewhere, child.plain, parent.plain) == ((f"echo/{context}",), {}, {})
    assert parent.foreign == {"DelegationReported": 2, "ReportTask": 2}
    assert child.foreign == {"SendMessage": 1, "TaskSubmitted": 1}
    await erase(log, log.vault, [second], world=WORLD, tenant="local", actor="cli")
    assert CANARY in words(await inline_task(log, ended.view()))  # the answer is the parent's own
    helped = await Client(log, "helper").contexts.load(*second)
    (view,) = [await inline_task(log, each.view()) for each in helped.tasks.values()]
    assert words(view).split() == [CANARY, "(erased)", "(erased)"]  # what it was asked, is too


async def test_without_the_tenants_key_content_is_sealed(
    log: JetStreamLog, nats_server: EmbeddedServer, tmp_path: Path
) -> None:
    context, _ = await say(log, CANARY)
    (record,) = await log.read(subjects.commands("echo", context))
    command = decode_command(record.data)
    assert isinstance(command, SendMessage)
    message = command.data.message
    assert (await inline(log, message)).parts[0].text == CANARY
    new_key(tmp_path / "other.json", world=WORLD)
    for sealing in (Sealing(), Sealing(TenantCipher(tmp_path / "other.json", world=WORLD))):
        async with JetStreamLog.open(nats_server.url, sealing=sealing) as stranger:
            with pytest.raises(ContentSealed):
                await inline(stranger, message)
            (part,) = (await readable(stranger, message)).parts
            assert (part.text, part.metadata) == ("(sealed)", {"pelton/unreadable": "sealed"})
    (part,) = message.parts
    assert part.blob is not None
    for name in ("echo.other", "nobody", "echo.a b", f"{part.blob.key}.x"):
        with pytest.raises(ContentSealed):
            await fetch(log, msgspec.structs.replace(part.blob, member=f"text:{name}"))


async def test_two_who_seal_first_have_one_key(log: JetStreamLog) -> None:
    texts = [f"text {n}" for n in range(20)]
    sealed = await asyncio.gather(*[log.vault.seal("echo", "c", each.encode()) for each in texts])
    log.vault.forget_all()
    assert [(await log.vault.open(*each)).decode() for each in sealed] == texts
    assert (await log.vault.seal("echo", "c", texts[0].encode())) == sealed[0]
