"""The oracles: what the log must tell, whatever went wrong while it was written.

Everything is checked on the records alone, and as far as possible without the code under test.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pelton.events import subjects
from pelton.events.a2a import Message, TaskState
from pelton.events.commands import CancelTask, Command, ReportTask, SendMessage
from pelton.events.commit import Commit
from pelton.events.context import Context, fold
from pelton.events.errors import PeltonError
from pelton.events.events import (
    AnyEvent,
    AttemptEnded,
    DelegationReported,
    FailureClass,
    MessageAnswered,
    MessageReceived,
    QuestionAnswered,
    TaskDeadLettered,
    TaskDelegated,
    TaskEvent,
    TaskStatusUpdated,
    TaskSubmitted,
    TurnEnded,
    TurnStarted,
)
from pelton.events.states import SETTLED, TERMINAL
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.clock import rfc3339
from pelton.runtime.simulation.server import Stored
from tests.simulation.ledger import Ledger, Violation, require


@dataclass
class Sent:
    """A command that a client has tried to append: `accepted` if it was ever told so."""

    command: Command
    subject: str
    data: bytes
    accepted: bool = False
    tries: int = 0


class _Holder(NamedTuple):
    task: str
    turn: int
    attempt: int
    source: str


class Turned(NamedTuple):
    """A turn that has ended: what it was about, and the attempt that ended it."""

    agent: str
    context: str
    task: str
    number: int
    attempt: int
    message: Message
    outcome: str
    ledger: Ledger


class _Line:
    """One aggregate as its records make it."""

    def __init__(self, agent: str, context: str) -> None:
        self.context = Context(agent=agent, id=context)
        self.hash, self.sequence = "", 0
        self.holder: _Holder | None = None
        self.attempts: dict[tuple[str, int], int] = {}
        self.messages: dict[tuple[str, int], Message] = {}
        self.waiting: list[int] = []
        self.owners: dict[str, str] = {}
        self.handed: dict[str, Message] = {}
        """The latest message that each task got for a turn."""
        self.chains: dict[str, tuple[str, ...]] = {}
        self.ledgers: dict[tuple[str, int], Ledger] = {}
        self.turns: dict[str, int] = {}
        """The turn that each task has open."""
        self.said: list[Message] = []


class Story:
    """What the log tells so far; `read` goes on and checks every record as it comes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.turns: list[Turned] = []
        self._position = 0
        self._lines: dict[str, _Line] = {}
        self._decisions: Counter[str] = Counter()
        self._steps: Counter[tuple[str, int, str]] = Counter()
        self._ended: dict[str, int] = {}
        self._dead: set[str] = set()
        self._delegated: dict[tuple[str, int, str], TaskDelegated] = {}
        self._reported: dict[tuple[str, int, str], DelegationReported] = {}
        self._ids: dict[int, str] = {}
        self._stored: dict[str, list[Stored]] = defaultdict(list)
        self._commanded: dict[tuple[str, int, str], set[str]] = defaultdict(set)

    def read(self, log: Sequence[Stored]) -> None:
        """Read what is new.

        Raises:
            Violation: a record must not be there.
        """
        for stored in log[self._position :]:
            subject = subjects.parse(stored.record.subject)
            self._stored[stored.id].append(stored)
            self._ids[stored.record.sequence] = stored.id
            if not subject.context:  # the agent itself
                continue
            line = self._lines.setdefault(
                f"{subject.agent}.{subject.context}", _Line(subject.agent, subject.context)
            )
            if subject.kind == "cmd":
                line.waiting.append(stored.record.sequence)
                self._sent(stored)
            else:
                try:
                    self._commit(line, stored)
                except Violation as violation:
                    violation.add_note(f"at {stored.record}")
                    raise
        self._position = len(log)

    @property
    def open(self) -> list[str]:
        """Return what is neither decided nor settled, in words."""
        found: list[str] = []
        for name, line in self._lines.items():
            found += [f"{name}: command {at} is undecided" for at in line.waiting]
            found += [
                f"{name}: task {task.id} is {task.status.state}, turn {task.turn is not None}"
                for task in line.context.tasks.values()
                if task.turn is not None or task.status.state not in SETTLED
            ]
        return found

    @property
    def contexts(self) -> list[Context]:
        """Return all contexts as they stand."""
        return [line.context for line in self._lines.values()]

    def context(self, agent: str, context: str) -> Context:
        """Return a context as it stands."""
        line = self._lines.get(f"{agent}.{context}")
        return line.context if line else Context(agent=agent, id=context)

    def conclude(self, sent: Sequence[Sent], *, lossless: bool = True) -> None:
        """Check that everything accepted is there and was answered (G1, G2, G12).

        Without `lossless`, what was accepted may be gone, but not half gone.
        """
        require(not self.open, "G12: something is stuck", self.open)
        for each in sent:
            records = self._stored.get(each.command.id, [])
            if each.accepted and lossless:
                require(bool(records), "G1: accepted and lost", each)
            for stored in records:
                same = (stored.record.subject, stored.record.data) == (each.subject, each.data)
                require(same, "G1: stored otherwise than sent", each)
            if records:
                subject = subjects.parse(each.subject)
                self._answered(each.command, self.context(subject.agent, subject.context))
        for line in self._lines.values():
            require(
                tuple(line.said) == line.context.messages, "G3: the conversation", line.context.id
            )
        self._complete()

    def _complete(self) -> None:
        """Check that what a turn was told of a task is what became of the task (AS-50)."""
        for (_, _, key), reported in self._reported.items():
            outcome = reported.outcome
            handed = self._delegated[reported.task_id, reported.turn, key]
            child = self.context(handed.agent, handed.context_id).tasks.get(handed.child)
            require(outcome is not None, "AS-50: a report without an outcome", reported)
            assert outcome is not None
            if child is None:
                require(outcome.state is TaskState.REJECTED, "AS-50: of no task", reported)
            elif outcome.state in TERMINAL and child.command_id in {handed.command_id, ""}:
                told = (outcome.state, outcome.message, outcome.artifacts)
                message = child.answer or child.status.message
                found = (child.status.state, message, tuple(child.artifacts.values()))
                require(told == found, "AS-50: a report that is not complete", (told, found))
        for commanded in self._commanded.values():
            require(len(commanded) == 1, "AS-10: one delegation, two commands", commanded)

    def _answered(self, command: Command, context: Context) -> None:
        require(command.id in context.commands, "G1: never decided", command)
        require(self._decisions[command.id] == 1, "G2: not decided once", command)
        if isinstance(command, SendMessage):
            line = self._lines[f"{context.agent}.{context.id}"]
            id_, refused = command.data.message.message_id, command.id in context.rejected
            times = sum(message.message_id == id_ for message in line.said)
            require(times == (not refused), "G2: not said once, or refused", command)
        if isinstance(command, SendMessage) and command.id not in context.rejected:
            task = context.tasks[context.commands[command.id]]
            require(task.status.state in SETTLED, "G1: not settled", task)

    def _commit(self, line: _Line, stored: Stored) -> None:
        data = stored.record.data
        commit = decode_commit(data)
        require(commit.prevhash == line.hash, "G3: the chain is broken", line.hash)
        require(commit.sequence == line.sequence + 1, "G3: a gap", line.sequence)
        line.hash = hashlib.sha256(data).hexdigest()
        line.sequence += len(commit.data.events)
        try:
            line.context = fold(line.context, stored.record.sequence, data)
        except PeltonError as error:
            raise Violation(f"G3: {error}") from error
        self._decided(line, commit)
        self._fenced(line, commit)
        at = rfc3339(datetime.fromtimestamp(stored.record.received_ns / 1e9, UTC))
        for event in commit.data.events:
            self._event(line, event, commit, at)
        turning, holder = line.context.open, line.holder
        runs = turning is not None and turning.turn is not None and turning.turn.over is None
        same = (turning.id if turning and runs else None) == (holder.task if holder else None)
        require(same, "AS-48: active is not what has begun and not ended", holder)
        for event in commit.data.events:
            state = event.status.state if isinstance(event, TaskStatusUpdated) else None
            if isinstance(event, TaskStatusUpdated) and state in TERMINAL:
                require(event.task_id not in self._ended, "G3: ended twice", event)
                self._ended[event.task_id] = stored.record.sequence
            if isinstance(event, TaskEvent) and not isinstance(event, DelegationReported):
                last = self._ended.get(event.task_id, stored.record.sequence)
                require(last == stored.record.sequence, "G3: goes on after its end", event)

    def _decided(self, line: _Line, commit: Commit) -> None:
        data = commit.data
        self.counts["commits"] += 1
        if data.handled:
            require(data.handled in line.waiting, "AS-14: decides what does not wait", data.handled)
            require(line.waiting[0] == data.handled, "AS-14: passes one over", line.waiting)
            line.waiting.remove(data.handled)
            self._decisions[self._ids[data.handled]] += bool(data.events)
        if data.command != data.handled:
            require(data.command in line.waiting, "AS-14: decides what does not wait", data.command)
            line.waiting.remove(data.command)
            self._decisions[self._ids[data.command]] += bool(data.events)
            self.counts["ahead"] += 1

    def _fenced(self, line: _Line, commit: Commit) -> None:
        """Check that nobody writes but the executor of the latest attempt (G4)."""
        began = [event for event in commit.data.events if isinstance(event, TurnStarted)]
        if not commit.attempt:
            touched = {e.task_id for e in commit.data.events if isinstance(e, TaskEvent)}
            ends = any(isinstance(e, AttemptEnded | TurnEnded) for e in commit.data.events)
            held = line.holder is not None and line.holder.task in touched
            require(ends or not held, "G4: written beside the turn", line.holder)
        for event in began:
            source = f"executor/{event.executor}"
            before = line.attempts.get((event.task_id, event.turn), 0)
            require(event.attempt == before + 1, "G4: attempts", before)
            line.attempts[event.task_id, event.turn] = event.attempt
            if line.holder is not None:
                same = (event.task_id, event.turn) == (line.holder.task, line.holder.turn)
                require(same, "AS-14: two turns at once", line.holder)
                self.counts["takeovers"] += 1
            line.holder = _Holder(event.task_id, event.turn, event.attempt, source)
        if commit.attempt:
            holder = line.holder
            require(holder is not None, "G4: an attempt without a turn", commit.attempt)
            assert holder is not None
            mine = (holder.attempt, holder.source) == (commit.attempt, commit.source)
            require(mine, "G4: a superseded attempt has written", holder)

    def _sent(self, stored: Stored) -> None:
        """Check that what executors send to each other follows from what the log says (AS-10)."""
        command = decode_command(stored.record.data)
        if isinstance(command, SendMessage) and (waits := command.data.delegation):
            key = waits.task_id, waits.turn, waits.key
            require(key in self._delegated, "AS-10: handed on before it was recorded", command)
            self._commanded[key].add(command.id)
            same = command.id == self._delegated[key].command_id
            require(same, "AS-10: another command than was recorded", command)
            self.counts["handed on"] += 1
        if isinstance(command, ReportTask):
            self.counts["reports sent"] += 1
        if isinstance(command, CancelTask) and command.source.startswith("executor/"):
            self.counts["recalls"] += 1

    def _begun(self, line: _Line, event: TurnStarted) -> None:
        if event.attempt > 1:
            return
        message = line.handed.get(event.task_id)
        same = message is not None and message.message_id == event.message_id
        require(same, "G2: a turn about another message than came last", event)
        assert message is not None
        line.messages[event.task_id, event.turn] = message
        line.turns[event.task_id] = event.turn
        chain = line.chains.get(event.task_id, ())
        owner = line.owners[event.task_id]
        ledger = Ledger(line.context.agent, owner, chain, self.counts)
        line.ledgers[event.task_id, event.turn] = ledger

    def _event(self, line: _Line, event: AnyEvent, commit: Commit, at: str) -> None:
        """Take in one event; `at` is when the server got it."""
        if not isinstance(event, TaskEvent):
            return
        ledger = line.ledgers.get((event.task_id, line.turns.get(event.task_id, 0)))
        if isinstance(event, TaskSubmitted | MessageReceived) and ledger is None:
            self._message(line, event, commit)
        if isinstance(event, TurnStarted):
            self._begun(line, event)
        if isinstance(event, AttemptEnded):
            self.counts[event.end] += 1
            line.holder = None
        if isinstance(event, TaskDeadLettered):
            self._dead_lettered(event)
        if isinstance(event, TurnEnded):
            self._turn_ended(line, event)
        elif isinstance(event, DelegationReported):
            self._report(line, event)
        elif ledger is not None:
            ledger.take(event, commit, at)
        if isinstance(event, TaskDelegated):
            self._handed_on(line, event)
        if isinstance(event, QuestionAnswered):
            self._chained(line, event)
        if said := _said(event):
            line.said.append(said)

    def _handed_on(self, line: _Line, event: TaskDelegated) -> None:
        place = event.task_id, line.turns[event.task_id], event.key
        require(place not in self._delegated, "AS-10: delegated twice", event)
        self._delegated[place] = event
        self.counts["delegated"] += 1

    def _dead_lettered(self, event: TaskDeadLettered) -> None:
        kind = event.failure.kind
        self.counts[f"dead: {kind}"] += 1
        require(kind is not FailureClass.NONDETERMINISM, "the agents do not diverge", event)
        require(event.task_id not in self._dead, "AS-15: dead twice", event)
        self._dead.add(event.task_id)

    def _message(self, line: _Line, event: TaskSubmitted | MessageReceived, commit: Commit) -> None:
        """Take in a message that is to have a turn."""
        self.counts["messages"] += 1
        if isinstance(event, TaskSubmitted):
            line.owners[event.task_id] = commit.actor
        line.handed[event.task_id] = event.message
        self._chained(line, event)

    def _chained(
        self, line: _Line, event: TaskSubmitted | MessageReceived | QuestionAnswered
    ) -> None:
        if event.delegation is not None:
            line.chains[event.task_id] = event.delegation.chain

    def _turn_ended(self, line: _Line, event: TurnEnded) -> None:
        self.counts[event.outcome] += 1
        message = line.messages.pop((event.task_id, event.turn), None)
        require(message is not None, "G3: ends a turn that is not open", event)
        assert message is not None
        ledger = line.ledgers[event.task_id, event.turn]
        del line.turns[event.task_id]
        agent, context = line.context.agent, line.context.id
        ended = event.task_id, event.turn, event.attempt
        self.turns.append(Turned(agent, context, *ended, message, event.outcome, ledger))
        if line.holder is not None and line.holder.task == event.task_id:
            line.holder = None

    def _report(self, line: _Line, event: DelegationReported) -> None:
        key = event.task_id, event.turn, event.key
        require(key in self._delegated, "AS-50: a report that nobody waits for", event)
        open_ = line.turns.get(event.task_id) == event.turn and key not in self._reported
        require(open_ is not event.late, "AS-50: late, or not", event)
        self.counts["late reports" if event.late else "reports"] += 1
        if not event.late:
            self._reported[key] = event
            line.ledgers[event.task_id, event.turn].reports[event.key] = event.outcome


def _said(event: TaskEvent) -> Message | None:
    """Return what an event adds to the conversation."""
    if isinstance(event, TaskStatusUpdated):
        return event.status.message
    if isinstance(event, TaskSubmitted | MessageReceived | MessageAnswered | QuestionAnswered):
        return event.message
    return None
