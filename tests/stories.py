"""Legal histories of contexts, told move by move.

`Tape` is a log in memory, `Story` a legal writer of one context on it: what it writes is what
executors write. `tests.moves` draws stories that have lived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.a2a import Artifact, Message, Part, Role, TaskState, TaskStatus
from pelton.events.commands import (
    CancelTask,
    CancelTaskData,
    Command,
    ReportTask,
    ReportTaskData,
    SendMessage,
    SendMessageData,
)
from pelton.events.commit import Commit, CommitData, Origin
from pelton.events.context import Context, TaskFold, fold
from pelton.events.decide import decide, given_up, interrupt, steer
from pelton.events.delegation import Delegation, TaskOutcome, elsewhere
from pelton.events.envelope import encode
from pelton.events.events import (
    AnyEvent,
    AttemptEnd,
    AttemptEnded,
    DelegationAccepted,
    Failure,
    FailureClass,
    MessageAnswered,
    MessageReceived,
    Outcome,
    QuestionAsked,
    QuestionExpired,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskArtifactUpdated,
    TaskArtifactWithdrawn,
    TaskDelegated,
    TaskStatusUpdated,
    TaskSubmitted,
    TimerFired,
    TimerSet,
    TurnEnded,
    TurnStarted,
    UsageReported,
    ValueRecorded,
)
from pelton.events.ids import derive, task_id
from pelton.events.ruling import CallRuled, Point, Ruling
from pelton.events.session import (
    SessionEntry,
    SessionInvalidated,
    SessionOpened,
    SessionReason,
    SessionStart,
    SessionStored,
)
from pelton.events.sessions import Gate, gate
from pelton.events.turns import Turn
from pelton.runtime.clock import rfc3339
from pelton.runtime.log import Record

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

OUTCOMES = {
    TaskState.COMPLETED: Outcome.COMPLETED,
    TaskState.FAILED: Outcome.FAILED,
    TaskState.REJECTED: Outcome.REJECTED,
    TaskState.INPUT_REQUIRED: Outcome.INPUT_REQUIRED,
    TaskState.AUTH_REQUIRED: Outcome.AUTH_REQUIRED,
}
"""How a turn can end in what state, if nobody cancels it."""


class Tape:
    """A log in memory: records in one total order, and a clock that ticks with each."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    @property
    def now(self) -> str:
        """The time, as a status timestamp."""
        return rfc3339(EPOCH + timedelta(milliseconds=137 * len(self.records)))

    def append(self, subject: str, data: bytes) -> int:
        """Store a record and return its sequence."""
        sequence = len(self.records) + 1
        received = EPOCH + timedelta(milliseconds=137 * sequence)
        self.records.append(Record(sequence, subject, data, int(received.timestamp() * 1e9)))
        return sequence

    def on(self, subject: str) -> list[Record]:
        """Return the records of one subject."""
        return [record for record in self.records if record.subject == subject]


class Story:
    """One context and its legal writer: clients that command, and the executor that works.

    `state` is the fold of what was written; every commit is folded as it is stored, so an illegal
    move raises here and nothing is stored.
    """

    def __init__(
        self,
        tape: Tape | None = None,
        *,
        agent: str = "echo",
        context: str = "chat",
        tenant: str = "t",
    ) -> None:
        self.tape = tape or Tape()
        self.agent, self.context, self.tenant = agent, context, tenant
        self.state = Context(agent=agent, id=context)
        self.commands: list[tuple[int, Command]] = []
        self.commits: list[tuple[int, bytes]] = []
        self._made = 0

    # What clients do

    def send(
        self,
        *content: str | Part,
        task: str = "",
        message: Message | None = None,
        actor: str = "anna",
        **more: Any,
    ) -> Command:
        """Append a message of texts or parts, or exactly `message`; `more` goes with it."""
        if message is None:
            made = tuple(Part(text=part) if isinstance(part, str) else part for part in content)
            message = Message(
                message_id=self._id("message"), role=Role.USER, parts=made, task_id=task
            )
        id_ = self._id("command")
        data = SendMessageData(message=message, **more)
        command = SendMessage(data=data, **self._envelope(id_, actor))
        return self.put(command)

    def cancel(self, task: str) -> Command:
        """Append the wish that a task be canceled."""
        id_ = self._id("command")
        return self.put(CancelTask(data=CancelTaskData(task_id=task), **self._envelope(id_)))

    def redrive(self, task: str) -> Command:
        """Append the wish that a task that failed be done again."""
        message = self.state.tasks[task].history[0]
        again = replace(message, task_id="", message_id=self._id("message"))
        data = SendMessageData(message=again, redrives=task)
        return self.put(SendMessage(data=data, **self._envelope(self._id("command"))))

    def put(self, command: Command) -> Command:
        """Append a command, for the first time or again."""
        at = self.tape.append(subjects.commands(self.agent, self.context), encode(command))
        self.commands.append((at, command))
        return command

    def _envelope(self, id_: str, actor: str = "anna") -> dict[str, Any]:
        return {
            "id": id_,
            "source": "test",
            "subject": f"{self.agent}/{self.context}",
            "time": self.tape.now,
            "tenant": self.tenant,
            "actor": actor,
            "correlationid": id_,
            "causationid": id_,
            "opens": not self.commands,
        }

    def _id(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self.agent}-{self._made}"

    # What the executor does

    @property
    def pending(self) -> list[tuple[int, Command]]:
        """The commands that are not decided, with their sequences."""
        return [(at, command) for at, command in self.commands if not self.state.decided(at)]

    @property
    def task(self) -> TaskFold:
        """The task whose turn is open."""
        assert self.state.open is not None
        return self.state.open

    @property
    def turn(self) -> Turn:
        """The turn that is open."""
        assert self.task.turn is not None
        return self.task.turn

    def commit(
        self,
        *events: AnyEvent,
        origin: Origin | None = None,
        command: int = 0,
        handled: int = 0,
    ) -> Commit:
        """Append one commit of events; `origin` defaults to that of the open turn."""
        state = self.state
        if origin is None:
            origin = Origin.caused_by(self.turn.cause, "executor/one")
        open_ = state.open
        attempt = open_.turn.attempt if open_ is not None and open_.turn is not None else 0
        for event in events:
            if isinstance(event, TurnStarted):
                attempt = event.attempt
        commit = Commit(
            id=f"commit-{derive(self.agent, self.context, str(len(self.commits)))[:12]}",
            subject=f"{self.agent}/{self.context}",
            time=self.tape.now,
            sequence=state.sequence + 1,
            prevhash=state.hash,
            attempt=attempt,
            data=CommitData(events=events, command=command, handled=handled),
            **origin._asdict(),
        )
        data = encode(commit)
        self.state = fold(state, len(self.tape.records) + 1, data)
        self.commits.append(
            (self.tape.append(subjects.commits(self.agent, self.context), data), data)
        )
        return commit

    def decide(self, *, ahead: bool = False) -> tuple[AnyEvent, ...]:
        """Decide the next command, or `ahead` of its turn the last one, and commit it alone."""
        at, command = self.pending[-1 if ahead else 0]
        events = decide(self.state, command, time=self.tape.now)
        origin = Origin.caused_by(command, "executor/one")
        self.commit(*events, origin=origin, command=at, handled=0 if ahead else at)
        return events

    def begin(self, *more: Callable[[str], AnyEvent]) -> bool:
        """Decide the next command; if it is an accepted message, begin its turn in that commit.

        `more` makes further events of the id of the task. Returns whether a turn began.
        """
        at, command = self.pending[0]
        events = decide(self.state, command, time=self.tape.now)
        origin = Origin.caused_by(command, "executor/one")
        if not events or not isinstance(events[0], TaskSubmitted | MessageReceived):
            self.commit(*events, origin=origin, command=at, handled=at)
            return False
        task, message = events[0].task_id, events[0].message
        known = self.state.tasks.get(task)
        started = TurnStarted(
            task_id=task,
            turn=known.turns + 1 if known else 1,
            attempt=1,
            message_id=message.message_id,
            executor="one",
        )
        working = TaskStatusUpdated(
            task_id=task, status=TaskStatus(state=TaskState.WORKING, timestamp=self.tape.now)
        )
        extra = [make(task) for make in more]
        self.commit(*events, started, working, *extra, origin=origin, command=at, handled=at)
        return True

    def again(self, task: TaskFold | None = None) -> None:
        """Begin the next attempt of the open turn, or of that of a task that has stepped aside."""
        task = task or self.task
        turn = task.turn
        assert turn is not None  # there is one to go on with
        self.commit(
            TurnStarted(
                task_id=task.id,
                turn=turn.number,
                attempt=turn.attempt + 1,
                message_id=turn.message_id,
                executor=f"number-{turn.attempt + 1}",
            ),
            origin=Origin.caused_by(turn.cause, "executor/one"),
        )

    def progress(self, text: str) -> None:
        """Report progress."""
        status = TaskStatus(
            state=TaskState.WORKING, message=self.said(text), timestamp=self.tape.now
        )
        self.commit(TaskStatusUpdated(task_id=self.task.id, status=status))

    def write(
        self, name: str, *content: str | Part, append: bool = False, last: bool = False
    ) -> None:
        """Write an artifact, or let it go on."""
        made = tuple(Part(text=part) if isinstance(part, str) else part for part in content)
        artifact = Artifact(artifact_id=name, name=name, parts=made)
        self.commit(
            TaskArtifactUpdated(
                task_id=self.task.id, artifact=artifact, append=append, last_chunk=last
            )
        )

    def withdraw(self, name: str) -> None:
        """Take an artifact back."""
        self.commit(TaskArtifactWithdrawn(task_id=self.task.id, artifact_id=name))

    def step(self, name: str, *, idempotent: bool = False) -> str:
        """Record the intent of a step and return its key."""
        key = f"{name}#{1 + sum(step.name == name for step in self.turn.steps.values())}"
        self.step_again(key, name, idempotent=idempotent)
        return key

    def step_again(self, key: str, name: str, *, idempotent: bool = True) -> None:
        """Record the intent of a step under a key, for the first time or again."""
        self.commit(
            StepStarted(
                task_id=self.task.id,
                key=key,
                name=name,
                attempt=self.turn.attempt,
                idempotent=idempotent,
                idempotency_key=derive(self.task.id, str(self.turn.number), key),
            )
        )

    def done(self, key: str, result: object = None) -> None:
        """Record the result of a step."""
        self.commit(StepCompleted(task_id=self.task.id, key=key, result=result))

    def failed(self, key: str, kind: FailureClass = FailureClass.PROVIDER) -> None:
        """Record the failure of a step."""
        failure = Failure(kind=kind, message="It did not work.", exception="ValueError")
        self.commit(StepFailed(task_id=self.task.id, key=key, failure=failure))

    def end(
        self, state: TaskState = TaskState.COMPLETED, text: str = "", *, bare: bool = False
    ) -> None:
        """End the open turn in a state, with a status message or a bare answer."""
        task, turn = self.task, self.turn
        message = self.said(text) if text or bare else None
        events: list[AnyEvent] = []
        if bare and message is not None:
            events.append(MessageAnswered(task_id=task.id, message=message))
            message = None
        status = TaskStatus(state=state, message=message, timestamp=self.tape.now)
        events.append(TaskStatusUpdated(task_id=task.id, status=status))
        failure = None
        if state is TaskState.FAILED:
            failure = Failure(kind=FailureClass.AGENT, message="The agent failed.")
        ended = TurnEnded(
            task_id=task.id,
            turn=turn.number,
            attempt=turn.attempt,
            outcome=OUTCOMES[state],
            failure=failure,
        )
        self.commit(*events, ended)

    def said(self, text: str) -> Message:
        """Return a message of the agent's in the open turn."""
        return Message(
            message_id=derive(self.task.id, str(self.turn.number), str(self.state.sequence)),
            role=Role.AGENT,
            context_id=self.context,
            task_id=self.task.id,
            parts=(Part(text=text),),
        )

    # What an agent's framework keeps of its own

    def open_session(self, adapter: str = "model", *, format: int = 1, here: bool = True) -> Gate:
        """Let the open turn take the framework's session in hand, as the gate says."""
        known = self.state.session
        said = len(self.state.messages) > 1
        found = gate(known, adapter=adapter, format=format, here=here, said=said)
        events: list[AnyEvent] = []
        if known is not None and found.start is SessionStart.REBUILD and known.invalid is None:
            events.append(
                SessionInvalidated(task_id=self.task.id, number=known.number, reason=found.reason)
            )
        opened = SessionOpened(
            task_id=self.task.id,
            number=found.number,
            start=found.start,
            reason=found.reason,
            adapter=adapter,
            format=format,
        )
        self.commit(*events, opened)
        return found

    def store(self, *entries: SessionEntry) -> None:
        """Add to the framework's session."""
        session = self.state.session
        assert session is not None
        self.commit(SessionStored(task_id=self.task.id, number=session.number, entries=entries))

    def lose_session(self, reason: SessionReason) -> None:
        """Say that the framework's session is not to be gone on with."""
        session = self.state.session
        assert session is not None
        self.commit(SessionInvalidated(task_id=self.task.id, number=session.number, reason=reason))

    # Turns that outlive their attempts

    def rule(self, key: str, by: str, ruling: Ruling, **more: Any) -> None:
        """Record what somebody has said of the call of a tool."""
        point = Point.TOOL_BEFORE
        self.commit(
            CallRuled(
                task_id=self.task.id, point=point, key=key, by=by, ruling=ruling, call="0a", **more
            )
        )

    def value(self, name: str, value: object) -> str:
        """Record a value that every attempt gets alike."""
        key = self._key(name, self.turn.values)
        self.commit(ValueRecorded(task_id=self.task.id, key=key, value=value))
        return key

    def spend(self, model: str, tokens: int, *, key: str = "") -> str:
        """Report what a call to a model took; under a key that was used before, once more."""
        key = key or f"usage#{len(self.turn.used) + 1}"
        self.commit(
            UsageReported(
                task_id=self.task.id,
                key=key,
                model=model,
                input_tokens=tokens,
                output_tokens=tokens // 2,
                cached_tokens=tokens // 3,
                cost=tokens * 1_000,
                duration=tokens * 2,
            )
        )
        return key

    def sleep(self) -> str:
        """Begin to sleep."""
        key = self._key("sleep", self.turn.timers)
        self.commit(TimerSet(task_id=self.task.id, key=key, due=self.later))
        return key

    def fire(self, key: str) -> None:
        """Say that the time of a timer has come."""
        self.commit(TimerFired(task_id=self.task.id, key=key))

    def ask(self, text: str, *, approvers: tuple[str, ...] = (), auth: bool = False) -> str:
        """Ask a person."""
        key = self._key("ask", self.turn.questions)
        state = TaskState.AUTH_REQUIRED if auth else TaskState.INPUT_REQUIRED
        message = self.said(text)
        status = TaskStatus(state=state, message=message, timestamp=self.tape.now)
        self.commit(
            TaskStatusUpdated(task_id=self.task.id, status=status),
            QuestionAsked(
                task_id=self.task.id,
                key=key,
                message=message,
                approvers=approvers,
                expires=self.later,
            ),
        )
        return key

    def expire(self, key: str) -> None:
        """Say that nobody has answered in time."""
        events: list[AnyEvent] = [QuestionExpired(task_id=self.task.id, key=key)]
        if set(self.turn.asked) == {key}:
            status = TaskStatus(state=TaskState.WORKING, timestamp=self.tape.now)
            events.append(TaskStatusUpdated(task_id=self.task.id, status=status))
        self.commit(*events)

    def delegate(self, agent: str, text: str) -> str:
        """Hand a message to another agent."""
        key = self._key("delegate", self.turn.delegations)
        command = derive("delegate", self.task.id, str(self.turn.number), key)
        context = derive("context", self.task.id, str(self.turn.number), key)
        message = Message(
            message_id=command, role=Role.USER, context_id=context, parts=(Part(text=text),)
        )
        self.commit(
            TaskDelegated(
                task_id=self.task.id,
                key=key,
                agent=agent,
                context_id=context,
                command_id=command,
                child="" if elsewhere(agent) else task_id(context, command),
                message=message,
                chain=(self.agent,),
            )
        )
        return key

    def accept(self, key: str, child: str) -> None:
        """Tell that an agent elsewhere has taken what was handed to it."""
        self.commit(DelegationAccepted(task_id=self.task.id, key=key, child=child))

    def report(self, task: TaskFold, turn: int, key: str, text: str = "done") -> Command:
        """Append what another agent reports of a task that was delegated under a key."""
        waits = Delegation(
            agent=self.agent,
            context_id=self.context,
            task_id=task.id,
            turn=turn,
            key=key,
            chain=(self.agent,),
        )
        part = Artifact(artifact_id="a", parts=(Part(text=text),))
        outcome = TaskOutcome(task_id="child", state=TaskState.COMPLETED, artifacts=(part,))
        id_ = self._id("report")
        data = ReportTaskData(delegation=waits, outcome=outcome)
        return self.put(ReportTask(data=data, **self._envelope(id_)))

    def fail_for_now(self, key: str) -> None:
        """Record that a step has failed and runs again."""
        failure = Failure(kind=FailureClass.PROVIDER, message="It may pass.")
        self.commit(StepFailed(task_id=self.task.id, key=key, failure=failure, again_at=self.later))

    def leave(self, end: AttemptEnd) -> None:
        """End the attempt, and not the turn."""
        turn = self.turn
        failed = end is AttemptEnd.FAILED
        waits = (*turn.asked, *turn.delegated, *(k for k, t in turn.timers.items() if not t.done))
        self.commit(
            AttemptEnded(
                task_id=self.task.id,
                turn=turn.number,
                attempt=turn.attempt,
                end=end,
                waits=waits if end is AttemptEnd.SUSPENDED else (),
                failure=Failure(kind=FailureClass.PROVIDER, message="No.") if failed else None,
                again_at=self.later if failed else "",
            )
        )

    def give_up(self) -> None:
        """Fail the open turn for good."""
        failure = Failure(kind=FailureClass.TIMEOUT, message="It did not end in time.")
        self.commit(*given_up(self.task, self.turn, failure, self.tape.now))

    def interrupt(self) -> None:
        """End the open turn for another message to have its own."""
        self.commit(*interrupt(self.task, self.turn, self.tape.now))

    def steer(self) -> None:
        """Let the running turn take the latest message."""
        at, command = self.pending[-1]
        assert isinstance(command, SendMessage)
        key = self._key("received", self.turn.values)
        taken = ValueRecorded(task_id=self.task.id, key=key, value=command.id)
        origin = Origin.caused_by(command, "executor/one")
        self.commit(*steer(self.state, command, self.task.id), taken, origin=origin, command=at)

    @property
    def later(self) -> str:
        """A time to come."""
        return rfc3339(EPOCH + timedelta(hours=1 + len(self.tape.records)))

    def _key(self, name: str, known: Mapping[str, object]) -> str:
        return f"{name}#{1 + sum(key.startswith(f'{name}#') for key in known)}"
