"""The fold of a context: what events mean, and which sequences of them mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pelton.events.a2a import Artifact, Part, Role, TaskState, TaskStatus, text_of
from pelton.events.commit import Commit, CommitData, Origin
from pelton.events.context import Context, apply, fold, join
from pelton.events.envelope import encode
from pelton.events.errors import DamagedRecord, IllegalTransition
from pelton.events.events import (
    AnyEvent,
    CommandRejected,
    DelegationReported,
    FailureClass,
    MessageAnswered,
    MessageReceived,
    Outcome,
    StepCompleted,
    StepStarted,
    TaskArtifactUpdated,
    TaskArtifactWithdrawn,
    TaskRedriven,
    TaskStatusUpdated,
    TaskSubmitted,
    TurnEnded,
    TurnStarted,
)
from pelton.events.states import TERMINAL
from pelton.events.upcast import decode_commit
from tests.a2a import validate
from tests.moves import stories
from tests.stories import Story
from tests.strategies import canonical, contents, parts

S = TaskState


def folded(
    story: Story, commits: Iterable[tuple[int, bytes]], start: Context | None = None
) -> Context:
    state = start or Context(agent=story.agent, id=story.context)
    for sequence, data in commits:
        state = fold(state, sequence, data)
    return state


@pytest.mark.accepts("G6", "AS-12")
@given(stories(), st.data())
def test_folding_in_two_goes_is_folding_in_one(story: Story, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(story.commits)))
    first = folded(story, story.commits[:cut])
    before = canonical(first)
    assert folded(story, story.commits[cut:], first) == story.state == folded(story, story.commits)
    assert canonical(first) == before, "a fold must leave the state it started from as it was"


@pytest.mark.accepts("G3")
@given(stories())
def test_what_holds_of_every_context(story: Story) -> None:
    state = story.state
    events = [event for _, data in story.commits for event in decode_commit(data).data.events]
    assert state.sequence == len(events)
    assert state.head == (story.commits[-1][0] if story.commits else 0)
    assert set(state.commands) >= set(state.rejected)
    for task in state.tasks.values():
        own = [event for event in events if getattr(event, "task_id", "") == task.id]
        own = [event for event in own if not isinstance(event, CommandRejected)]
        assert task.sequence == len(own), "the task's own sequence counts its events"
        ends = [
            at
            for at, event in enumerate(own)
            if isinstance(event, TaskStatusUpdated) and event.status.state in TERMINAL
        ]
        assert len(ends) == (1 if task.ended else 0), "exactly one terminal status"
        if ends:
            assert task.turn is None, "no open turn after the end"
            after = [e for e in own[ends[0] + 1 :] if not isinstance(e, TaskRedriven)]
            after = [e for e in after if not (isinstance(e, DelegationReported) and e.late)]
            assert [type(event) for event in after] in ([], [TurnEnded])
        starts = [event for event in own if isinstance(event, TurnStarted) and event.attempt == 1]
        stops = [event for event in own if isinstance(event, TurnEnded)]
        assert len(starts) - len(stops) == (0 if task.turn is None else 1)
        assert task.turns == len(starts)
    open_ = {task.id for task in state.tasks.values() if task.turn is not None}
    assert open_ == state.aside | ({state.turning} - {""}), "one has the context, others wait"


@pytest.mark.accepts("G3")
@settings(max_examples=30)
@given(stories())
def test_every_view_is_a_task_of_the_protocol(story: Story) -> None:
    for task in story.state.tasks.values():
        whole = canonical(task.view())
        validate("Task", whole)
        validate("Task", canonical(task.view(history=1, artifacts=False)))
        assert whole["id"] == task.id
        assert whole["contextId"] == story.context


def test_the_validator_can_fail() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate("Task", {"id": "a", "status": {"state": "TASK_STATE_SUBMITTED"}, "kind": "task"})


@given(stories(), st.integers(0, 10))
def test_a_view_shows_the_latest_messages(story: Story, count: int) -> None:
    for task in story.state.tasks.values():
        assert task.view().history == task.history
        shown = task.view(history=count).history
        assert shown == task.history[max(0, len(task.history) - count) :]


def test_a_view_with_more_history_than_there_is_shows_all() -> None:
    story = Story()
    story.send("one")
    story.begin()
    story.progress("two")
    story.progress("three")
    assert len(story.task.view(history=5).history) == 2


# The chain


@pytest.mark.accepts("G3", "G7", "AS-25")
@given(stories().filter(lambda story: len(story.commits) > 1), st.data())
def test_a_chain_that_was_tampered_with_is_noticed(story: Story, data: st.DataObject) -> None:
    commits = list(story.commits)
    at = data.draw(st.integers(0, len(commits) - 2))
    match data.draw(st.sampled_from(["removed", "repeated", "swapped", "altered"])):
        case "removed":
            del commits[at]
        case "repeated":
            commits.insert(at, commits[at])
        case "swapped":
            commits[at], commits[at + 1] = commits[at + 1], commits[at]
        case _:
            sequence, raw = commits[at]
            commits[at] = sequence, raw.replace(b'"tenant":"t"', b'"tenant":"u"')
    with pytest.raises(DamagedRecord, match="altered, or a record of it is missing"):
        folded(story, commits)


def test_a_commit_that_counts_wrongly_is_noticed() -> None:
    story = turning()
    (_, data) = story.commits[0]
    for sequence in (0, 2):
        wrong = replace(decode_commit(data), sequence=sequence)
        with pytest.raises(DamagedRecord):
            fold(Context(agent="echo", id="chat"), 1, encode(wrong))


# What each event does


def turning() -> Story:
    """Return a story with a turn of its first task open."""
    story = Story()
    story.send("hello")
    assert story.begin()
    return story


def test_a_message_opens_a_task() -> None:
    story = Story()
    command = story.send("hello")
    (event,) = story.decide()
    assert isinstance(event, TaskSubmitted)
    task = story.state.tasks[event.task_id]
    assert (task.status.state, task.command_id, task.sequence) == (S.SUBMITTED, command.id, 1)
    assert story.state.commands == {command.id: task.id}
    assert [text_of(message.parts) for message in story.state.messages] == ["hello"]
    assert task.history[0].context_id == "chat"
    assert task.history[0].task_id == task.id


def test_superseded_status_messages_become_history() -> None:
    story = turning()
    story.progress("one")
    story.progress("two")
    story.end(S.COMPLETED, "done")
    (task,) = story.state.tasks.values()
    assert [text_of(message.parts) for message in task.history] == ["hello", "one", "two"]
    assert task.status.message is not None
    assert [text_of(message.parts) for message in story.state.messages] == [
        "hello", "one", "two", "done",
    ]  # fmt: skip


def test_a_new_attempt_knows_what_those_before_it_did() -> None:
    story = turning()
    story.progress("one")
    key = story.step("search", idempotent=True)
    story.done(key, {"hits": 3})
    open_ = story.step("pay")
    story.write("answer", "Once ")
    story.again()
    turn = story.turn
    assert (turn.number, turn.attempt, turn.executor) == (1, 2, "number-2")
    assert turn.steps[key].done
    assert turn.steps[key].result == {"hits": 3}
    assert not turn.steps[open_].done
    assert [text_of(message.parts) for message in turn.progress] == ["one"]
    assert turn.artifacts == ("answer",)
    assert turn.cause.attempt == 1


def test_a_step_that_failed_is_done() -> None:
    story = turning()
    key = story.step("search")
    story.failed(key, FailureClass.TIMEOUT)
    step = story.turn.steps[key]
    assert step.done
    assert step.failure is not None
    assert step.failure.kind is FailureClass.TIMEOUT


def test_a_stream_that_was_superseded_converges() -> None:
    story = turning()
    story.write("answer", "Once upon")
    story.write("answer", " a time", append=True)
    story.write("notes", "a note")
    story.again()
    story.write("answer", "Once more", append=False)
    story.withdraw("notes")
    story.end()
    (task,) = story.state.tasks.values()
    assert {name: text_of(a.parts) for name, a in task.artifacts.items()} == {"answer": "Once more"}


def test_a_bare_answer_is_no_task_for_clients() -> None:
    story = turning()
    story.end(text="hi", bare=True)
    (task,) = story.state.tasks.values()
    assert task.answer is not None
    assert task.ended
    assert task.history[-1].role is Role.USER
    assert story.state.messages[-1] == task.answer


def test_a_cancellation_may_be_decided_before_its_turn() -> None:
    story = turning()
    story.send("later")
    story.cancel(story.task.id)
    (at, _), (ahead, _) = story.pending
    story.decide(ahead=True)
    assert story.state.decided(ahead)
    assert not story.state.decided(at)
    assert story.state.ahead == {ahead}
    assert story.state.open is None
    story.begin()
    assert story.state.handled == at
    story.end()
    story.send("last")
    story.begin()
    assert story.state.ahead == frozenset(), "what lies below `handled` needs no mention"


# What must not happen


def _commit(story: Story) -> Commit:
    return decode_commit(story.commits[-1][1])


def _message(story: Story, task: str) -> MessageReceived:
    (message,) = story.state.messages[:1]
    return MessageReceived(task_id=task, message=message)


def _status(task: str, state: TaskState) -> TaskStatusUpdated:
    return TaskStatusUpdated(task_id=task, status=TaskStatus(state=state))


def _artifact(task: str, *, append: bool = False) -> TaskArtifactUpdated:
    artifact = Artifact(artifact_id="a", parts=(Part(text="x"),))
    return TaskArtifactUpdated(task_id=task, artifact=artifact, append=append)


def _started(task: str, turn: int, attempt: int) -> TurnStarted:
    return TurnStarted(task_id=task, turn=turn, attempt=attempt, message_id="m", executor="one")


def _ended(task: str, turn: int, attempt: int) -> TurnEnded:
    return TurnEnded(task_id=task, turn=turn, attempt=attempt, outcome=Outcome.COMPLETED)


def _step(task: str, key: str) -> StepStarted:
    return StepStarted(
        task_id=task, key=key, name="s", attempt=1, idempotent=True, idempotency_key="k"
    )


def _answer(story: Story, task: str) -> MessageAnswered:
    return MessageAnswered(task_id=task, message=story.state.messages[0])


Make = Callable[[Story, str], AnyEvent]

OUT_OF_PLACE: dict[str, Make] = {
    "another submission": lambda s, t: TaskSubmitted(task_id=t, message=s.state.messages[0]),
    "an unknown task": lambda _, __: _status("nobody", S.WORKING),
    "back to submitted": lambda _, t: _status(t, S.SUBMITTED),
    "a second turn within a turn": lambda _, t: _started(t, 2, 1),
    "the same attempt": lambda _, t: _started(t, 1, 1),
    "an attempt too far": lambda _, t: _started(t, 1, 3),
    "the end of another turn": lambda _, t: _ended(t, 2, 1),
    "the end of another attempt": lambda _, t: _ended(t, 1, 2),
    "a result without intent": lambda _, t: StepCompleted(task_id=t, key="nothing#1"),
    "a second result": lambda _, t: StepCompleted(task_id=t, key="done#1"),
    "an intent after the result": lambda _, t: _step(t, "done#1"),
    "more of an artifact that never began": lambda _, t: _artifact(t, append=True),
}

TOO_LATE: dict[str, Make] = {
    **{f"{state} after the end": (lambda _, t, s=state: _status(t, s)) for state in S},  # type: ignore[misc]
    "a message after the end": _message,
    "a turn after the end": lambda _, t: _started(t, 2, 1),
    "the end of no turn": lambda _, t: _ended(t, 1, 1),
    "an artifact after the end": lambda _, t: _artifact(t),
    "a withdrawal outside a turn": lambda _, t: TaskArtifactWithdrawn(task_id=t, artifact_id="a"),
    "a step outside a turn": lambda _, t: _step(t, "new#1"),
    "an answer after the end": _answer,
}


@pytest.mark.accepts("G3")
@pytest.mark.parametrize("make", OUT_OF_PLACE.values(), ids=OUT_OF_PLACE)
def test_an_event_out_of_place_is_refused_and_changes_nothing(make: Make) -> None:
    story = turning()
    story.done(story.step("done"))
    _refused(story, make(story, story.task.id))


@pytest.mark.accepts("G3")
@pytest.mark.parametrize("state", sorted(TERMINAL - {S.CANCELED}))
@pytest.mark.parametrize("make", TOO_LATE.values(), ids=TOO_LATE)
def test_terminal_states_absorb(make: Make, state: TaskState) -> None:
    story = turning()
    task = story.task.id
    story.end(state)
    _refused(story, make(story, task))


def test_turns_of_two_tasks_never_overlap() -> None:
    story = turning()
    one = story.task.id
    story.end(S.INPUT_REQUIRED)
    story.send("another")
    story.begin()
    _refused(story, _started(one, 2, 1))


@pytest.mark.parametrize(("turn", "attempt"), [(1, 1), (1, 2), (3, 1), (2, 2), (2, 0)])
def test_turns_and_attempts_are_counted_without_gaps(turn: int, attempt: int) -> None:
    story = turning()
    task = story.task.id
    story.end(S.INPUT_REQUIRED)
    _refused(story, _started(task, turn, attempt))


def _refused(story: Story, event: AnyEvent) -> None:
    state, before = story.state, canonical(story.state)
    with pytest.raises(IllegalTransition):
        apply(state, event, _commit(story))
    origin = Origin("test", "t", "anna", "c", "c")
    commit = Commit(
        id="x",
        subject="echo/chat",
        time="2026-01-01T00:00:00.000Z",
        sequence=state.sequence + 1,
        prevhash=state.hash,
        data=CommitData(events=(event,)),
        **origin._asdict(),
    )
    with pytest.raises(IllegalTransition):
        fold(state, 99, encode(commit))
    assert canonical(state) == before


def test_two_turns_of_one_task_are_counted() -> None:
    story = turning()
    task = story.task.id
    story.end(S.INPUT_REQUIRED, "which one?")
    story.send("the red one", task=task)
    story.begin()
    assert story.turn.number == 2
    story.end()
    assert story.state.tasks[task].turns == 2


# Joining texts


@given(st.lists(parts, max_size=6).map(tuple))
def test_joining_keeps_the_text_and_is_done_once(value: tuple[Part, ...]) -> None:
    joined = join(value)
    assert text_of(joined) == text_of(value)
    assert join(joined) == joined
    assert [part for part in joined if not isinstance(part.text, str)] == [
        part for part in value if not isinstance(part.text, str)
    ]


@given(contents(), contents(), contents())
def test_pieces_may_be_joined_in_any_grouping(
    a: tuple[Part, ...], b: tuple[Part, ...], c: tuple[Part, ...]
) -> None:
    assert join((*join((*a, *b)), *c)) == join((*a, *b, *c)) == join((*a, *join((*b, *c))))


def test_texts_with_properties_of_their_own_stay_apart() -> None:
    plain, marked = Part(text="a"), Part(text="b", media_type="text/markdown")
    assert join((plain, plain, marked, plain)) == (Part(text="aa"), marked, plain)
    assert join((replace(plain, metadata={"x": 1}), plain)) == (
        replace(plain, metadata={"x": 1}),
        plain,
    )
