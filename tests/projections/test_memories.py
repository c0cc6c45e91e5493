"""Memories as the read models have them: equal to the fold, whatever the batches; safe to ask."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.a2a import TaskState
from pelton.events.commit import Commit, CommitData
from pelton.events.envelope import encode
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import StepCompleted
from pelton.events.memories import (
    Member,
    Memory,
    fold,
    memories_as_of,
    readable,
)
from pelton.events.memory import CauseKind, MemoryCause, MemoryRef, MemoryResult, MemoryScope
from pelton.events.remembering import (
    CommitMemory,
    ForgetMemory,
    MemoryCommand,
    ReviseMemory,
    decide,
)
from pelton.projections.memories import MemoryQuery, Order, match
from pelton.projections.read import ReadModels, open_read_models
from pelton.projections.store import open_store
from pelton.runtime.log import Record
from tests.projections.test_store import build, cut, sizes
from tests.stories import Story, Tape
from tests.strategies import canonical

T = TypeVar("T")

LATER = "2030-01-01T00:00:00.000Z"
CAUSE = MemoryCause(kind=CauseKind.PERSON)
ANNA, BERT = Member("anna", 1, "red"), Member("bert", 2, "blue")


class Diary:
    """Writes memories to a tape, by the domain's own rules."""

    def __init__(self, tape: Tape | None = None) -> None:
        self.tape = tape or Tape()
        self.memories: dict[str, Memory] = {}
        self.operations = 0

    def write(self, id_: str, command: MemoryCommand, member: Member | None = None) -> Memory:
        """Decide a command, and append what comes of it."""
        memory = self.memories.get(id_) or Memory(id=id_)
        sources = tuple(self.memories.values())
        event = decide(memory, command, member=member, now=self.tape.now, sources=sources)
        if event is None:
            return memory
        commit = Commit(
            id=f"commit-{len(self.tape.records)}",
            source="test",
            subject=f"_memory/{id_}",
            time=self.tape.now,
            tenant="t",
            actor="anna",
            correlationid="c",
            causationid="c",
            sequence=memory.sequence + 1,
            prevhash=memory.hash,
            data=CommitData(events=(event,)),
        )
        data = encode(commit)
        sequence = self.tape.append(subjects.memory(id_), data)
        self.memories[id_] = fold(memory, sequence, data)
        return self.memories[id_]

    def commit(
        self,
        content: str,
        member: Member | None = ANNA,
        cause: MemoryCause = CAUSE,
        **more: Any,
    ) -> Memory:
        """Commit a memory."""
        self.operations += 1
        place: dict[str, Any] = {"scope": MemoryScope.GLOBAL}
        if member is not None:
            place = {"owner": member.agent, "life": member.life, "author": member.agent}
        command = CommitMemory(
            operation=f"o{self.operations}", content=content, cause=cause, **(place | more)
        )
        return self.write(command.memory_id, command, member)

    def revise(self, memory: Memory, content: str, **more: Any) -> Memory:
        """Revise a memory, as a person."""
        self.operations += 1
        return self.write(
            memory.id,
            ReviseMemory(operation=f"o{self.operations}", cause=CAUSE, content=content, **more),
        )

    def forget(self, memory: Memory) -> Memory:
        """Forget a memory, as a person."""
        self.operations += 1
        return self.write(memory.id, ForgetMemory(operation=f"o{self.operations}", cause=CAUSE))


def ask(
    records: Sequence[Record],
    what: Callable[[ReadModels], Awaitable[T]],
    batches: Sequence[int] = (100,),
) -> T:
    """Return what fresh read models of records say to a question."""

    async def asked(path: Path) -> T:
        async with open_store(path) as store, open_read_models(path) as models:
            for batch in cut(records, batches):
                await store.take(batch)
            return await what(models)

    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(asked(Path(directory) / "models.db"))


async def recalled(models: ReadModels, **query: Any) -> list[str]:
    """Return what all pages of a recall say."""
    found: list[str] = []
    asked = replace(MemoryQuery(now=LATER, limit=2), **query)
    while True:
        page = await models.memories.recall(asked)
        found += [entry.content for entry in page.items]
        if not page.next:
            assert page.total == len(found)
            return found
        asked = replace(asked, cursor=page.next)


moves = st.lists(
    st.tuples(
        st.sampled_from(["commit", "put", "revise", "forget", "consolidate", "revert"]),
        st.sampled_from([ANNA, BERT, None]),
        st.sampled_from(MemoryScope),
        st.integers(0, 30),
        st.sampled_from(["", "2026-01-01T00:00:01.000Z", "2031-01-01T00:00:00.000Z"]),
    ),
    max_size=25,
)


def lived(played: Sequence[tuple[str, Member | None, MemoryScope, int, str]]) -> Diary:
    """Return a diary in which all was tried that is written; what is refused leaves nothing."""
    diary = Diary()
    for verb, member, scope, number, expires in played:
        known = list(diary.memories.values())
        chosen = known[number % len(known)] if known else None
        owner, life = "", 0
        if scope is MemoryScope.OWN:
            owner, life = (member.agent, member.life) if member else ("anna", 1)
        elif scope is MemoryScope.TEAM:
            owner = member.team if member else "red"
        place: dict[str, Any] = {"scope": scope, "owner": owner, "life": life}
        try:
            if verb in ("commit", "put"):
                key = f"k{number % 3}" if verb == "put" else ""
                diary.commit(f"word{number}", member, key=key, expires=expires, **place)
            elif chosen is None:
                continue
            elif verb == "revise":
                diary.revise(chosen, f"word{number}", expires=expires)
            elif verb == "revert":
                diary.revise(chosen, "", reverts=1)
            elif verb == "forget":
                diary.forget(chosen)
            else:
                place = {"scope": chosen.scope, "owner": chosen.owner, "life": chosen.life}
                refs = (MemoryRef(memory_id=chosen.id, version=len(chosen.versions)),)
                diary.commit(f"word{number}", None, sources=refs, consolidates=True, **place)
        except PeltonError:
            continue
    return diary


@pytest.mark.accepts("G6", "AS-20", "AS-53")
@given(moves, sizes)
@settings(deadline=None, max_examples=20)
def test_what_is_recalled_is_what_the_domain_folds(
    played: Sequence[tuple[str, Member | None, MemoryScope, int, str]], batches: Sequence[int]
) -> None:
    diary = lived(played)
    whole = memories_as_of((r.sequence, r.subject, r.data) for r in diary.tape.records)
    assert canonical(whole.memories) == canonical(diary.memories)

    async def look(models: ReadModels) -> None:
        for member in (ANNA, BERT):
            expected = [m.versions[-1].content for m in whole.recallable(member, LATER)]
            assert await recalled(models, member=member) == expected
        for memory in whole.memories.values():
            entry = await models.memories.memory(memory.id)
            assert entry is not None
            page = await models.memories.versions(memory.id)
            told = [(e.version, e.content, e.forgotten, e.cause) for e in page.items]
            folded = [(v.number, v.content, v.forgotten, v.cause) for v in memory.versions]
            assert told == folded[::-1]
            assert entry.replaced_by == whole.replaced().get(memory.id, "")

    ask(diary.tape.records, look, batches)


@pytest.mark.accepts("G6", "AS-12", "AS-20")
@given(moves, sizes)
@settings(deadline=None, max_examples=20)
def test_the_digest_of_memories_depends_on_the_log_alone(
    played: Sequence[tuple[str, Member | None, MemoryScope, int, str]], batches: Sequence[int]
) -> None:
    records = lived(played).tape.records

    async def work(directory: Path) -> tuple[Any, Any]:
        once = await build(directory / "one.db", [records])
        twice = cut(records, batches)
        return once, await build(directory / "two.db", [b for b in twice for _ in range(2)])

    with tempfile.TemporaryDirectory() as directory:
        one, two = asyncio.run(work(Path(directory)))
    assert one == two


@pytest.mark.accepts("AS-53")
def test_a_new_life_recalls_nothing_of_the_one_before() -> None:
    diary = Diary()
    memory = diary.commit("from the first life", ANNA)
    diary.commit("for all", ANNA, scope=MemoryScope.GLOBAL, owner="", life=0)
    again = ANNA._replace(life=2)
    assert not readable(memory, again)
    found = ask(diary.tape.records, lambda models: recalled(models, member=again))
    assert found == ["for all"]
    removed = ANNA._replace(life=0, team="")
    assert ask(diary.tape.records, lambda m: recalled(m, member=removed)) == ["for all"]


@pytest.mark.accepts("AS-54")
def test_the_best_come_first_or_the_newest() -> None:
    diary = Diary()
    diary.commit("the cat and the dog")
    diary.commit("cat cat cat")
    for number in range(8):
        diary.commit(f"nothing of note {number}")
    diary.commit("a dog")

    async def look(models: ReadModels) -> tuple[list[str], list[str], list[str]]:
        return (
            await recalled(models, text="Cat?"),
            await recalled(models, text="cat DOG", order=Order.NEWEST),
            await recalled(models, text="cät"),
        )

    best, newest, accents = ask(diary.tape.records, look)
    assert best == ["cat cat cat", "the cat and the dog"]
    assert newest == ["a dog", "cat cat cat", "the cat and the dog"]
    assert accents == best


@pytest.mark.accepts("S19", "AS-42")
@given(st.text(max_size=60))
@example('" OR content:*')
@example("NEAR(a b)")
@example("a* -b ^c {d} :e")
@example("x' OR 1=1; DROP TABLE memories --")
@example("\x00\ud800")
@settings(deadline=None, max_examples=20)
def test_no_text_is_more_than_words(text: str) -> None:
    diary = Diary()
    diary.commit("a b c OR NOT NEAR content")

    async def look(models: ReadModels) -> int:
        page = await models.memories.recall(MemoryQuery(now=LATER, text=text))
        return page.total

    assert ask(diary.tape.records, look) <= 1
    assert set(match(text)) - set('" OR') <= set(text.lower()) | set(text)


@pytest.mark.accepts("AS-30")
async def test_pages_of_memories_are_checked(tmp_path: Path) -> None:
    async with open_read_models(tmp_path / "models.db") as models:
        good = MemoryQuery(now=LATER)
        for wrong in ({"limit": 0}, {"limit": 51}, {"cursor": "x"}):
            with pytest.raises(InvalidInput):
                await models.memories.recall(replace(good, **wrong))
        for list_ in (models.memories.versions, models.memories.readers):
            with pytest.raises(InvalidInput):
                await list_("0" * 32, page_size=101)
            with pytest.raises(InvalidInput):
                await list_("0" * 32, cursor="x")
        assert await models.memories.why("0" * 32) is None


def test_a_damaged_version_stops_its_memory_and_no_other() -> None:
    diary = Diary()
    one, two = diary.commit("one"), diary.commit("two")
    diary.tape.append(subjects.memory(one.id), b"nonsense")
    later = diary.revise(one, "never seen")
    diary.revise(two, "two again")
    assert later.head == 4

    async def look(models: ReadModels) -> tuple[list[str], int, list[str]]:
        page = await models.damage()
        return await recalled(models), page.total, [each.code for each in page.items]

    found, damaged, codes = ask(diary.tape.records, look)
    assert found == ["two again"]
    assert (damaged, codes) == (1, ["damaged-record"])


def test_it_is_known_which_turn_was_given_what_and_where_it_came_from() -> None:
    story = Story()
    diary = Diary(story.tape)
    one = diary.commit("one")
    story.send("hello")
    story.begin()
    [task] = story.state.tasks
    given = MemoryResult(given=(MemoryRef(memory_id=one.id, version=1),))
    key = story.step("memory.recall", idempotent=True)
    story.commit(StepCompleted(task_id=task, key=key, result=canonical(given)))
    cause = MemoryCause(
        kind=CauseKind.MESSAGE, agent=story.agent, context_id=story.context, task_id=task, turn=1
    )
    refs = (MemoryRef(memory_id=one.id, version=1),)
    two = diary.commit("two", sources=refs, cause=cause)
    three = diary.commit("three", sources=(MemoryRef(memory_id=two.id, version=1),))
    story.end(TaskState.COMPLETED, "done")

    async def look(models: ReadModels) -> None:
        page = await models.memories.readers(one.id)
        assert [(each.task_id, each.key, each.version) for each in page.items] == [(task, key, 1)]
        why = await models.memories.why(two.id)
        assert why is not None
        assert [each.memory_id for each in why.sources] == [one.id]
        assert [each.memory_id for each in why.given] == [one.id]
        deep = await models.memories.why(three.id)
        assert deep is not None
        assert [each.content for each in deep.sources] == ["two", "one"]
        assert deep.given == ()

    ask(story.tape.records, look)
