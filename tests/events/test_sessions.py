"""The framework's session of a context, as its events make it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pelton.events.a2a import TaskState
from pelton.events.errors import IllegalTransition
from pelton.events.events import AttemptEnd
from pelton.events.session import (
    AnySessionEvent,
    SessionEntry,
    SessionInvalidated,
    SessionOpened,
    SessionReason,
    SessionStart,
    SessionStored,
)
from pelton.events.sessions import Session, take
from tests.stories import Story

OPENED = SessionOpened(
    task_id="t",
    number=1,
    start=SessionStart.FRESH,
    reason=SessionReason.FIRST,
    adapter="model",
    format=1,
)


def entry(key: str, value: object = None) -> SessionEntry:
    return SessionEntry(key=key, value=value)


def session(story: Story) -> Session:
    found = story.state.session
    assert found is not None
    return found


def test_what_a_turn_stores_others_see_when_it_has_ended() -> None:
    """A turn waits for a person, another one runs meanwhile: neither sees the other's half."""
    story = Story()
    story.send("first")
    story.begin()
    story.open_session()
    story.store(entry("a"))
    story.ask("which?")
    story.leave(AttemptEnd.SUSPENDED)
    waiting = story.state.tasks[next(iter(story.state.aside))]
    story.send("second")
    story.begin()
    second = story.task.id
    story.open_session()
    assert list(session(story).seen(second)) == []
    story.store(entry("b"))
    story.end(TaskState.COMPLETED)
    story.send("this one", task=waiting.id, answers="ask#1")
    story.decide()
    story.again(waiting)
    story.open_session()
    assert list(session(story).seen(waiting.id)) == ["a"], "as its first attempt has seen it"
    story.end(TaskState.COMPLETED)
    story.send("third")
    story.begin()
    story.open_session()
    assert list(session(story).seen(story.task.id)) == ["b", "a"]


def test_what_is_stored_again_is_another_one_in_its_place() -> None:
    story = Story()
    story.send("first")
    story.begin()
    story.open_session()
    story.store(entry("a", 1), entry("b"))
    story.store(entry("a", 2))
    story.end(TaskState.COMPLETED)
    assert [(e.key, e.value) for e in session(story).settled.values()] == [("a", 2), ("b", None)]


def test_another_session_begins_with_nothing() -> None:
    story = Story()
    story.send("first")
    story.begin()
    story.open_session()
    story.store(entry("a"))
    story.lose_session(SessionReason.LOST)
    story.leave(AttemptEnd.FAILED)
    story.again()
    story.open_session()
    assert session(story).number == 2
    assert not session(story).seen(story.task.id)


@pytest.mark.parametrize(
    ("known", "event"),
    [
        (None, SessionStored(task_id="t", number=1, entries=())),
        (None, SessionInvalidated(task_id="t", number=1, reason=SessionReason.LOST)),
        (take(None, OPENED), SessionStored(task_id="t", number=2, entries=())),
        (take(None, OPENED), SessionStored(task_id="another", number=1, entries=())),
        (None, replace(OPENED, number=2)),
    ],
)
def test_what_does_not_fit_is_refused(known: Session | None, event: AnySessionEvent) -> None:
    with pytest.raises(IllegalTransition):
        take(known, event)
