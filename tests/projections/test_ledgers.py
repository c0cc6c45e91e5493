"""What tasks leave to others, as the read models tell of it and as the domain folds it (G6)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings

from pelton.events.a2a import TaskState
from pelton.events.commit import recorded
from pelton.events.context import TaskFold
from pelton.events.errors import InvalidInput
from pelton.events.events import (
    AttemptEnd,
    CommandRejected,
    DelegationReported,
    TaskDeadLettered,
    TaskDelegated,
    TurnEnded,
    UsageReported,
)
from pelton.events.turns import Turn
from pelton.events.upcast import decode_commit
from pelton.projections.ledger import AT_REST, COUNTS
from pelton.projections.ledgers import By, DelegationState
from pelton.projections.pages import Page
from pelton.projections.read import ReadModels, TaskEntry, open_read_models
from pelton.projections.store import open_store
from pelton.runtime.log import Record
from tests.moves import histories
from tests.projections.test_store import cut, sizes
from tests.stories import Story, Tape

T = TypeVar("T")


async def ask(
    path: Path, batches: Sequence[Sequence[Record]], what: Callable[[ReadModels], Awaitable[T]]
) -> T:
    """Take in batches, and return what the read models say to a question."""
    async with open_store(path) as store, open_read_models(path) as models:
        for batch in batches:
            await store.take(batch)
        return await what(models)


def now(
    tape: Tape, what: Callable[[ReadModels], Awaitable[T]], batches: Sequence[int] = (100,)
) -> T:
    """Return what fresh read models of a tape say to a question."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "models.db"
        return asyncio.run(ask(path, cut(tape.records, batches), what))


async def every(page: Callable[[str], Awaitable[Page[T]]]) -> list[T]:
    """Return all entries of a list, page by page."""
    found: list[T] = []
    cursor = ""
    while True:
        got = await page(cursor)
        found += got.items
        cursor = got.next
        if not cursor:
            assert got.total == len(found)
            return found


def asked(task: TaskFold) -> set[tuple[str, str, str]]:
    """Return what a task asks people, with the approvers and the time when it expires."""
    if task.turn is not None:
        questions = task.turn.asked.items()
        return {(key, ",".join(each.approvers), each.expires) for key, each in questions}
    if task.status.state in (TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED):
        return {(AT_REST, "", "")}
    return set()


def waits(turn: Turn | None) -> dict[str, str]:
    """Return what a turn waits for and until when, by the domain."""
    if turn is None:
        return {}
    found = {key: each.due for key, each in turn.timers.items() if not each.done}
    found |= {key: each.expires for key, each in turn.asked.items()}
    found |= dict.fromkeys(turn.delegated, "")
    return found | {k: s.again_at for k, s in turn.steps.items() if not s.done and s.again_at}


@pytest.mark.accepts("G6", "AS-20")
@given(histories(), sizes)
@settings(deadline=None, max_examples=40)
def test_ledgers_tell_what_the_domain_folds(
    history: tuple[Tape, Sequence[Story]], batches: Sequence[int]
) -> None:
    tape, stories = history

    async def look(models: ReadModels) -> tuple[Any, ...]:
        ledgers = models.ledgers
        tasks = [task for story in stories for task in story.state.tasks]
        return (
            await every(lambda at: ledgers.inbox(page_size=2, cursor=at)),
            await every(lambda at: ledgers.dead_letters(redriven=True, page_size=2, cursor=at)),
            [each for task in tasks for each in await ledgers.delegations(task)],
            await every(lambda at: models.tasks(page_size=50, cursor=at)),
            await ledgers.counts(),
            await every(lambda at: ledgers.usage(By.MODEL, page_size=1, cursor=at)),
        )

    inbox, dead, delegations, entries, counts, took = now(tape, look, batches)

    folds = {(s.agent, task.id): task for s in stories for task in s.state.tasks.values()}
    events = [
        (story.agent, each.event)
        for story in stories
        for _, data in story.commits
        for each in recorded(decode_commit(data))
    ]
    assert {
        (each.agent, each.task_id, each.key, ",".join(each.approvers), each.expires)
        for each in inbox
    } == {(agent, id_, *said) for (agent, id_), task in folds.items() for said in asked(task)}
    assert [each.sequence for each in inbox] == sorted(each.sequence for each in inbox)
    assert {(each.agent, each.task_id) for each in dead} == {
        (agent, event.task_id) for agent, event in events if isinstance(event, TaskDeadLettered)
    }
    handed = [event for _, event in events if isinstance(event, TaskDelegated)]
    assert {each.child for each in delegations} == {event.child for event in handed}
    waited = {d.child for t in folds.values() if t.turn for d in t.turn.delegated.values()}
    assert {e.child for e in delegations if e.state is DelegationState.OPEN} == waited
    for entry in entries:
        if not entry.pending:
            assert_waits(entry, folds[entry.agent, entry.task.id])
    kinds = [(agent, type(event)) for agent, event in events]
    assert {
        each.name: (each.calls, each.cost, each.input_tokens) for each in took if each.calls
    } == {
        model: (len(said), sum(e.cost for e in said), sum(e.input_tokens for e in said))
        for model in ("", "small", "large")
        if (said := [e for _, e in events if isinstance(e, UsageReported) and e.model == model])
    }
    assert sum(each.turns for each in took) == sum(kind is TurnEnded for _, kind in kinds)
    for agent, counted in counts.items():
        assert set(counted) <= set(COUNTS)
        assert counted.get("dead-letters", 0) == kinds.count((agent, TaskDeadLettered))
        assert counted.get("refusals", 0) == kinds.count((agent, CommandRejected))
        late = [e for a, e in events if a == agent and isinstance(e, DelegationReported) and e.late]
        assert counted.get("late-reports", 0) == len(late)


def assert_waits(entry: TaskEntry, task: TaskFold) -> None:
    turn = task.turn
    assert {k: due for k, due in entry.waits.items() if k != AT_REST} == waits(turn)
    over = turn.over if turn else None
    assert (entry.pause, entry.again_at) == ((over.end, over.again_at) if over else ("", ""))
    assert (entry.attempt is None) is (turn is None)
    assert not turn or (entry.turns, entry.attempt) == (turn.number, turn.attempt)


def test_a_command_that_was_decided_before_is_counted(tmp_path: Path) -> None:
    story = Story()
    first = story.send("hello")
    story.begin()
    story.end()
    story.put(first)
    story.decide()
    counts = now(story.tape, lambda models: models.ledgers.counts())
    assert counts == {"echo": {"commands": 2, "duplicates": 1, "turns": 1}}


def test_what_is_tried_again_is_counted() -> None:
    story = Story()
    story.send("hello")
    story.begin()
    story.leave(AttemptEnd.FAILED)
    story.again()
    story.again()  # the executor died
    story.give_up()
    counts = now(story.tape, lambda models: models.ledgers.counts())
    assert counts == {
        "echo": {"commands": 1, "turns": 1, "retries": 1, "takeovers": 1, "dead-letters": 1}
    }


def test_a_question_stays_in_the_inbox_until_it_is_answered() -> None:
    story = Story()
    story.send("pay")
    story.begin()
    key = story.ask("ask#1?", approvers=("bert",))
    [task] = story.state.tasks
    page = now(story.tape, lambda models: models.ledgers.inbox("echo"))
    [question] = page.items
    assert (question.task_id, question.key, question.turn) == (task, key, 1)
    assert question.message is not None
    assert question.message.parts[0].text == "ask#1?"
    assert not now(story.tape, lambda models: models.ledgers.inbox("poet")).items
    story.expire(key)
    assert now(story.tape, lambda models: models.ledgers.inbox()).total == 0


def test_a_turn_that_ended_with_a_question_asks_until_the_next_message() -> None:
    story = Story()
    story.send("order")
    story.begin()
    story.end(TaskState.INPUT_REQUIRED, "which one?")
    [task] = story.state.tasks
    [question] = now(story.tape, lambda models: models.ledgers.inbox()).items
    assert (question.task_id, question.key) == (task, AT_REST)
    story.send("that one", task=task)
    story.begin()
    assert now(story.tape, lambda models: models.ledgers.inbox()).total == 0


def test_a_dead_letter_says_whether_it_was_redriven() -> None:
    story = Story()
    story.send("hello")
    story.begin()
    story.give_up()
    [task] = story.state.tasks
    command = story.redrive(task)
    [waiting] = now(story.tape, lambda models: models.ledgers.dead_letters()).items
    assert (waiting.kind, waiting.attempts, waiting.redriven_as) == ("timeout", 1, "")
    pending = now(story.tape, lambda models: models.tasks())
    assert [each.pending for each in pending.items] == [True, False]
    story.begin()
    [again] = set(story.state.tasks) - {task}
    assert now(story.tape, lambda models: models.ledgers.dead_letters()).total == 0
    found = now(story.tape, lambda models: models.ledgers.dead_letter(task))
    assert found is not None
    assert (found.redriven_as, found.command_id) == (again, story.commands[0][1].id)
    assert story.state.commands[command.id] == again
    assert now(story.tape, lambda models: models.ledgers.dead_letter(again)) is None


def test_delegations_are_open_reported_late_or_dropped() -> None:
    story = Story()
    story.send("go")
    story.begin()
    for _ in range(4):
        story.delegate("worker", "do it")
    [task] = story.state.tasks
    for key in ("delegate#2", "delegate#3", "delegate#3"):
        story.report(story.task, 1, key)
        story.decide(ahead=True)

    async def states(models: ReadModels) -> list[str]:
        return [str(each.state) for each in await models.ledgers.delegations(task)]

    assert now(story.tape, states) == ["open", "reported", "late", "open"]
    story.end()
    assert now(story.tape, states) == ["dropped", "reported", "late", "dropped"]


async def test_pages_of_ledgers_are_checked(tmp_path: Path) -> None:
    async with open_read_models(tmp_path / "models.db") as models:
        for list_ in (models.ledgers.inbox, models.ledgers.dead_letters, models.ledgers.usage):
            with pytest.raises(InvalidInput):
                await list_(page_size=0)
            with pytest.raises(InvalidInput):
                await list_(cursor="x")
