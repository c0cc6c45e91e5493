"""What is remembered of a context goes with it, and nothing else does (AS-24, AS-20)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from msgspec.structs import replace

from pelton.adapters.push.keys import new_key
from pelton.adapters.sealing import TenantCipher
from pelton.events import subjects
from pelton.events.memories import Memory, MemoryNotFound
from pelton.events.memory import CauseKind, MemoryCause, MemoryScope
from pelton.events.remembering import CommitMemory, ReviseMemory
from pelton.projections.dump import digest
from pelton.projections.memories import MemoryQuery
from pelton.projections.store import open_store
from pelton.runtime.aggregates import agents_of
from pelton.runtime.clock import RealWorld
from pelton.runtime.erasure import Place, all_contexts, erase, look, minded
from pelton.runtime.extraction import Source, apply, rebuilt
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.memories import Memories
from pelton.runtime.provenance import origins, recallable, shown_memory
from pelton.runtime.rebuild import rebuild
from pelton.runtime.server import EmbeddedServer
from pelton.runtime.turn import Turn
from pelton.runtime.vault import ContentErased, ContentSealed, Sealing
from tests.runtime.clients import serving
from tests.runtime.test_erasure import files
from tests.runtime.test_memory import Act, Play, texts
from tests.runtime.test_projector import projecting

WORLD = RealWorld()
CANARY = "canary"


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    new_key(tmp_path / "keys.json", world=WORLD)
    return Sealing(TenantCipher(tmp_path / "keys.json", world=WORLD))


@pytest_asyncio.fixture
async def log(nats_server: EmbeddedServer, sealing: Sealing) -> AsyncIterator[JetStreamLog]:
    async with JetStreamLog.open(nats_server.url, sealing=sealing) as log:
        yield log


class Sealed(Play):
    """As `Play`, where what is said is sealed."""

    async def do(self, name: str, act: Act) -> str:
        kept: list[str] = []

        async def keeping(turn: Turn) -> str:
            kept.append(await act(turn))
            return kept[-1]

        await super().do(name, keeping)
        return kept[-1]


@asynccontextmanager
async def remembering(log: JetStreamLog, **options: Any) -> AsyncGenerator[Memories]:
    memories = Memories(log, world=WORLD, agents=agents_of(log, WORLD), **options)
    try:
        yield memories
    finally:
        await memories.aclose()


def remember(text: str) -> Callable[[Turn], Any]:
    async def act(turn: Turn) -> str:
        return (await turn.memory.commit(text, scope="global")).memory_id

    return act


async def gone(log: JetStreamLog, places: list[Place]) -> None:
    await erase(log, log.vault, places, world=WORLD, tenant="local", actor="cli")


async def found(memories: Memories, text: str = "") -> list[str]:
    return texts(await memories.recall(MemoryQuery(now=memories.now, text=text)))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not await condition():
            await asyncio.sleep(0.01)


@pytest.mark.accepts("AS-24", "AS-20", "AS-54")
async def test_what_is_remembered_of_an_erased_context_is_gone(
    log: JetStreamLog, nats_server: EmbeddedServer, sealing: Sealing, tmp_path: Path
) -> None:
    play, made = Sealed(log), list[str]()

    def embed(said: list[str]) -> Any:
        made.extend(said)
        return np.array([[1.0, len(each)] for each in said], np.float32)

    async with (
        serving(log, play.agent("echo")),
        JetStreamLog.open(nats_server.url, sealing=sealing) as elsewhere,
        remembering(elsewhere) as other,
        remembering(elsewhere, embed=embed) as meaning,
    ):
        first = await play.do("echo", remember(f"{CANARY} one, of the roof"))
        await play.do("echo", remember(f"{CANARY} two, of the park"))

        async def look_back(turn: Turn) -> str:
            page = await turn.memory.recall("roof")
            assert texts(page) == [f"{CANARY} one, of the roof"]
            assert await turn.memory.get(first) == page.items[0]
            return page.quoted()

        assert "of the roof" in await play.do("echo", look_back)
        assert CANARY.encode() not in files(tmp_path / "nats")
        assert await found(other, "roof") == (await found(meaning, "roof"))[:1]
        assert any("of the roof" in text for text in made)
        live = tmp_path / "live.db"
        await rebuild(log, live)
        assert CANARY.encode() not in live.read_bytes()

        places = await all_contexts(log)
        planned = await look(log, log.vault, places[0], await minded(log))
        assert (planned.memories, planned.chained) == ((first,), True)
        assert planned.plain == {"TaskSubmitted": 1, "SendMessage": 1}, "as the test sends it"
        assert planned.sealed["MemoryCommitted"] == 1
        await gone(log, places[:1])

        async def forgotten() -> bool:
            left = [await found(each, "roof park") for each in (other, meaning)]
            return left == [[f"{CANARY} two, of the park"]] * 2

        await until(forgotten)
        assert await found(other) == [f"{CANARY} two, of the park"]
        [shown] = (await shown_memory(other.log, first)).versions
        assert shown.content == "(erased)"

        async def look_again(turn: Turn) -> str:
            assert await turn.memory.get(first) is None
            assert await turn.memory.history(first) == ()
            return str(texts(await turn.memory.recall("roof park")))

        async def none_is_left() -> bool:
            return await play.do("echo", look_again) == str([f"{CANARY} two, of the park"])

        await until(none_is_left)
        with pytest.raises(ContentErased):
            await other.by_person(
                first,
                ReviseMemory(
                    operation="again",
                    cause=(await other.load(first)).versions[0].cause,
                    content="more",
                ),
            )
    done = await look(log, log.vault, places[0], await minded(log))
    assert done == replace(planned, erased=True)
    told = (await log.extent()).last
    async with open_store(live) as store, projecting(log, store) as projector:
        assert await projector.reached(told, within=5)
    anew = tmp_path / "anew.db"
    await rebuild(log, anew)
    assert await digest(anew) == await digest(live)
    assert CANARY.encode() not in files(tmp_path / "nats") + live.read_bytes() + anew.read_bytes()


def by_hand(text: str, owner: str = "echo") -> CommitMemory:
    return CommitMemory(
        operation=WORLD.new_id(),
        cause=MemoryCause(kind=CauseKind.PERSON),
        content=text,
        scope=MemoryScope.TEAM,
        owner=owner,
    )


@pytest.mark.accepts("AS-24")
async def test_what_a_person_wrote_has_a_key_of_its_own(log: JetStreamLog) -> None:
    async with remembering(log) as memories:
        command = by_hand(f"{CANARY}, by hand")
        shown = await memories.by_person(command.memory_id, command)
        assert shown.versions[0].content == f"{CANARY}, by hand"
        stored: Memory = await memories.load(command.memory_id)
        own = (subjects.MEMORY, command.memory_id)
        assert stored.versions[0].keyid == ".".join(own)
        assert CANARY not in stored.versions[0].content
        assert (await minded(log)).by_hand == {own: {"cli"}}
        await gone(log, [own])
        assert await found(memories) == []
        [version] = (await shown_memory(memories.log, command.memory_id)).versions
        assert version.content == "(erased)"


@pytest.mark.accepts("AS-24")
async def test_what_was_made_of_it_is_told_and_has_its_own_key(log: JetStreamLog) -> None:
    play = Sealed(log)
    async with serving(log, play.agent("echo")), remembering(log) as memories:
        id_ = await play.do("echo", remember(f"{CANARY} one"))
        person = MemoryCause(kind=CauseKind.PERSON)
        await memories.by_person(
            id_, ReviseMemory(operation="revise", cause=person, content=f"{CANARY} by hand")
        )
        back = ReviseMemory(operation="revert", cause=person, reverts=1)
        reverted = await memories.by_person(id_, back)
        assert reverted.versions[-1].content == f"{CANARY} one"
        [place] = await all_contexts(log)
        told = await look(log, log.vault, place, await minded(log))
        assert told.sealed["MemoryCommitted"] == 1
        assert told.sealed["MemoryRevised"] == 1, "what it reverts to stays sealed as it was"
        assert told.elsewhere == (f"_memory/{id_}",)
        await gone(log, [place])
        said = [each.content for each in (await shown_memory(memories.log, id_)).versions]
        assert said == ["(erased)", f"{CANARY} by hand", "(erased)"]
        assert (await origins(log, id_, 2)).version.content == f"{CANARY} by hand"
        last = (await log.extent()).last
        assert [m.versions[-1].content for m in await recallable(log, last)] == ["(erased)"]


@pytest.mark.accepts("AS-24")
async def test_it_is_made_anew_only_of_what_can_be_read(log: JetStreamLog) -> None:
    play = Sealed(log)

    def shout(source: Source) -> str:
        return source.content.upper()

    async with serving(log, play.agent("echo")), remembering(log) as memories:
        ids = [await play.do("echo", remember(f"{CANARY} {n}")) for n in range(2)]
        [first, _] = await all_contexts(log)
        await gone(log, [first])
        made = await rebuilt(log, shout, now=memories.now)
        assert (made.same, made.left) == (0, 1)
        [rewrite] = made.rewrites
        assert (rewrite.memory_id, rewrite.after) == (ids[1], f"{CANARY} 1".upper())
        assert await apply(memories, made.rewrites, "shout") == []
        assert await found(memories) == [f"{CANARY} 1".upper()]
        assert (await minded(log)).sealed.keys() == {
            v.keyid for id_ in ids for v in (await memories.load(id_)).versions
        }


@pytest.mark.accepts("AS-54")
async def test_without_the_keys_memory_is_sealed_and_nothing_of_it_is_found(
    log: JetStreamLog, nats_server: EmbeddedServer
) -> None:
    play = Sealed(log)
    async with serving(log, play.agent("echo")):
        id_ = await play.do("echo", remember(f"{CANARY} one"))
    async with (
        JetStreamLog.open(nats_server.url) as stranger,
        serving(stranger, play.agent("stranger")),
        remembering(stranger) as memories,
    ):
        assert (await shown_memory(memories.log, id_)).versions[0].content == "(sealed)"
        assert await found(memories, "one") == []
        for query in ("one", ""):
            wanted = MemoryQuery(now=memories.now, text=query)
            assert await memories.unsearched(wanted) == 1, "it does not look like none"

        async def get(turn: Turn) -> str:
            with pytest.raises(ContentSealed):
                await turn.memory.get(id_)
            return "refused"

        assert await play.do("stranger", get) == "refused"
    with pytest.raises(MemoryNotFound):
        await origins(log, "0" * 32)
