"""A conversation as the debugger has it: what walking through it shows, whenever it was read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.adapters.debug.conversation import Conversation, EntryNotFound
from pelton.adapters.debug.entries import Kind
from pelton.adapters.debug.steps import steps_of
from pelton.events.context import Context, TaskFold, fold
from pelton.events.errors import DamagedRecord
from pelton.events.subjects import commits, parse
from pelton.runtime.log import Record
from pelton.runtime.replay.archive import open_file
from pelton.runtime.replay.changes import changes
from pelton.runtime.replay.graph import graph
from pelton.runtime.replay.session import ContextNotFound, Session
from pelton.runtime.replay.walk import shown, walk
from tests.stories import Story, Tape

BAKERY = open_file(Path(__file__).parents[3] / "examples" / "bakery.pelton").session
CONTEXT = "bakery"


class Growing(Session):
    """A session that is there up to some record: the log, as it was then."""

    def __init__(self, every: Sequence[Record]) -> None:
        super().__init__((), {})
        self.every = every

    def grow(self, count: int) -> None:
        """Let there be so many records."""
        super().__init__(self.every[:count], {})


async def read(session: Session, context: str = CONTEXT) -> Conversation:
    found = Conversation(session, context)
    await found.refresh()
    return found


async def test_every_record_of_everybody_is_an_entry() -> None:
    found = await read(BAKERY)
    records = [each for each in BAKERY.records if parse(each.subject).context]
    assert found.records == records
    assert {each.sequence for each in found.entries} == {each.sequence for each in records}
    assert {agent for agent, _ in found.members} == {"orchestrator", "facts", "figures", "critic"}
    order = [(each.sequence, each.place) for each in found.entries]
    assert order == sorted(order)
    assert Kind.DAMAGE not in {each.kind for each in found.entries}
    assert [found.place_of(*place) for place in order] == list(range(len(order)))


@pytest.mark.accepts("AS-22")
async def test_an_entry_shows_what_walking_there_shows() -> None:
    found = await read(BAKERY)
    seen = 0
    for state in found.states():
        for task in state.tasks:
            before: TaskFold | None = None
            async for pace in walk(BAKERY, state.agent, task):
                assert pace.changes == changes(shown(before), shown(pace.after)), "all, and no more"
                before = pace.after
                place = int(pace.recorded.id.rpartition("/")[2])
                moment = found.moment(pace.record.sequence, place)
                assert moment.pace is not None
                assert moment.pace.after == pace.after
                assert list(moment.pace.changes) == list(pace.changes)
                assert moment.cause[:2] in (pace.cause[:2], (pace.cause.id, moment.cause.sequence))
                seen += 1
    assert seen == sum(each.place > 0 for each in found.entries)


async def test_commands_lead_to_what_they_led_to() -> None:
    found = await read(BAKERY)
    for entry in found.entries:
        moment = found.moment(entry.sequence, entry.place)
        for sequence in moment.effects:
            effect = found.moment(sequence, 0 if _is_command(found, sequence) else 1)
            assert effect.cause.sequence == entry.sequence
    first = found.moment(found.entries[0].sequence, 0)
    assert first.pace is None
    assert first.effects
    assert first.cause.sequence == 0


def _is_command(found: Conversation, sequence: int) -> bool:
    return next(e for e in found.entries if e.sequence == sequence).place == 0


@given(st.data())
@settings(max_examples=15)
def test_however_it_grows_it_is_the_same(data: st.DataObject) -> None:
    """A context may come to take part whose records were there before: its entries come then."""
    growing = Growing(BAKERY.records)
    total = len(growing.every)
    cuts = data.draw(st.lists(st.integers(2, total), max_size=6).map(sorted))

    async def grow() -> tuple[Conversation, Conversation]:
        found = Conversation(growing, CONTEXT)
        for count in (*cuts, total):
            growing.grow(count)
            try:
                await found.refresh()
            except ContextNotFound:
                continue
            if found.entries:
                found.moment(found.entries[-1].sequence, found.entries[-1].place)
        return found, await read(BAKERY)

    found, whole = asyncio.run(grow())
    assert found.entries == whole.entries
    assert sorted(found.members) == sorted(whole.members)
    for entry in whole.entries[::7]:
        assert found.moment(entry.sequence, entry.place) == whole.moment(
            entry.sequence, entry.place
        )


async def test_a_long_conversation_is_seen_at_any_place() -> None:
    tape = Tape()
    story = Story(tape, agent="echo", context="long")
    story.send("go")
    story.begin()
    for number in range(450):
        story.progress(f"{number}")
    subject = commits("echo", "long")
    found = await read(Session(tape.records, {}), "long")
    own = [each for each in tape.records if each.subject == subject]
    states = [Context(agent="echo", id="long")]
    for record in own:
        states.append(fold(states[-1], record.sequence, record.data))
    for at in (449, 0, 99, 100, 101, 250, 7, 452):
        at = min(at, len(own) - 1)  # noqa: PLW2901
        place = len(list(found.find(lambda e, at=at: e.sequence == own[at].sequence)))  # type: ignore[misc]
        assert found.moment(own[at].sequence, place).state == states[at + 1]
        assert found.states(own[at].sequence) == [states[at + 1]]


async def test_what_is_not_there_is_not_found() -> None:
    found = await read(BAKERY)
    first = found.entries[0].sequence
    for place in [(0, 0), (first, 1), (first + 1, 99), (10**9, 0)]:
        with pytest.raises(EntryNotFound):
            found.moment(*place)
    with pytest.raises(ContextNotFound):
        await read(BAKERY, "nobody")


async def test_entries_are_found_by_what_they_hold() -> None:
    found = await read(BAKERY)
    held = found.containing("What COULD go wrong")
    names = {found.entries[found.place_of(*place)].name for place in held}
    assert {"SendMessage", "TaskDelegated", "TaskSubmitted"} <= names
    assert "TurnEnded" not in names
    assert found.containing("nobody has said this") == set()


async def test_the_graph_and_the_steps_are_those_of_the_session() -> None:
    found = await read(BAKERY)
    assert found.graph() == graph(BAKERY)
    half = found.entries[len(found.entries) // 2].sequence
    assert len(found.graph(half).nodes) <= len(found.graph().nodes)
    assert found.graph(0).nodes == ()
    steps = steps_of(found.records)
    assert {each.state for each in steps} == {"done"}
    assert [each.key for each in steps if each.agent == "figures"] == ["collect#1", "add up#1"]
    assert all(each.ended >= each.began for each in steps)
    assert steps_of(e for e in found.records if e.sequence < steps[0].sequence) == []


async def test_what_is_damaged_is_shown_where_it_is() -> None:
    tape = Tape()
    story = Story(tape, agent="echo", context="c")
    story.send("go")
    story.begin()
    last = tape.records[-1]
    bad = Record(last.sequence + 1, last.subject, b"{", last.received_ns)
    found = await read(Session([*tape.records, bad], {}), "c")
    assert found.entries[-1].kind is Kind.DAMAGE
    assert found.entries[:-1] == (await read(Session(tape.records, {}), "c")).entries
    with pytest.raises(DamagedRecord):
        found.states()
    assert found.moment(last.sequence, 1).pace is not None
    assert steps_of(found.records) == []
