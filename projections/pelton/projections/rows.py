"""Rows of the read models, as the projection works on them and as SQLite keeps them.

A row of `tasks` is all that is needed of a task to take in its next event; its messages and the
pieces of its artifacts lie in rows of their own and are only ever added, so that an event costs the
same however long the task is.
"""

from __future__ import annotations

from typing import Any, Final, Self

import msgspec

from pelton.events.a2a import JsonObject, Message, Role, TaskStatus

Cells = tuple[Any, ...]
"""What SQLite keeps of a row: integers, texts and nulls in the order of the columns."""

UNDECIDED: Final = 1 << 53
"""Plus a command's sequence: the number of a message that waits to be decided. It comes last."""

SOMETHING: Final = Message(message_id="-", role=Role.AGENT, parts=())
"""Stands for a message of which only that it is there is asked."""

_encoder: Final = msgspec.json.Encoder(order="deterministic")
_statuses: Final = msgspec.json.Decoder(TaskStatus)
_positions: Final = msgspec.json.Decoder(dict[str, int])
_waits: Final = msgspec.json.Decoder(dict[str, str])
_sequences: Final = msgspec.json.Decoder(frozenset[int])


def text(value: object) -> str:
    """Return the canonical JSON of a value as SQLite's JSON functions read it."""
    return _encoder.encode(value).decode()


class ContextRow(msgspec.Struct, gc=False):
    """A context. `key` is the end of its subjects, `stopped` the sequence of a damaged commit.

    `head`, `events`, `handled` and `ahead` are as in `pelton.events.context.Context`, which calls
    `events` its sequence. `waiting` counts the commands that are not decided. `created` and
    `updated` are the stream sequences of its first and last record, `time` that of its last commit,
    or of the first command while there is none. `owner` is whose context it is, empty while no
    task was decided in it.
    """

    key: str
    agent: str
    id: str
    head: int = 0
    events: int = 0
    handled: int = 0
    ahead: frozenset[int] = frozenset()
    waiting: int = 0
    stopped: int = 0
    created: int = 0
    updated: int = 0
    time: str = ""
    owner: str = ""

    def decided(self, sequence: int) -> bool:
        """Whether the command with that stream sequence is decided."""
        return sequence <= self.handled or sequence in self.ahead

    def decide(self, command: int, handled: int) -> None:
        """Take in what a commit says it has decided."""
        self.handled = max(self.handled, handled)
        if command > self.handled:
            self.ahead |= {command}
        if self.ahead:
            self.ahead = frozenset(at for at in self.ahead if at > self.handled)

    def cells(self) -> Cells:
        """Return what SQLite keeps."""
        ahead = text(sorted(self.ahead)) if self.ahead else "[]"
        head = (self.key, self.agent, self.id, self.head, self.events, self.handled, ahead)
        rest = (self.waiting, self.stopped, self.created, self.updated, self.time, self.owner)
        return (*head, *rest)

    @classmethod
    def of(cls, cells: Cells) -> Self:
        """Return the row that SQLite kept."""
        key, agent, id_, head, events, handled, ahead, *rest = cells
        return cls(key, agent, id_, head, events, handled, _sequences.decode(ahead), *rest)


class TaskRow(msgspec.Struct, gc=False):
    """A task. `history` counts its messages; `artifacts` leads from ids to places among `pieces`.

    `attempt` and `executor` are those of the turn that runs, if one does. `answer` is the bare
    message that the agent answered with: there is no task towards clients then. `pending` is the
    sequence of the command that opens it, while that is not decided. `created` is the sequence of
    that command, `updated` that of the last commit. `owner` is that of its context. `waits` leads
    from the keys of what the task waits for to the times when that is due, `pause` is how its last
    attempt ended while there is no next one, and `again_at` when that one may begin, if the log
    says so. `began` is when the attempt that runs began.
    """

    id: str
    agent: str
    context_id: str
    command_id: str
    status: TaskStatus
    metadata: JsonObject | None = None
    sequence: int = 1
    turns: int = 0
    attempt: int | None = None
    executor: str | None = None
    history: int = 0
    artifacts: dict[str, int] = {}
    answer: str | None = None
    pending: int = 0
    created: int = 0
    updated: int = 0
    owner: str = ""
    waits: dict[str, str] = {}
    pause: str = ""
    again_at: str = ""
    began: str = ""

    def cells(self) -> Cells:
        """Return what SQLite keeps."""
        status = self.status
        return (
            self.id,
            self.agent,
            self.context_id,
            self.command_id,
            status.state.value,
            status.timestamp,
            text(status),
            None if self.metadata is None else text(self.metadata),
            self.sequence,
            self.turns,
            self.attempt,
            self.executor,
            self.history,
            text(self.artifacts) if self.artifacts else "{}",
            self.answer,
            self.pending,
            self.created,
            self.updated,
            self.owner,
            text(self.waits) if self.waits else "{}",
            self.pause,
            self.again_at,
            self.began,
        )

    @classmethod
    def of(cls, cells: Cells) -> Self:
        """Return the row that SQLite kept."""
        id_, agent, context_id, command_id, _, _, status, metadata, *others, artifacts = cells[:14]
        sequence, turns, attempt, executor, history = others
        answer, pending, created, updated, owner, waits, pause, again_at, began = cells[14:]
        return cls(
            id=id_,
            agent=agent,
            context_id=context_id,
            command_id=command_id,
            status=_statuses.decode(status),
            metadata=None if metadata is None else msgspec.json.decode(metadata),
            sequence=sequence,
            turns=turns,
            attempt=attempt,
            executor=executor,
            history=history,
            artifacts=_positions.decode(artifacts),
            answer=answer,
            pending=pending,
            created=created,
            updated=updated,
            owner=owner,
            waits=_waits.decode(waits),
            pause=pause,
            again_at=again_at,
            began=began,
        )


def message_cells(
    task: TaskRow, number: int, sequence: int, command: str, message: Message
) -> Cells:
    """Return a row of `messages`: one entry of a task's history, `command` what brought it."""
    return (task.id, task.agent, number, sequence, command, text(message))
