"""Sessions: all records of a conversation in memory, with those of everybody who took part in it.

A session reads as a log does, so that whatever looks back works on the log and on a file alike.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, cast

import msgspec

from pelton.events import subjects
from pelton.events.delegation import elsewhere
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import (
    MessageReceived,
    QuestionAnswered,
    StepCompleted,
    TaskDelegated,
    TaskSubmitted,
)
from pelton.events.ids import context_of, token
from pelton.events.memory import named
from pelton.events.upcast import decode_commit
from pelton.runtime.log import BlobMissing, Extent, Record
from pelton.runtime.simulation.server import matches
from pelton.runtime.vault import ContentSealed, Keyring, Vault

_SEALED: Final = re.compile(
    rb'(?:\{"sha256":"[0-9a-f]{64}","size":[0-9]+,"member":"[a-z]+:|"keyid":")([^"]+)"'
)
"""How it is written with which key something is sealed."""


class ContextNotFound(PeltonError):
    """No record is about that context: mend its id, or look on the log that it was sent to."""

    code = "context-not-found"


class Reader(Protocol):
    """What of a log only reads; see `pelton.runtime.log.Log`."""

    async def read(
        self, subject: str, *, after: int = 0, limit: int | None = None, decisive: bool = False
    ) -> Sequence[Record]:
        """Return the records of one literal subject above `after`, in order."""
        ...

    async def latest(self, pattern: str) -> Sequence[Record]:
        """Return the last record of each subject that matches `pattern`."""
        ...

    async def extent(self) -> Extent:
        """Return the first and the last sequence."""
        ...

    async def at(self, sequence: int) -> Record | None:
        """Return the record with exactly that sequence, if there is one."""
        ...

    def scan(
        self, *, after: int = 0, pattern: str = ">", live: bool = False
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield all matching records above `after` in order, in batches."""
        ...

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash."""
        ...

    @property
    def vault(self) -> Vault | None:
        """The keys that content is sealed with, if they can be had."""
        ...


class Session:
    """Records in the order of their log, and the blobs that they refer to; read only.

    It has the gaps that a part of a log has, and its own end.
    """

    def __init__(
        self, records: Iterable[Record], blobs: Mapping[str, bytes], vault: Keyring | None = None
    ) -> None:
        self.vault: Final = vault
        """The keys of what is sealed in it; a session file holds none."""
        self.records = tuple(sorted(records))
        self.blobs = dict(blobs)
        self._sequences = [record.sequence for record in self.records]

    async def read(
        self,
        subject: str,
        *,
        after: int = 0,
        limit: int | None = None,
        decisive: bool = False,  # noqa: ARG002  nobody else writes here
    ) -> Sequence[Record]:
        """Return the records of one subject above `after`, in order."""
        return [each for each in self._above(after) if each.subject == subject][:limit]

    async def latest(self, pattern: str) -> Sequence[Record]:
        """Return the last record of each subject that matches `pattern`."""
        last = {each.subject: each for each in self.records if matches(pattern, each.subject)}
        return sorted(last.values())

    async def extent(self) -> Extent:
        """Return the first and the last sequence."""
        return Extent(self._sequences[0], self._sequences[-1]) if self.records else Extent(1, 0)

    async def at(self, sequence: int) -> Record | None:
        """Return the record with exactly that sequence, if there is one."""
        place = bisect_right(self._sequences, sequence) - 1
        found = self.records[place] if place >= 0 else None
        return found if found is not None and found.sequence == sequence else None

    def before(self, moment: datetime) -> int:
        """Return the sequence of the last record that was stored before a moment, 0 if none was."""
        return max((e.sequence for e in self.records if e.received < moment), default=0)

    async def scan(
        self,
        *,
        after: int = 0,
        pattern: str = ">",
        live: bool = False,  # noqa: ARG002  it does not grow
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield the matching records above `after`, in one batch."""
        found = [each for each in self._above(after) if matches(pattern, each.subject)]
        if found:
            yield found

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash.

        Raises:
            BlobMissing: they are not part of the session.
        """
        if sha256 not in self.blobs:
            raise BlobMissing(f"the session holds no blob {sha256[:64]!r}")
        return self.blobs[sha256]

    def commits(self, agent: str, context_id: str) -> list[Record]:
        """Return the commits of a context, in order."""
        subject = subjects.commits(agent, context_id)
        return [each for each in self.records if each.subject == subject]

    @property
    def contexts(self) -> list[tuple[str, str]]:
        """The contexts that take part, as agent and id, in the order of their first records."""
        found = (subjects.parse(each.subject) for each in self.records)
        return list(dict.fromkeys((each.agent, each.context) for each in found if each.context))

    def _above(self, after: int) -> Sequence[Record]:
        return self.records[bisect_right(self._sequences, after) :]


async def agents_of(reader: Reader, context_id: str) -> list[str]:
    """Return the agents that have a context of that id, in the order of their last commands.

    Raises:
        ContextNotFound: nobody has.
        InvalidInput: it is no id.
    """
    last = await reader.latest(f"cmd.*.{token(context_id)}")
    agents = dict.fromkeys(subjects.parse(record.subject).agent for record in last)
    if not agents:
        raise ContextNotFound(f"there is no context {context_id!r}: pelton sessions lists them")
    return list(agents)


async def session_of(reader: Reader, context_id: str, *, blobs: bool = True) -> Session:
    """Return a conversation whole: its context, and all that handed work to or got it from another.

    With the registrations of the agents, which hold their cards, the memories that were written or
    given there, the blobs that records name, and the keys, as far as they can be had.

    Raises:
        ContextNotFound: there is no such context.
        BlobMissing: a blob is gone or damaged.
        LogUnavailable: the log did not answer in time.
    """
    wanted = deque((agent, context_id) for agent in await agents_of(reader, context_id))
    seen, records, agents = set(wanted), list[Record](), dict[str, None]()
    while wanted:
        agent, id_ = wanted.popleft()
        agents[agent] = None
        commits = await reader.read(subjects.commits(agent, id_))
        records += commits
        records += await reader.read(subjects.commands(agent, id_))
        for place in others(commits):
            if place not in seen:
                seen.add(place)
                wanted.append(place)
    for agent in agents:
        records += await reader.read(subjects.agent_commits(agent))
    for memory_id in sorted({id_ for record in records for id_ in _memories(record)}):
        records += await reader.read(subjects.memory(memory_id))
    named = sorted({name for record in records for name in named_blobs(record.data)})
    found = {name: await reader.get_blob(name) for name in named if blobs}
    return await with_keys(Session(records, found), reader.vault)


async def with_keys(session: Session, vault: Vault | None) -> Session:
    """Return a session with those keys of a vault that its content is sealed with.

    Raises:
        LogUnavailable: the keys could not be had in time.
    """
    names = sealed_with(session)
    if vault is None or not vault.seals or not names:
        return session
    return Session(session.records, session.blobs, await vault.borrow(names))


async def task_session(reader: Reader, task_id: str, *, blobs: bool = True) -> Session:
    """Return the conversation that a task is part of; see `session_of`.

    Raises:
        InvalidInput: this is not the id of a task.
    """
    return await session_of(reader, context_of(task_id), blobs=blobs)


def others(commits: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Yield the contexts that the commits of one name: who got work from it, and who gave it."""
    for record in commits:
        for event in decode_commit(record.data).data.events:
            match event:
                case TaskDelegated() if not elsewhere(event.agent):
                    yield event.agent, event.context_id
                case TaskSubmitted() | MessageReceived() | QuestionAnswered():
                    if event.delegation is not None:
                        yield event.delegation.agent, event.delegation.context_id
                case _:
                    pass


def _memories(record: Record) -> Iterator[str]:
    """Yield the ids of the memories that the steps of a record have written, or been given."""
    if record.subject.startswith("evt.") and b'"memory.' in record.data:
        for event in decode_commit(record.data).data.events:
            if isinstance(event, StepCompleted):
                for ref in named(event.key, event.result):
                    yield ref.memory_id


def named_blobs(data: bytes) -> Iterator[str]:
    """Yield the hashes of the blobs that a record refers to, wherever in it they are named."""
    if b'"sha256"' not in data:
        return
    try:
        found: list[Any] = [msgspec.json.decode(data)]
    except (msgspec.DecodeError, RecursionError):
        return
    while found:
        value = found.pop()
        if isinstance(value, list | tuple):
            found += cast("list[Any]", value)
        elif isinstance(value, dict):
            each = cast("dict[str, Any]", value)
            if each.keys() == {"sha256", "size", "member"} and isinstance(each["sha256"], str):
                yield each["sha256"]
            found += each.values()


def sealed_with(session: Session) -> list[str]:
    """Return the names of the keys that the content of a session is sealed with."""
    return sorted({name for record in session.records for name in keys_in(record.data)})


def keys_in(data: bytes) -> set[str]:
    """Return the names of the keys that content of a record, or an event, is sealed with."""
    return {name.decode() for name in _SEALED.findall(data)}


def check_keys(session: Session) -> None:
    """Refuse a session whose content cannot be read: it cannot run again.

    Raises:
        ContentErased: a key is destroyed.
        ContentSealed: content is sealed, and its key is not here.
    """
    if session.vault is None and sealed_with(session):
        raise ContentSealed(
            "the content of the conversation is sealed, and its keys are not here: it can be looked"
            " at and not run again"
        )
    for error in session.vault.unreadable if session.vault is not None else ():
        raise error


def check_context(text: str) -> str:
    """Return the id of the context that a text names: its own, or that of a task in it."""
    try:
        return context_of(text)
    except InvalidInput:
        return text
