"""Who did what, as the read models tell of it and as the log has it (G6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings

from pelton.events import subjects
from pelton.events.access import ContentErased, KeyCreated
from pelton.events.agent import AgentState
from pelton.events.chain import following
from pelton.events.commit import Origin
from pelton.events.envelope import encode
from pelton.events.errors import InvalidInput
from pelton.events.events import AgentStatusChanged, AnyEvent, CommandRejected
from pelton.events.presence import AgentStatus, Fact
from pelton.events.upcast import decode_commit
from pelton.projections.audit import Act
from pelton.projections.database import connect
from pelton.projections.read import ReadModels
from tests.moves import histories
from tests.projections.test_ledgers import every, now
from tests.projections.test_read import Ask, fill, statements_of
from tests.projections.test_store import sizes
from tests.stories import Story, Tape


@pytest.mark.accepts("G6", "AS-20", "AS-30")
@given(histories(), sizes)
@settings(deadline=None, max_examples=40)
def test_the_audit_tells_of_every_command_that_was_decided(
    history: tuple[Tape, Sequence[Story]], batches: Sequence[int]
) -> None:
    tape, _ = history

    async def look(models: ReadModels) -> tuple[list[Act], list[Act]]:
        return (
            await every(lambda at: models.audit.page(page_size=3, cursor=at)),
            await every(lambda at: models.audit.page(refused=True, page_size=1, cursor=at)),
        )

    found, refused = now(tape, look, batches)

    expected = list[Act]()
    for record in tape.records:
        subject = subjects.parse(record.subject)
        if subject.kind == "evt":
            commit = decode_commit(record.data)
            no = any(isinstance(each, CommandRejected) for each in commit.data.events)
            if commit.data.command:
                expected.append(Act(record.sequence, commit.actor, subject.agent, no))
    assert found == expected
    assert refused == [each for each in expected if each.refused]


def beside(tape: Tape, subject: str, *events: AnyEvent, actor: str = "olga") -> int:
    """Store a commit of no context, and return its sequence."""
    origin = Origin(source="x", tenant="t", actor=actor, correlationid="1", causationid="1")
    commit = following(
        AgentState(agent="x"), events, id="1", subject="x", time=tape.now, origin=origin
    )
    return tape.append(subject, encode(commit))


def ruled() -> Tape:
    """Return a log of what is done without a command, and of what is no act."""
    tape = Tape()
    key = KeyCreated(key_id="1", principal="anna", roles=(), hash="0", expires="2027-01-01")
    beside(tape, subjects.access(subjects.KEYS), key)
    beside(tape, subjects.access(subjects.ERASURES), ContentErased(agent="echo", context_id="c"))
    for status in (AgentStatus.SERVING, AgentStatus.REMOVED):
        event = AgentStatusChanged(status=status, fact=Fact.SERVED)
        beside(tape, subjects.agent_commits("echo"), event, actor="otto")
    tape.append(subjects.claims("echo", "key"), b"of no interest")
    return tape


@pytest.mark.accepts("AS-30")
def test_the_audit_tells_of_what_needs_no_command() -> None:
    async def look(models: ReadModels) -> tuple[list[Act], list[Act], int]:
        found = await every(lambda at: models.audit.page(page_size=1, cursor=at))
        later = await every(
            lambda at: models.audit.page("echo", principal="otto", after=2, cursor=at)
        )
        return found, later, await models.damaged()

    found, later, damaged = now(ruled(), look, [2])
    assert found == [
        *(Act(1, "olga", "", refused=False), Act(2, "olga", "", refused=False)),
        Act(4, "otto", "echo", refused=False),
    ]
    assert (later, damaged) == (found[2:], 0)


@pytest.mark.accepts("AS-65")
async def test_a_page_of_the_audit_is_one_statement_by_index(tmp_path: Path) -> None:
    await fill(tmp_path / "models.db", ruled())
    asks: list[Ask] = [
        lambda models: models.audit.page(page_size=1),
        lambda models: models.audit.page("echo"),
        lambda models: models.audit.page(principal="olga", after=1, page_size=100),
        lambda models: models.audit.page("echo", principal="olga"),
        lambda models: models.audit.page(refused=True),
    ]
    async with connect(tmp_path / "models.db", write=False) as database:
        for ask in asks:
            [statement] = await statements_of(database, ask)
            plan = await database.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}")
            steps = [step for *_, step in plan]
            assert "USE TEMP B-TREE FOR ORDER BY" not in steps
            assert not {"SCAN audit"} & {*steps}, steps
        models = ReadModels(database)
        cursor = (await models.audit.page(page_size=1)).next
        with pytest.raises(InvalidInput):
            await models.audit.page("echo", cursor=cursor)
        for size in (0, 101):
            with pytest.raises(InvalidInput):
                await models.audit.page(page_size=size)
