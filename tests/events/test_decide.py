"""Deciding commands: accepted or refused, once, without an exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from pelton.events.a2a import Message, Part, Role, TaskState
from pelton.events.commands import Command, SendMessage
from pelton.events.context import Context, apply
from pelton.events.decide import about, decide, foresee, reject
from pelton.events.errors import InvalidInput
from pelton.events.events import (
    AnyEvent,
    CommandRejected,
    MessageReceived,
    Outcome,
    TaskStatusUpdated,
    TaskSubmitted,
    TurnEnded,
)
from pelton.events.ids import context_of, task_id
from tests.events.material import commands
from tests.moves import stories
from tests.stories import Story

NOW = "2026-01-01T00:00:00.000Z"


def code(events: tuple[AnyEvent, ...]) -> str:
    """Return the code of a refusal."""
    (event,) = events
    assert isinstance(event, CommandRejected)
    return event.code


@pytest.mark.accepts("AS-9", "G2")
@given(stories())
def test_a_command_is_decided_once_however_often_it_comes(story: Story) -> None:
    for at, command in story.commands:
        if story.state.decided(at):
            assert decide(story.state, command, time=NOW) == ()


@pytest.mark.accepts("AS-42")
@given(stories(), commands)
def test_no_command_makes_a_decision_raise(story: Story, command: Command) -> None:
    events = decide(story.state, command, time=NOW)
    assert events
    assert events == decide(story.state, command, time=NOW), "deciding is a function"
    for event in events:
        if isinstance(event, CommandRejected):
            assert event.reason
            assert event.command_id == command.id


@given(stories())
def test_what_is_decided_can_be_folded(story: Story) -> None:
    while story.pending and story.state.open is None:
        story.decide()
    assert story.state.open or not story.pending


@settings(max_examples=50)
@given(stories())
def test_what_is_foreseen_is_what_will_be(story: Story) -> None:
    """A client sees its accepted message before anybody has decided it."""
    seen = story.state
    waiting = [command for _, command in story.pending]
    if story.state.open is not None or not all(isinstance(c, SendMessage) for c in waiting):
        return
    for command in waiting:
        seen = foresee(seen, command)
    while story.pending:
        story.decide()
    assert seen.tasks.keys() == story.state.tasks.keys()
    assert seen.commands == story.state.commands
    assert seen.rejected == story.state.rejected
    assert seen.messages == story.state.messages


def test_foreseeing_leaves_cancellations_to_those_who_decide() -> None:
    story = Story()
    story.send("hello")
    (event,) = story.decide()
    assert isinstance(event, TaskSubmitted)
    assert foresee(story.state, story.cancel(event.task_id)) is story.state


@pytest.mark.accepts("AS-9")
def test_the_same_command_opens_the_same_task_wherever_it_is_decided() -> None:
    story = Story(context="two words")
    command = story.send("hello")
    first = decide(story.state, command, time=NOW)
    assert first == decide(story.state, command, time="2036-01-01T00:00:00.000Z")
    (event,) = first
    assert isinstance(event, TaskSubmitted)
    assert event.task_id == task_id("two words", command.id) == about(story.state, command)
    assert context_of(event.task_id) == "two words"
    assert event.message.context_id == "two words"


def open_task(state: TaskState | None = None) -> tuple[Story, str]:
    """Return a story with a task whose turn is open, or was ended in a state."""
    story = Story()
    story.send("hello")
    story.begin()
    task = story.task.id
    if state is not None:
        story.end(state)
    return story, task


@pytest.mark.parametrize("state", [None, TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED])
def test_a_further_message_goes_to_its_open_task(state: TaskState | None) -> None:
    story, task = open_task(state)
    (event,) = decide(story.state, story.send("more", task=task), time=NOW)
    assert isinstance(event, MessageReceived)
    assert (event.task_id, event.message.task_id) == (task, task)


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED, TaskState.REJECTED])
def test_a_task_that_has_ended_takes_nothing_more(state: TaskState) -> None:
    story, task = open_task(state)
    message = decide(story.state, story.send("more", task=task), time=NOW)
    assert code(message) == "unsupported-operation"
    cancel = decide(story.state, story.cancel(task), time=NOW)
    assert code(cancel) == "task-not-cancelable"


@pytest.mark.accepts("AS-33")
def test_canceling_ends_the_task_and_its_turn_together() -> None:
    story, task = open_task()
    story.again()
    canceled, ended = decide(story.state, story.cancel(task), time=NOW)
    assert isinstance(canceled, TaskStatusUpdated)
    assert (canceled.status.state, canceled.status.timestamp) == (TaskState.CANCELED, NOW)
    assert ended == TurnEnded(task_id=task, turn=1, attempt=2, outcome=Outcome.CANCELED)


def test_canceling_a_waiting_task_ends_it_alone() -> None:
    story, task = open_task(TaskState.INPUT_REQUIRED)
    (canceled,) = decide(story.state, story.cancel(task), time=NOW)
    assert isinstance(canceled, TaskStatusUpdated)


def test_canceling_twice_is_refused_the_second_time() -> None:
    story, task = open_task()
    story.cancel(task)
    story.cancel(task)
    story.decide()
    assert code(story.decide()) == "task-not-cancelable"


def test_a_task_that_was_answered_with_a_bare_message_is_not_there() -> None:
    story, task = open_task()
    story.end(text="hi", bare=True)
    assert code(decide(story.state, story.cancel(task), time=NOW)) == "task-not-found"
    assert code(decide(story.state, story.send("x", task=task), time=NOW)) == "task-not-found"


GOOD = Message(message_id="m", role=Role.USER, parts=(Part(text="x"),))


@pytest.mark.accepts("AS-42")
@pytest.mark.parametrize(
    ("message", "refused"),
    [
        (replace(GOOD, message_id=""), "validation-denied"),
        (replace(GOOD, message_id="\0"), "validation-denied"),
        (replace(GOOD, message_id="x" * 129), "validation-denied"),
        (replace(GOOD, role=Role.AGENT), "validation-denied"),
        (replace(GOOD, parts=()), "validation-denied"),
        (replace(GOOD, context_id="another"), "validation-denied"),
        (replace(GOOD, task_id="nobody"), "task-not-found"),
        (replace(GOOD, task_id="x" * 5000), "task-not-found"),
    ],
)
def test_what_a_message_must_be(message: Message, refused: str) -> None:
    story = Story()
    story.send(message=message)
    assert code(story.decide()) == refused
    assert not story.state.tasks
    assert not story.state.messages


def test_a_refusal_tells_what_the_command_was_about() -> None:
    state = Context(agent="echo", id="chat")
    story = Story()
    cancel = story.cancel("nobody")
    assert about(state, cancel) == "nobody"
    error = InvalidInput("wrong", field="message.parts")
    assert reject("c", error, "t") == CommandRejected(
        command_id="c", code="validation-denied", reason="wrong", task_id="t"
    )


def test_a_refusal_changes_nothing_but_the_memory_of_it() -> None:
    story, task = open_task()
    refusal = reject("c", InvalidInput("wrong"))
    before = story.state
    after = apply(before, refusal, story.turn.cause)
    assert after.rejected == {"c": refusal}
    assert replace(after, rejected=before.rejected) == before
    assert isinstance(story.commands[0][1], SendMessage)
    assert task in after.tasks
