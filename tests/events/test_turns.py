"""Turns that outlive their attempts: their fold holds together, the illegal changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pelton.events.commit import Commit
from pelton.events.context import Context, apply, fold
from pelton.events.decide import ahead, decide, fired
from pelton.events.errors import IllegalTransition, PeltonError
from pelton.events.events import (
    AnyEvent,
    AttemptEnd,
    AttemptEnded,
    DelegationReported,
    QuestionAnswered,
    QuestionExpired,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskEvent,
    TimerFired,
    TurnStarted,
)
from pelton.events.upcast import decode_commit
from pelton.runtime.clock import rfc3339
from tests.moves import stories
from tests.stories import EPOCH, Story


@pytest.mark.accepts("G3", "G6")
@settings(max_examples=60)
@given(stories(max_moves=24), st.data())
def test_a_history_folds_to_the_same_wherever_it_is_cut(story: Story, data: st.DataObject) -> None:
    """From the state after a part, as from nothing: fold(a + b) == fold(fold(a), b)."""
    cut = data.draw(st.integers(0, len(story.commits)))
    state = Context(agent=story.agent, id=story.context)
    for sequence, record in story.commits[:cut]:
        state = fold(state, sequence, record)
    middle = state
    for sequence, record in story.commits[cut:]:
        state = fold(state, sequence, record)
    assert state == story.state
    again = Context(agent=story.agent, id=story.context)
    for sequence, record in story.commits[:cut]:
        again = fold(again, sequence, record)
    assert again == middle, "folding on has changed nothing of what was folded before"


@pytest.mark.accepts("G3")
@settings(max_examples=60)
@given(stories(max_moves=24), st.data())
def test_what_does_not_fit_raises_and_changes_nothing(story: Story, data: st.DataObject) -> None:
    """Each event of the past happens a second time: what happens once is refused."""
    commits = [decode_commit(record) for _, record in story.commits]
    events = [(event, commit) for commit in commits for event in commit.data.events]
    if not events:
        return
    event, commit = data.draw(st.sampled_from(events))
    before, copy = story.state, replace(story.state)
    refused = False
    try:
        apply(before, event, commit)
    except PeltonError:
        refused = True
    assert before == copy
    if isinstance(event, _ONCE) and not _of_another_turn(event, commit, story):
        assert refused, event


_ONCE = (
    TurnStarted,
    AttemptEnded,
    StepCompleted,
    TimerFired,
    QuestionAnswered,
    QuestionExpired,
)


def _of_another_turn(event: AnyEvent, commit: Commit, story: Story) -> bool:
    """Whether a later turn of the task may have used the same key."""
    assert isinstance(event, TaskEvent)
    task = story.state.tasks[event.task_id]
    return task.turns > 1 or (task.turn is not None and commit.attempt < 0)


@settings(max_examples=60)
@given(stories(max_moves=24), st.integers(0, 400))
def test_a_turn_is_due_when_something_fires_and_something_fires_when_it_is_due(
    story: Story, hours: int
) -> None:
    now = rfc3339(EPOCH + timedelta(hours=hours))
    for task in story.state.tasks.values():
        turn, state = task.turn, story.state
        came = fired(task, now)
        if turn is None:
            assert not came
            continue
        for event in came:
            assert isinstance(event, TaskEvent)
            apply(state, event, _commit(story))  # it is legal
            state = apply(state, event, _commit(story))
        left = state.tasks[task.id]
        assert not fired(left, now), "once is enough"
        if came and not (turn.over is not None and turn.over.end is AttemptEnd.FAILED):
            assert turn.due <= now
            assert turn.ready(now) or turn.over is None
        if turn.suspended and not turn.ready(now):
            assert not came
            assert turn.over is not None
            assert turn.due or turn.over.waits, "it waits for something"


@settings(max_examples=60)
@given(stories(max_moves=24))
def test_whatever_is_decided_can_happen(story: Story) -> None:
    """What `decide` makes of any command fits the state it was decided on."""
    for at, command in story.pending:
        if story.state.open is not None and not ahead(story.state, command):
            continue
        events = decide(story.state, command, time=story.tape.now)
        state, commit = story.state, replace(_commit(story), causationid=command.id)
        for event in events:
            state = apply(state, event, commit)
        once = replace(state, commands={**state.commands, command.id: ""})
        assert decide(once, command, time=story.tape.now) == (), at


def _commit(story: Story) -> Commit:
    """Return a commit to apply events of: its attributes as in the last one."""
    if not story.commits:
        story = Story()
        story.send("hello")
        story.begin()
    return decode_commit(story.commits[-1][1])


def test_a_result_needs_an_intent_and_a_report_somebody_who_waits() -> None:
    story = Story()
    story.send("go")
    story.begin()
    task = story.task.id
    report = story.report(story.task, 1, "delegate#1")
    (late,) = story.decide(ahead=True)
    assert isinstance(late, DelegationReported)
    assert late.late
    assert story.put(report) is report
    for event in (
        StepCompleted(task_id=task, key="pay#1"),
        TimerFired(task_id=task, key="sleep#1"),
        QuestionExpired(task_id=task, key="ask#1"),
        replace(late, late=False),
    ):
        with pytest.raises(IllegalTransition):
            story.commit(event)
    key = story.step("pay")
    story.fail_for_now(key)
    assert story.turn.due == story.turn.steps[key].again_at
    story.step_again(key, "pay")
    assert not story.turn.due
    assert story.turn.steps[key].failures == 1
    story.done(key)
    assert not [
        type(event)
        for event in (story.turn.steps[key],)
        if isinstance(event, StepStarted | StepFailed)
    ]


def test_whatever_comes_to_a_suspended_turn_wakes_it() -> None:
    """Also what it has not said to wait for: it may have been about to."""
    story = Story()
    story.send("go")
    story.begin()
    task, key = story.task, story.delegate("poet", "a verse")
    sleep = story.sleep()
    story.commit(
        AttemptEnded(task_id=task.id, turn=1, attempt=1, end=AttemptEnd.SUSPENDED, waits=(sleep,))
    )
    assert not story.turn.ready(story.tape.now)
    story.report(story.task, 1, key)
    story.decide(ahead=True)
    assert story.turn.ready(story.tape.now)


def test_a_turn_that_failed_for_now_waits_whatever_else_is_due() -> None:
    story = Story()
    story.send("go")
    story.begin()
    story.sleep()
    story.leave(AttemptEnd.FAILED)
    assert story.turn.over is not None
    assert story.turn.due == story.turn.over.again_at
    assert not story.turn.ready(rfc3339(datetime(2026, 1, 1, tzinfo=UTC)))
