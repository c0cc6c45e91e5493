"""A conversation as the files that orchestrators keep: renderings of the log, and never a state.

The same records give the same bytes. What somebody has said stands in quoted lines, or as a JSON
string, so that nothing that it says looks like a part of the file (AS-52).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from pelton.events import subjects
from pelton.events.a2a import Message, Part, TaskState, text_of
from pelton.events.commit import Commit
from pelton.events.context import Context, fold
from pelton.events.events import (
    AnyEvent,
    CommandRejected,
    MessageAnswered,
    MessageReceived,
    QuestionAnswered,
    QuestionExpired,
    StepFailed,
    TaskDeadLettered,
    TaskDelegated,
    TaskEvent,
    TaskRedriven,
    TaskStatusUpdated,
    TaskSubmitted,
    TurnEnded,
)
from pelton.events.memories import SEALED, Memory, memories_as_of, unsaid
from pelton.events.memory import (
    MemoryConsolidated,
    MemoryContent,
    MemoryEvent,
    MemoryForgotten,
)
from pelton.events.printable import printable
from pelton.events.upcast import decode_commit
from pelton.runtime.replay.graph import graph
from pelton.runtime.replay.session import Session

_HEAD: Final = "<!-- Rendered from the log by `pelton render`: what is written here is lost. -->"


class _Happened(NamedTuple):
    """An event of the session, with what its record says of it."""

    sequence: int
    agent: str
    commit: Commit
    event: AnyEvent


def render(session: Session, context_id: str) -> dict[str, str]:
    """Return the files of a conversation by their names.

    Raises:
        DamagedRecord: the commits of a context do not chain (law 13).
    """
    happened = list(_events(session))
    records = [(each.sequence, each.subject, each.data) for each in session.records]
    memories = memories_as_of(records)
    found = graph(session)
    tasks = msgspec.json.encode({"nodes": found.nodes, "edges": found.edges}, order="deterministic")
    gone = memories.replaced()
    now = max((each.commit.time for each in happened), default="")
    living = [m for m in memories.memories.values() if m.lives(now) and m.id not in gone]
    return {
        "context.md": _lines(_context(context_id, happened, living)),
        "tasks.json": msgspec.json.format(tasks, indent=2).decode() + "\n",
        "decisions.log": _lines(_decisions(happened)),
        "issues.md": _lines(_issues(context_id, happened, _folds(session))),
    }


def _events(session: Session) -> Iterator[_Happened]:
    for record in session.records:
        place = subjects.parse(record.subject)
        if place.kind == "evt" and (place.context or place.agent == subjects.MEMORY):
            commit = unsaid(decode_commit(record.data))
            for event in commit.data.events:
                yield _Happened(record.sequence, place.agent, commit, event)


def _folds(session: Session) -> list[Context]:
    found: list[Context] = []
    for agent, context_id in session.contexts:
        state = Context(agent=agent, id=context_id)
        for record in session.commits(agent, context_id):
            state = fold(state, record.sequence, record.data)
        found.append(state)
    return found


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> Iterator[str]:
    """Yield lines without what a terminal would obey: somebody may print the file as it is."""
    for line in text.splitlines() or [""]:
        yield f"> {printable(line)}".rstrip()


def _words(parts: Sequence[Part]) -> str:
    """Return the text of parts; of what is in the blob store, where it is."""
    away = [f"[{p.blob.size} bytes, sha256 {p.blob.sha256}]" for p in parts if p.blob is not None]
    return "\n".join([*filter(None, [text_of(tuple(parts))]), *away])


def _context(
    context_id: str, happened: Sequence[_Happened], living: Sequence[Memory]
) -> Iterator[str]:
    yield from (_HEAD, "", f"# Conversation {json.dumps(context_id)}", "", "## What was said")
    for each in happened:
        for who, message in _messages(each):
            yield from ("", f"{each.commit.time}, {each.sequence}, {who}:", "")
            yield from _quoted(_words(message.parts))
    yield from ("", "## What is remembered")
    if not living:
        yield from ("", "Nothing.")
    for memory in sorted(living, key=lambda each: (each.head, each.id)):
        version = memory.versions[-1]
        whose = f"{memory.scope}:{memory.owner}" if memory.owner else memory.scope
        yield from ("", f"{version.time}, {memory.id}@{version.number}, {whose}:", "")
        yield from _quoted(SEALED if version.keyid else version.content)


def _messages(each: _Happened) -> Iterator[tuple[str, Message]]:
    """Yield what is said with an event, and by whom to whom."""
    event, actor = each.event, json.dumps(each.commit.actor)
    match event:
        case TaskSubmitted() | MessageReceived() | QuestionAnswered():
            by = f"agent {event.delegation.agent}" if event.delegation else actor
            yield f"{by} to agent {each.agent}", event.message
        case MessageAnswered():
            yield f"agent {each.agent}", event.message
        case TaskStatusUpdated() if event.status.message is not None:
            yield f"agent {each.agent}", event.status.message
        case _:
            pass


def _decisions(happened: Sequence[_Happened]) -> Iterator[str]:
    for each in happened:
        for words in _decided(each):
            yield f"{each.sequence} {each.commit.time} {words}"


def _decided(each: _Happened) -> Iterator[str]:
    """Yield what an event decides: by an agent for those it works with, or by a person."""
    event, actor = each.event, json.dumps(each.commit.actor)
    match event:
        case TaskDelegated():
            said = json.dumps(_words(event.message.parts))
            yield f"{each.agent} delegates {event.child or event.agent} to {event.agent}: {said}"
        case QuestionAnswered():
            said = json.dumps(_words(event.message.parts))
            yield f"{json.dumps(event.by)} answers {event.key} of {event.task_id}: {said}"
        case TaskStatusUpdated() if event.status.state is TaskState.CANCELED:
            yield f"{actor} cancels {event.task_id}"
        case TaskRedriven():
            yield f"{actor} has {event.task_id} done again as {event.by}"
        case MemoryEvent():
            yield f"{event.cause.agent or actor} {_remembers(event)}"
        case _:
            pass


def _remembers(event: MemoryEvent) -> str:
    name = f"{event.memory_id}@{event.version}"
    match event:
        case MemoryForgotten():
            return f"forgets {name}: {json.dumps(event.reason)}"
        case MemoryConsolidated():
            made = ", ".join(f"{ref.memory_id}@{ref.version}" for ref in event.sources)
            return f"remembers {name} in the place of {made}: {json.dumps(event.content)}"
        case MemoryContent():
            return f"remembers {name}: {json.dumps(event.content)}"
        case _:
            return f"changes {name}"


def _issues(
    context_id: str, happened: Sequence[_Happened], folds: Sequence[Context]
) -> Iterator[str]:
    yield from (_HEAD, "", f"# Issues of conversation {json.dumps(context_id)}")
    waiting = [line for state in folds for line in _waiting(state)]
    troubles = [line for each in happened for line in _trouble(each)]
    for title, lines in (("Waiting for somebody", waiting), ("What went wrong", troubles)):
        yield from ("", f"## {title}", "")
        yield from lines or ["Nothing."]


def _waiting(state: Context) -> Iterator[str]:
    for task in state.tasks.values():
        asked: Mapping[str, object] = task.turn.asked if task.turn is not None else {}
        for key in asked:
            yield f"- {state.agent}, task {task.id}: the question {key}"
        at_rest = task.status.state in (TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED)
        if at_rest and not asked:
            yield f"- {state.agent}, task {task.id}: the next message"


def _trouble(each: _Happened) -> Iterator[str]:
    event = each.event
    place = f"- {each.sequence}, {each.commit.time}, {each.agent}"
    if isinstance(event, TaskEvent):
        place += f", task {event.task_id}"
    match event:
        case StepFailed() if not event.again_at:
            kind, said = event.failure.kind, json.dumps(event.failure.message)
            yield f"{place}: the step {event.key} failed ({kind}): {said}"
        case TurnEnded() if event.failure is not None:
            said = json.dumps(event.failure.message)
            yield f"{place}: turn {event.turn} failed ({event.failure.kind}): {said}"
        case TaskDeadLettered():
            yield f"{place}: given up after {event.attempts} attempts"
        case QuestionExpired():
            yield f"{place}: nobody answered {event.key} in time"
        case CommandRejected():
            yield f"{place}: refused ({event.code}): {json.dumps(event.reason)}"
        case _:
            pass
