"""A framework's session in the hands of a turn: how it begins, what it holds, what is added.

For adapters, which let a framework's own store read and write here. What is stored is in the log,
so that a conversation goes on wherever the next turn of it runs (AS-45).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from pelton.events.a2a import Artifact, Message, Part, Role, text_of
from pelton.events.delegation import origin
from pelton.events.envelope import encode
from pelton.events.session import (
    SessionEntry,
    SessionInvalidated,
    SessionOpened,
    SessionReason,
    SessionStart,
    SessionStored,
)
from pelton.events.sessions import gate
from pelton.runtime.bulk import THRESHOLD, Blobs, inline
from pelton.runtime.recorder import Recorder
from pelton.runtime.redaction import cleaned


class Opening(NamedTuple):
    """How a framework's session begins, and the id that it is to have: the same on every machine.

    The id follows from the context and the session's number, so that it is never one that somebody
    else must still have.
    """

    start: SessionStart
    reason: SessionReason
    number: int
    id: UUID


class Said(NamedTuple):
    """What somebody has said in a conversation; `origin` is the agent it came from, if one sent it.

    It is not the agent's own words, and not a person's either: never let a model take it for these
    (AS-52).
    """

    role: Role
    parts: tuple[Part, ...]
    origin: str = ""

    @property
    def text(self) -> str:
        """Its text."""
        return text_of(self.parts)


class TurnSession:
    """The framework's session of a turn's context. `open` comes before everything else."""

    def __init__(
        self,
        recorder: Recorder,
        blobs: Blobs,
        *,
        context_id: str,
        history: Callable[[], Sequence[Message]],
    ) -> None:
        self._recorder, self._blobs = recorder, blobs
        self._context_id, self._history = context_id, history
        self._number = 0
        self._own: dict[str, SessionEntry] = {}
        self._before: dict[str, SessionEntry] = {}

    def open(self, adapter: str, *, format: int = 1, here: bool = True) -> Opening:
        """Decide how the session begins, and say so in the log.

        `adapter` and `format` tell who reads and writes it; `here` whether what of it is not in the
        log is on this machine.
        """
        context, task_id = self._recorder.context, self._recorder.task_id
        known, said = context.session, bool(self._history())
        found = gate(known, adapter=adapter, format=format, here=here, said=said)
        if known is not None and found.start is SessionStart.REBUILD and known.invalid is None:
            lost = SessionInvalidated(task_id=task_id, number=known.number, reason=found.reason)
            self._recorder.emit(lost)
        self._recorder.emit(
            SessionOpened(
                task_id=task_id,
                number=found.number,
                start=found.start,
                reason=found.reason,
                adapter=adapter,
                format=format,
            )
        )
        self._number = found.number
        if known is not None and found.start is SessionStart.RESUME:
            self._before = dict(known.seen(task_id))
        return Opening(*found, id=_id(self._context_id, found.number))

    def invalidate(self, reason: SessionReason) -> None:
        """Say that the session is not to be gone on with: the next attempt begins another."""
        lost = SessionInvalidated(
            task_id=self._recorder.task_id, number=self._number, reason=reason
        )
        self._recorder.emit(lost)

    async def entries(self) -> dict[str, Any]:
        """Return what the session holds, by key, in the order in which it was stored first."""
        entries = {**self._before, **self._own}
        return {key: await self._value(each) for key, each in entries.items()}

    async def put(self, key: str, value: Any, *, at_once: bool = False) -> None:
        """Store a JSON value under a key, in place of what is there; the same again is no event.

        It is written with what comes next, or with `at_once` before this returns. Other turns of
        the context see it once this one is over.
        """
        data = encode(cleaned(self._blobs.redactor, value, "session"))
        if self._blobs.seals or len(data) > THRESHOLD:
            entry = SessionEntry(key=key, blob=await self._blobs.put(data, "data"))
        else:
            entry = SessionEntry(key=key, value=msgspec.json.decode(data))
        known = self._own.get(key) or self._before.get(key)
        self._own[key] = entry
        if entry == known:
            return
        stored = SessionStored(
            task_id=self._recorder.task_id, number=self._number, entries=(entry,)
        )
        self._recorder.emit(stored)
        if at_once:
            await self._recorder.flush()

    async def conversation(self) -> list[Said]:
        """Return what was said before the turn's message, artifacts included: to rebuild from."""
        history = self._history()
        last = {message.task_id: at for at, message in enumerate(history)}
        found: list[Said] = []
        for at, message in enumerate(history):
            said = Said(message.role, message.parts, origin(message))
            written: list[Said] = []
            if at == last[message.task_id]:
                written = [await self._written(each) for each in self._artifacts(message.task_id)]
            if message.role is Role.AGENT:
                found += [*written, said]
            else:
                found += [said, *written]
        return found

    def _artifacts(self, task_id: str) -> Sequence[Artifact]:
        task = self._recorder.context.tasks.get(task_id)
        if task is None or task_id == self._recorder.task_id:
            return ()
        return tuple(task.artifacts.values())

    async def _written(self, artifact: Artifact) -> Said:
        return Said(Role.AGENT, (await inline(self._blobs, artifact)).parts)

    async def _value(self, entry: SessionEntry) -> Any:
        if entry.blob is None:
            return entry.value
        return msgspec.json.decode(await self._blobs.get(entry.blob))


_NAMESPACE: Final = b"pelton session "


def _id(context_id: str, number: int) -> UUID:
    digest = hashlib.sha256(_NAMESPACE + encode((context_id, number))).digest()
    return UUID(bytes=digest[:16], version=5)
