"""The state of a context: the fold of its commits (design, *Sessions*).

A context is the aggregate: its tasks, turns and messages are one order. `Context` is immutable;
`fold` gives the next one. Nothing else in pelton decides what an event means.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from pelton.events.a2a import (
    Artifact,
    JsonObject,
    Message,
    Part,
    Task,
    TaskState,
    TaskStatus,
)
from pelton.events.commit import Commit
from pelton.events.delegation import Delegation, called_back, elsewhere
from pelton.events.done import COUNTED, NOTHING, Done, noted
from pelton.events.envelope import digest
from pelton.events.errors import DamagedRecord, IllegalTransition
from pelton.events.events import (
    AnyEvent,
    AttemptEnded,
    CommandRejected,
    DelegationReported,
    MessageAnswered,
    MessageReceived,
    QuestionAnswered,
    TaskArtifactUpdated,
    TaskArtifactWithdrawn,
    TaskDeadLettered,
    TaskEvent,
    TaskRedriven,
    TaskStatusUpdated,
    TaskSubmitted,
    TurnEnded,
    TurnStarted,
)
from pelton.events.session import SessionInvalidated, SessionOpened, SessionStored
from pelton.events.sessions import Session, settle, take
from pelton.events.states import INTERRUPTED, TERMINAL, follow
from pelton.events.turns import Delegated, Turn, advance, started
from pelton.events.upcast import decode_commit

REDRIVEN: Final = "pelton/redriven"
"""The member of a task's metadata that names the task that does it again."""


POSITION: Final = "pelton/position"
"""The member of a submitted task's metadata that tells its place among those that wait (AS-49)."""


class TaskFold(msgspec.Struct, frozen=True, kw_only=True):
    """A task as its events make it. `sequence` counts them: the position in the task's stream.

    `delegation` is who waits for it, if a task does; `orphans` are the tasks that it had delegated
    and does not wait for any more; `redriven` is the id of the task that does it again after it
    failed. `position` is the place of a task that is foreseen among the messages that wait in its
    context, from 1. `done` counts what it has done.
    """

    id: str
    context_id: str
    status: TaskStatus
    command_id: str
    deadline: str = ""
    delegation: Delegation | None = None
    orphans: tuple[Delegated, ...] = ()
    redriven: str = ""
    position: int = 0
    sequence: int = 1
    artifacts: dict[str, Artifact] = {}
    history: tuple[Message, ...] = ()
    metadata: JsonObject | None = None
    turns: int = 0
    turn: Turn | None = None
    answer: Message | None = None
    done: Done = NOTHING

    @property
    def ended(self) -> bool:
        """Whether the task is in a terminal state."""
        return self.status.state in TERMINAL

    def view(self, *, history: int | None = None, artifacts: bool = True) -> Task:
        """Return the task as A2A shows it, with at most the `history` latest messages."""
        messages = self.history
        if history is not None:
            messages = messages[max(0, len(messages) - history) :]
        return Task(
            id=self.id,
            context_id=self.context_id,
            status=self.status,
            artifacts=tuple(self.artifacts.values()) if artifacts else (),
            history=messages,
            metadata=self._metadata(),
        )

    def _metadata(self) -> JsonObject | None:
        """Return what clients are told beside the protocol.

        Where a task goes on that has failed, and how many come before one that waits.
        """
        told: JsonObject = {REDRIVEN: self.redriven} if self.redriven else {}
        if self.position:
            told[POSITION] = self.position
        return {**(self.metadata or {}), **told} if told else self.metadata


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """A context as its commits make it.

    `head` is the stream sequence of its last commit and `hash` that commit's digest; the next
    append expects the one and chains to the other. `sequence` counts its events. Commands up to
    `handled` are decided, and so are those in `ahead`; `commands` leads from their ids to the task
    they were about, `rejected` holds the refusals among them. `turning` is the id of the task whose
    turn has the context, if one has; `aside` are the tasks whose turns wait for a person and let
    others have it; `rested` is the one whose turn was the last to end. `messages` is the whole
    conversation in order. `waiting` counts the messages among the commands that are foreseen
    (`decide.foresee`); none are in what is only folded. `owner` is the actor whose message opened
    the first task: all tasks of the context are its own (S4). `session` is what its agent's
    framework has of the conversation, if it has anything of its own.
    """

    agent: str
    id: str
    owner: str = ""
    head: int = 0
    hash: str = ""
    sequence: int = 0
    handled: int = 0
    ahead: frozenset[int] = frozenset()
    commands: dict[str, str] = {}
    rejected: dict[str, CommandRejected] = {}
    tasks: dict[str, TaskFold] = {}
    turning: str = ""
    aside: frozenset[str] = frozenset()
    rested: str = ""
    messages: tuple[Message, ...] = ()
    waiting: int = 0
    session: Session | None = None

    @property
    def open(self) -> TaskFold | None:
        """The task whose turn has the context: others wait until it ends or steps aside."""
        return self.tasks.get(self.turning)

    def next_aside(self, now: str) -> TaskFold | None:
        """Return a task whose turn has stepped aside and may go on at a time (RFC 3339)."""
        for id_ in sorted(self.aside):
            task = self.tasks[id_]
            if task.turn is not None and task.turn.ready(now):
                return task
        return None

    def late_aside(self, now: str) -> TaskFold | None:
        """Return a task whose turn has stepped aside and has not ended in time."""
        for id_ in sorted(self.aside):
            task = self.tasks[id_]
            if task.turn is not None and task.turn.deadline_passed(now):
                return task
        return None

    @property
    def due(self) -> str:
        """The time (RFC 3339) at which there is something to do of itself, or empty if never.

        While a turn has the context, those aside have no time but their deadlines: they go on when
        it is over.
        """
        held = self.open
        aside = [turn for id_ in self.aside if (turn := self.tasks[id_].turn) is not None]
        times = [turn.deadline if held else turn.due for turn in aside]
        if held is not None and held.turn is not None:
            times.append(held.turn.due)
        return min((time for time in times if time), default="")

    @property
    def abroad(self) -> bool:
        """Whether a turn waits for an agent elsewhere, which cannot tell of itself."""
        turns = [self.tasks[id_].turn for id_ in (*self.aside, self.turning) if id_]
        open_ = (each for turn in turns if turn is not None for each in turn.delegated.values())
        return any(elsewhere(each.agent) and not called_back(each.agent) for each in open_)

    def decided(self, sequence: int) -> bool:
        """Whether the command with that stream sequence is decided."""
        return sequence <= self.handled or sequence in self.ahead


def fold(context: Context, sequence: int, data: bytes) -> Context:
    """Return the context after the commit whose bytes are stored at a stream sequence.

    Raises:
        DamagedRecord: it is no commit, or does not chain to the one before it (law 13).
        IllegalTransition: an event does not fit the state.
    """
    return fold_commit(context, sequence, decode_commit(data), digest(data))


def fold_commit(context: Context, sequence: int, commit: Commit, hash_: str) -> Context:
    """Return the context after a commit that is already decoded and hashed; see `fold`."""
    if commit.prevhash != context.hash or commit.sequence != context.sequence + 1:
        raise DamagedRecord(
            f"the commit at {sequence} does not follow the one at {context.head}: "
            "the log was altered, or a record of it is missing"
        )
    data = commit.data
    handled = max(context.handled, data.handled)
    ahead = context.ahead
    if data.command > handled:
        ahead = ahead | {data.command}
    if ahead:
        ahead = frozenset(at for at in ahead if at > handled)
    commands = context.commands
    if data.command and commit.causationid not in commands:
        commands = {**commands, commit.causationid: _subject_task(data.events)}
    state = replace(
        context,
        head=sequence,
        hash=hash_,
        sequence=context.sequence + len(data.events),
        handled=handled,
        ahead=ahead,
        commands=commands,
    )
    return _applied(state, data.events, commit)


# A union written where it is asked for would be made anew for every event.
_TURN_EVENTS: Final = frozenset((TurnStarted, AttemptEnded, TurnEnded))
_MESSAGES: Final = (MessageReceived, MessageAnswered, QuestionAnswered)
_SESSION_EVENTS: Final = (SessionOpened, SessionInvalidated, SessionStored)
_ABOUT_TASKS: Final = (TaskEvent, CommandRejected)


def _subject_task(events: Iterable[AnyEvent]) -> str:
    """Return the id of the task that the first of the events is about."""
    for event in events:
        if isinstance(event, _ABOUT_TASKS):
            return event.task_id
    return ""


def apply(context: Context, event: AnyEvent, commit: Commit) -> Context:
    """Return the context after one event of a commit.

    Raises:
        IllegalTransition: the event does not fit the state.
    """
    return _applied(context, (event,), commit)


class _Draft(msgspec.Struct, gc=False):
    """What the events of one commit make of a context; `messages` are those that they add."""

    context_id: str
    owner: str
    tasks: dict[str, TaskFold]
    rejected: dict[str, CommandRejected]
    turning: str
    aside: frozenset[str]
    rested: str
    session: Session | None
    messages: list[Message] = []


def _applied(context: Context, events: Iterable[AnyEvent], commit: Commit) -> Context:
    """Return the context after some events of a commit: what is long is copied once for all."""
    draft = _Draft(
        context_id=context.id,
        owner=context.owner,
        tasks=context.tasks.copy(),
        rejected=context.rejected,
        turning=context.turning,
        aside=context.aside,
        rested=context.rested,
        session=context.session,
    )
    for event in events:
        _take(draft, event, commit)
    said = draft.messages
    return replace(
        context,
        owner=draft.owner,
        tasks=draft.tasks,
        rejected=draft.rejected,
        turning=draft.turning,
        aside=draft.aside,
        rested=draft.rested,
        session=draft.session,
        messages=(*context.messages, *said) if said else context.messages,
    )


def _take(draft: _Draft, event: AnyEvent, commit: Commit) -> None:
    if isinstance(event, TaskSubmitted):
        _submitted(draft, event, commit)
        return
    if isinstance(event, CommandRejected):
        draft.rejected = {**draft.rejected, event.command_id: event}
        return
    if not isinstance(event, TaskEvent):
        return
    before = draft.tasks.get(event.task_id)
    if before is None:
        raise IllegalTransition(f"{type(event).__name__} for a task that was never submitted")
    if isinstance(event, TurnStarted) and draft.turning not in ("", event.task_id):
        raise IllegalTransition("a turn began while another task of the context had one open")
    after = before
    if isinstance(event, _SESSION_EVENTS):
        _turn(before, event)
        draft.session = take(draft.session, event)
    else:
        after = _task(before, event, commit)
    done = noted(before.done, event, commit.time) if type(event) in COUNTED else before.done
    task = draft.tasks[before.id] = replace(after, sequence=before.sequence + 1, done=done)
    if type(event) in _TURN_EVENTS:
        _held(draft, task)
    if (said := _said(event)) is not None:
        draft.messages.append(said)


def _held(draft: _Draft, task: TaskFold) -> None:
    """See who has the context now: a turn that waits for a person lets others have it."""
    if draft.turning == task.id:
        draft.turning = ""
    draft.aside -= {task.id}
    if task.turn is None:
        draft.rested = task.id
        if draft.session is not None:
            draft.session = settle(draft.session, task.id)
    elif task.turn.suspended and task.status.state in INTERRUPTED:
        draft.aside |= {task.id}
    else:
        draft.turning = task.id


def _submitted(draft: _Draft, event: TaskSubmitted, commit: Commit) -> None:
    if event.task_id in draft.tasks:
        raise IllegalTransition("a task was submitted twice")
    draft.owner = draft.owner or commit.actor
    draft.tasks[event.task_id] = TaskFold(
        id=event.task_id,
        context_id=draft.context_id,
        status=TaskStatus(state=TaskState.SUBMITTED, timestamp=commit.time),
        command_id=commit.causationid,
        deadline=event.deadline,
        delegation=event.delegation,
        history=(event.message,),
        metadata=event.metadata,
        done=noted(NOTHING, event, commit.time),
    )
    draft.messages.append(event.message)


def _said(event: TaskEvent) -> Message | None:
    """Return what an event adds to the conversation."""
    if isinstance(event, TaskStatusUpdated):
        return event.status.message
    if isinstance(event, _MESSAGES):
        return event.message
    return None


def _task(task: TaskFold, event: TaskEvent, commit: Commit) -> TaskFold:
    """Return the task after an event; most are of its open turn alone."""
    match event:
        case TurnStarted():
            if task.ended:
                raise IllegalTransition("a turn of a task that has ended")
            turn = started(task.turn, task.turns, event, commit)
            return replace(task, turns=event.turn, turn=turn)
        case TurnEnded():
            return _turn_ended(task, event)
        case TaskStatusUpdated():
            return _status(task, event)
        case MessageReceived() | QuestionAnswered():
            return _received(task, event, commit.causationid)
        case MessageAnswered():
            if task.ended:
                raise IllegalTransition("an answer for a task that has ended")
            return replace(task, answer=event.message)
        case TaskArtifactUpdated():
            return _artifact(task, event)
        case TaskArtifactWithdrawn():
            return _withdrawn(task, event)
        case TaskRedriven():
            return replace(task, redriven=event.by)
        case TaskDeadLettered() | DelegationReported(late=True):
            return task
        case _:
            return replace(task, turn=advance(_turn(task, event), event))


def _turn_ended(task: TaskFold, event: TurnEnded) -> TaskFold:
    turn = _turn(task, event)
    if (event.turn, event.attempt) != (turn.number, turn.attempt):
        raise IllegalTransition("another turn or attempt ended than the one that is open")
    return replace(task, turn=None, orphans=(*task.orphans, *turn.delegated.values()))


def _withdrawn(task: TaskFold, event: TaskArtifactWithdrawn) -> TaskFold:
    kept = {id_: each for id_, each in task.artifacts.items() if id_ != event.artifact_id}
    turn = _turn(task, event)
    written = tuple(id_ for id_ in turn.artifacts if id_ != event.artifact_id)
    return replace(task, artifacts=kept, turn=replace(turn, artifacts=written))


def _turn(task: TaskFold, event: TaskEvent) -> Turn:
    if task.turn is None:
        raise IllegalTransition(f"{type(event).__name__} outside a turn")
    return task.turn


def _received(
    task: TaskFold, event: MessageReceived | QuestionAnswered, command_id: str
) -> TaskFold:
    """Take in what a person says; what the agent had asked stands before it in the history."""
    if task.ended:
        raise IllegalTransition("a message for a task that has ended")
    turn = task.turn
    if isinstance(event, QuestionAnswered):
        turn = advance(_turn(task, event), event)
    elif turn is not None:
        turn = replace(turn, received={**turn.received, command_id: event.message})
    asked = () if task.status.message is None else (task.status.message,)
    return replace(
        task,
        turn=turn,
        delegation=event.delegation or task.delegation,
        history=(*task.history, *asked, event.message),
        status=replace(task.status, message=None),
    )


def _status(task: TaskFold, event: TaskStatusUpdated) -> TaskFold:
    follow(task.status.state, event.status.state)
    history, turn = task.history, task.turn
    if task.status.message is not None:  # superseded: it becomes history
        history = (*history, task.status.message)
    if turn is not None and event.status.message is not None:
        turn = replace(turn, progress=(*turn.progress, event.status.message))
    return replace(task, status=event.status, history=history, turn=turn)


def _artifact(task: TaskFold, event: TaskArtifactUpdated) -> TaskFold:
    if task.ended:
        raise IllegalTransition("an artifact of a task that has ended")
    new = event.artifact
    old = task.artifacts.get(new.artifact_id)
    if event.append:
        if old is None:
            raise IllegalTransition("an artifact goes on that never began")
        new = replace(old, parts=join((*old.parts, *new.parts)))
    turn = task.turn
    if turn is not None and new.artifact_id not in turn.artifacts:
        turn = replace(turn, artifacts=(*turn.artifacts, new.artifact_id))
    return replace(task, artifacts={**task.artifacts, new.artifact_id: new}, turn=turn)


def join(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return parts with neighbouring plain texts made one: how a streamed text reads in the end."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last is not None and _plain(last) and _plain(part):
            joined[-1] = Part(text=f"{last.text}{part.text}")
        else:
            joined.append(part)
    return tuple(joined)


def _plain(part: Part) -> bool:
    return isinstance(part.text, str) and part == Part(text=part.text)
