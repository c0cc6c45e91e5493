"""Memory as an agent has it (`turn.memory`): every use of it is a step of the turn.

What is recorded are versions, never what they say: that lies in the log already, with the memory.
A later attempt, and a re-run, is given the same versions again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from pelton.events.commit import Origin
from pelton.events.errors import InvalidInput
from pelton.events.memories import (
    JSON,
    TEXT,
    Member,
    Memory,
    MemoryNotFound,
    Version,
    readable,
)
from pelton.events.memory import (
    STEPS,
    CauseKind,
    MemoryCause,
    MemoryRef,
    MemoryResult,
    MemoryScope,
    result_of,
)
from pelton.events.remembering import (
    CommitMemory,
    ForgetMemory,
    MemoryCommand,
    ReviseMemory,
    home,
    keyed,
)
from pelton.events.retries import Retry
from pelton.projections.memories import MOST, MemoryEntry, MemoryQuery, Order
from pelton.runtime.failures import StepError
from pelton.runtime.memories import Memories
from pelton.runtime.patience import patiently
from pelton.runtime.remembered import MemoryMoved, Recall, RecallFailed, Remembered
from pelton.runtime.steps import Steps, idempotency_key
from pelton.runtime.vault import ContentErased, ContentSealed

T = TypeVar("T")
Work = Callable[[], Awaitable[MemoryResult]]

_RETRY: Final = Retry(attempts=3, first=0.2, longest=1.0)
"""How often a recall is tried: an agent may go on without."""

_ERRORS: Final[dict[str, type[StepError]]] = {
    "RecallUnavailable": RecallFailed,
    "MemoryConflict": MemoryMoved,
}


class _Which(NamedTuple):
    """Which memory: that of an id, or that under a key."""

    memory_id: str
    key: str
    scope: MemoryScope
    namespace: str

    @classmethod
    def of(cls, memory_id: str, key: str, scope: str, namespace: str) -> _Which:
        if bool(memory_id) == bool(key):
            raise InvalidInput("a memory is named by its id or its key", field="memoryId")
        return cls(memory_id, key, _scope(scope), namespace)

    def id(self, member: Member) -> str:
        """Return its id, for an agent."""
        if self.memory_id:
            return self.memory_id
        return keyed(self.scope, *home(self.scope, member), self.namespace, self.key)


class _New(NamedTuple):
    """What is to be remembered, and where."""

    content: str
    media_type: str
    scope: MemoryScope
    namespace: str
    ttl: float | None
    key: str = ""
    expect: int | None = None
    sources: tuple[MemoryRef, ...] = ()
    consolidates: bool = False


class TurnMemory:
    """What an agent remembers beyond a conversation, and what its team and all others do.

    `scope` is `own`, `team` or `global`; the rules are in `pelton.events.memories`. `cause` says
    what led to it: `message`, unless `step` names a step of this turn whose result it comes from,
    which is a `tool` or, if the agent says so, a `model`. `ttl` is in seconds.
    """

    def __init__(
        self, memories: Memories, steps: Steps, *, place: MemoryCause, origin: Origin
    ) -> None:
        self._memories, self._steps = memories, steps
        self._place, self._origin = place, origin
        self._seen = 0
        self._found: dict[MemoryRef, Remembered] = {}

    def commit(
        self,
        content: str,
        *,
        scope: str = "own",
        namespace: str = "",
        ttl: float | None = None,
        cause: str = "",
        step: str = "",
        sources: Iterable[MemoryRef] = (),
    ) -> Coroutine[Any, Any, MemoryRef]:
        """Remember something, and return the version that says so.

        `sources` are memories that it was made of.

        Raises:
            StepError: it cannot be: too long, or the agent is in no team.
        """
        new = _New(content, TEXT, _scope(scope), namespace, ttl, sources=tuple(sources))
        return self._begin("commit", new, self._cause(cause, step))

    def put(
        self,
        key: str,
        value: Any,
        *,
        scope: str = "own",
        namespace: str = "",
        ttl: float | None = None,
        expect: int | None = None,
        cause: str = "",
        step: str = "",
    ) -> Coroutine[Any, Any, MemoryRef]:
        """Keep a JSON value under a key, in the place of what was there, as its next version.

        With `expect`, only if that is the version there, 0 if there is nothing.

        Raises:
            MemoryMoved: it is not.
            StepError: it cannot be.
        """
        if not key:
            raise InvalidInput("a value is kept under a key", field="key")
        content = msgspec.json.encode(value, order="deterministic").decode()
        new = _New(content, JSON, _scope(scope), namespace, ttl, key=key, expect=expect)
        return self._begin("put", new, self._cause(cause, step))

    def consolidate(
        self,
        sources: Iterable[MemoryRef],
        content: str,
        *,
        scope: str = "own",
        namespace: str = "",
        ttl: float | None = None,
        cause: str = "",
        step: str = "",
    ) -> Coroutine[Any, Any, MemoryRef]:
        """Let one memory take the place of others of the same scope, which are recalled no longer.

        One of them comes back with its next version.

        Raises:
            MemoryMoved: one of them has a newer version.
            StepError: it cannot be.
        """
        new = _New(content, TEXT, _scope(scope), namespace, ttl, sources=tuple(sources))
        return self._begin("consolidate", new._replace(consolidates=True), self._cause(cause, step))

    def revise(
        self,
        memory_id: str,
        content: str,
        *,
        expect: int | None = None,
        ttl: float | None = None,
        cause: str = "",
        step: str = "",
    ) -> Coroutine[Any, Any, MemoryRef]:
        """Let a memory say something else from now on.

        Raises:
            MemoryMoved: it has another version than `expect`.
            StepError: there is no such memory, or the agent may not change it.
        """
        why = self._cause(cause, step)

        async def work() -> MemoryResult:
            command = ReviseMemory(
                operation=idempotency_key(),
                cause=why,
                content=content,
                expires=self._memories.until(ttl),
                expect=expect,
            )
            return await self._change(memory_id, command, await self._member())

        return self._made("revise", work, memory_id, content, expect, ttl)

    def forget(
        self,
        memory_id: str = "",
        *,
        key: str = "",
        scope: str = "own",
        namespace: str = "",
        reason: str = "",
        expect: int | None = None,
    ) -> Coroutine[Any, Any, MemoryRef]:
        """Recall a memory no longer, named by its id or its key.

        Raises:
            MemoryMoved: it has another version than `expect`.
            StepError: there is no such memory, or the agent may not change it.
        """
        which, why = _Which.of(memory_id, key, scope, namespace), self._cause("", "")

        async def work() -> MemoryResult:
            member = await self._member()
            command = ForgetMemory(
                operation=idempotency_key(), cause=why, reason=reason, expect=expect
            )
            return await self._change(which.id(member), command, member)

        return self._made("forget", work, which, reason, expect)

    def recall(
        self,
        query: str = "",
        *,
        scopes: Sequence[str] = tuple(MemoryScope),
        namespace: str | None = None,
        order: str = Order.BEST,
        limit: int = 10,
        cursor: str = "",
    ) -> Coroutine[Any, Any, Recall]:
        """Return memories with any of the words of a query, page by page (`limit` is 50 at most).

        In the order `best` those come first that fit best, in `newest` and without a query those
        that have changed last. What this turn has written is found.

        Raises:
            RecallFailed: it is not known what would be found, which is not finding nothing.
            ContentSealed: some of it is sealed, and this executor has no key of it.
        """
        named, asked = tuple(_scope(each) for each in scopes), _order(order)
        if not 1 <= limit <= MOST:
            raise InvalidInput(f"limit is from 1 to {MOST}", field="limit")

        async def work() -> MemoryResult:
            query_ = MemoryQuery(
                now=self._memories.now,
                text=query,
                member=await self._member(),
                scopes=named,
                namespace=namespace,
                order=asked,
                limit=limit,
                cursor=cursor,
            )
            page = await self._memories.recall(query_, at_least=self._seen)
            if await self._memories.unsearched(query_) or any(each.keyid for each in page.items):
                raise ContentSealed("some of these memories are sealed, and their keys not here")
            found = [_of_entry(entry) for entry in page.items]
            self._found |= {each.ref: each for each in found}
            given = tuple(each.ref for each in found)
            return MemoryResult(given=given, next=page.next, total=page.total)

        return self._recalled(
            self._step("recall", work, query, named, namespace, asked, limit, cursor)
        )

    def get(
        self,
        memory_id: str = "",
        *,
        key: str = "",
        scope: str = "own",
        namespace: str = "",
        version: int | None = None,
    ) -> Coroutine[Any, Any, Remembered | None]:
        """Return a memory by its id or its key, as of its last version or of one that it had.

        None if there is none, it is forgotten or expired, or not for this agent.
        """
        which = _Which.of(memory_id, key, scope, namespace)

        async def work() -> MemoryResult:
            memory = await self._readable(which)
            if memory is None or (version is None and not memory.lives(self._memories.now)):
                return MemoryResult()
            found = memory.current if version is None else memory.version(version)
            return MemoryResult(given=await self._refs(memory, found.number if found else 0))

        return self._first(self._step("get", work, which, version))

    def history(
        self, memory_id: str = "", *, key: str = "", scope: str = "own", namespace: str = ""
    ) -> Coroutine[Any, Any, tuple[Remembered, ...]]:
        """Return the versions of a memory that say something, the latest first, 50 at most."""
        which = _Which.of(memory_id, key, scope, namespace)

        async def work() -> MemoryResult:
            memory = await self._readable(which)
            if memory is None:
                return MemoryResult()
            refs = await self._refs(memory, *range(len(memory.versions), 0, -1))
            return MemoryResult(given=refs[:MOST], total=len(refs))

        return self._given(self._step("history", work, which))

    # How it is done: a step whose result names versions.

    def _begin(self, name: str, new: _New, cause: MemoryCause) -> Coroutine[Any, Any, MemoryRef]:
        async def work() -> MemoryResult:
            member = await self._member()
            owner, life = home(new.scope, member)
            command = CommitMemory(
                operation=idempotency_key(),
                cause=cause,
                content=new.content,
                media_type=new.media_type,
                expires=self._memories.until(new.ttl),
                scope=new.scope,
                owner=owner,
                life=life,
                author=member.agent,
                namespace=new.namespace,
                key=new.key,
                sources=new.sources,
                consolidates=new.consolidates,
                expect=new.expect,
            )
            return await self._change(command.memory_id, command, member)

        return self._made(name, work, new)

    async def _change(self, id_: str, command: MemoryCommand, member: Member) -> MemoryResult:
        memory = await patiently(
            lambda: self._memories.change(id_, command, member=member, origin=self._origin), id_
        )
        made = next(each for each in memory.versions if each.operation == command.operation)
        ref = MemoryRef(memory_id=id_, version=made.number)
        return MemoryResult(made=ref, sequence=made.sequence)

    async def _readable(self, which: _Which) -> Memory | None:
        """Return a memory if this agent may read it now."""
        member = await self._member()
        id_ = which.id(member)
        memory = await patiently(lambda: self._memories.load(id_), id_)
        return memory if memory.versions and readable(memory, member) else None

    async def _member(self) -> Member:
        agent = self._place.agent
        return await patiently(lambda: self._memories.member(agent), agent)

    def _cause(self, cause: str, step: str) -> MemoryCause:
        kind = CauseKind.TOOL if step else CauseKind.MESSAGE
        if cause:
            known = (CauseKind.MESSAGE, CauseKind.TOOL, CauseKind.MODEL)
            if cause not in known:
                raise InvalidInput(f"cause is one of {', '.join(known)}", field="cause")
            kind = CauseKind(cause)
        key = self._steps.latest(step) if step else ""
        return msgspec.structs.replace(self._place, kind=kind, key=key)

    def _step(self, name: str, work: Work, *args: object) -> Coroutine[Any, Any, MemoryResult]:
        async def run(*_: object) -> MemoryResult:
            return await work()

        running = self._steps.run(
            f"{STEPS}{name}",
            run,
            args,
            key="",
            idempotent=True,  # a change knows its operation, and to read is to read
            retry=_RETRY if name == "recall" else None,
            deadline=None,
        )
        return self._result(running)

    async def _result(self, running: Coroutine[Any, Any, Any]) -> MemoryResult:
        try:
            result = result_of(await running)
        except StepError as error:
            raise _ERRORS.get(error.failure.exception, StepError)(error.failure) from error
        self._seen = max(self._seen, result.sequence)
        return result

    def _made(self, name: str, work: Work, *args: object) -> Coroutine[Any, Any, MemoryRef]:
        return self._ref(self._step(name, work, *args))

    async def _ref(self, running: Coroutine[Any, Any, MemoryResult]) -> MemoryRef:
        made = (await running).made
        assert made is not None  # every change makes a version
        return made

    async def _recalled(self, running: Coroutine[Any, Any, MemoryResult]) -> Recall:
        result = await running
        return Recall(await self._said(result.given), result.next, result.total)

    async def _first(self, running: Coroutine[Any, Any, MemoryResult]) -> Remembered | None:
        return next(iter(await self._given(running)), None)

    async def _given(self, running: Coroutine[Any, Any, MemoryResult]) -> tuple[Remembered, ...]:
        return await self._said((await running).given)

    async def _said(self, refs: Iterable[MemoryRef]) -> tuple[Remembered, ...]:
        """Return what versions say, from where they lie."""
        return tuple(await asyncio.gather(*[self._version(ref) for ref in refs]))

    async def _refs(self, memory: Memory, *numbers: int) -> tuple[MemoryRef, ...]:
        """Return those of the versions of a memory that say something still."""
        versions = [version for version in map(memory.version, numbers) if version is not None]
        return tuple(
            [
                MemoryRef(memory_id=memory.id, version=version.number)
                for version in versions
                if not version.forgotten and await self._readable_still(version)
            ]
        )

    async def _readable_still(self, version: Version) -> bool:
        try:
            await patiently(lambda: self._memories.said(version), "keys")
        except ContentErased:
            return False
        return True

    async def _version(self, ref: MemoryRef) -> Remembered:
        found = self._found.pop(ref, None)
        if found is not None:
            return found
        memory = await patiently(lambda: self._memories.at(ref), ref.memory_id)
        version = memory.version(ref.version)
        if version is None:
            raise MemoryNotFound(f"the log has no version {ref.version} of {ref.memory_id!r}")
        content = await patiently(lambda: self._memories.said(version), ref.memory_id)
        return Remembered(
            id=memory.id,
            version=version.number,
            scope=memory.scope,
            owner=memory.owner,
            writer=version.cause.agent,
            namespace=memory.namespace,
            key=memory.key,
            content=content,
            media_type=version.media_type,
            time=version.time,
            expires=version.expires,
        )


def _of_entry(entry: MemoryEntry) -> Remembered:
    return Remembered(**{name: getattr(entry, name) for name in Remembered._fields})


def _scope(name: str) -> MemoryScope:
    if name not in set(MemoryScope):
        raise InvalidInput(f"scope is one of {', '.join(MemoryScope)}", field="scope")
    return MemoryScope(name)


def _order(name: str) -> Order:
    if name not in set(Order):
        raise InvalidInput(f"order is one of {', '.join(Order)}", field="order")
    return Order(name)
