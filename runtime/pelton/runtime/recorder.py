"""What a turn writes: buffered into few, well-filled commits, each flushed before it matters.

A short turn is one commit. A longer one is flushed `LINGER` after its first unwritten event, and
before each effect. What an earlier attempt of the turn has written stands: equal output is not
written again, and where it differs the new attempt's replaces it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from pelton.events.a2a import Artifact, Message, Part, TaskState, TaskStatus
from pelton.events.commit import Origin
from pelton.events.context import Context, TaskFold
from pelton.events.envelope import encode
from pelton.events.events import (
    AnyEvent,
    TaskArtifactUpdated,
    TaskArtifactWithdrawn,
    TaskStatusUpdated,
)
from pelton.events.turns import Turn
from pelton.runtime.bulk import Blobs, offload
from pelton.runtime.clock import rfc3339
from pelton.runtime.pulse import Pulse
from pelton.runtime.streamed import StreamedText, joined
from pelton.runtime.writer import Writer

_FEW: Final = 4  # so many events fit one message, whatever they hold
_LARGEST: Final = 256 * 1024  # bytes of the events of one commit; a message holds 1 MiB

LINGER: Final = 0.05
"""Seconds that an event waits for others to be written with."""

TOOL: Final = "tool/"
"""How the keys of calls begin that tools of an agent ask for: whether a later attempt asks for them
again is up to the agent's model."""

WITHIN: Final = ":within "
"""What is in the keys of steps within steps: they are asked for only while that one runs."""


def aside(key: str) -> bool:
    """Whether a call is none that the agent's code asks for on every attempt."""
    return f":{TOOL}" in key or WITHIN in key


Publish = Callable[[str, tuple[Part, ...]], Awaitable[tuple[Part, ...]]]


def _nothing(_: AnyEvent) -> None:
    """Take no note."""


def _nobody(_: BaseException) -> None:
    """Hear what nobody wants to know."""


class Closed(RuntimeError):
    """The attempt is over: nothing more can be written in it."""


class Recorder:
    """Collects the events of one attempt of a turn and writes them in order.

    `opening` are the events that begin the attempt, written with the first commit, which decides
    the command at stream sequence `command`; `earlier` is the task as earlier attempts have
    left it, if there were any. `pulse` feels each event. `outlived` is awaited once, before the
    first commit that does not end the turn. When a commit fails, `failed` is called with the error,
    and every later call raises it again.
    """

    def __init__(
        self,
        writer: Writer,
        task_id: str,
        opening: Sequence[AnyEvent],
        *,
        earlier: TaskFold | None,
        blobs: Blobs,
        origin: Origin,
        attempt: int,
        command: int,
        outlived: Callable[[], Awaitable[None]],
        failed: Callable[[BaseException], None],
        pulse: Pulse,
        clock: Callable[[], datetime],
        chance: Random,
    ) -> None:
        self._writer = writer
        self._blobs = blobs
        self._origin = origin
        self._attempt = attempt
        self._command = command
        self._outlived: Callable[[], Awaitable[None]] | None = outlived
        self._failed = failed
        self._pulse = pulse
        self.log_time = clock
        """The time as the log has it."""
        self.chance = chance
        """Where random numbers come from."""
        self.note: Callable[[AnyEvent], None] = _nothing
        """What is told of each event, as soon as it is to be written."""
        self.publish: Publish | None = None
        """What sees whole what clients are to read, before it is written."""
        self.state = TaskState.WORKING
        """The state in which progress leaves the task."""
        self._buffer: list[AnyEvent] = list(opening)
        self._writing = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._closed = False
        self.task_id = task_id
        self._earlier = earlier.turn if earlier else None
        self._progress = 0
        self._texts: dict[str, StreamedText] = {}
        self._whole: dict[str, tuple[str, str]] = {}
        self._written: set[str] = set()
        self._artifacts = earlier.artifacts if earlier else {}

    @property
    def spoken(self) -> bool:
        """Whether the turn has said anything that stands: an artifact, or progress."""
        return bool(self._written or self._progress)

    @property
    def context(self) -> Context:
        """The context as the log has it."""
        return self._writer.state

    @property
    def turn(self) -> Turn | None:
        """The turn as the log has it, if it is still open."""
        task = self._writer.state.tasks.get(self.task_id)
        return task.turn if task is not None else None

    def past(self, key: str, earlier: Turn | None) -> Turn | None:
        """Return the turn as earlier attempts have left it; for what is `aside`, as the log has it.

        For what is asked for again there is the same call within one attempt, too.
        """
        return self.turn if aside(key) else earlier

    def emit(self, event: AnyEvent) -> None:
        """Write an event within `LINGER`.

        Raises:
            Closed: the attempt is over.
        """
        self._check()
        self._pulse.beat()
        self._buffer.append(event)
        self.note(event)
        self.linger()

    def beat(self) -> None:
        """Take note of progress that no event tells of."""
        self._pulse.beat()

    def linger(self) -> None:
        """Write what was emitted within `LINGER`."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._flush_soon)

    async def flush(self) -> None:
        """Write what was emitted; it is stored when this returns."""
        self._check()
        write = self._start_write(self._flush())
        await asyncio.shield(write)  # a caller that is cancelled does not tear an append apart

    async def decide(
        self,
        decide: Callable[[Context], Sequence[AnyEvent]],
        *,
        command: int = 0,
        origin: Origin | None = None,
    ) -> None:
        """Write what was emitted, and then, in a commit of its own, what the state calls for.

        `decide` is asked once all before it is stored, so that nothing comes in between. `command`
        is the stream sequence of the command that is decided, and `origin` who sent it, if one is.
        """
        self._check()
        write = self._start_write(self._decide(decide, command, origin))
        await asyncio.shield(write)

    async def drain(self) -> None:
        """Write what was emitted, and let no more be emitted; `close` may follow."""
        self._check()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writes:
            await asyncio.wait(self._writes)
        await self._write(())

    async def close(
        self, last: Sequence[AnyEvent], *, command: int = 0, origin: Origin | None = None
    ) -> None:
        """Write what is left with `last` in one commit, and take no more.

        `command` is the stream sequence of the command that `last` decides before its turn, if it
        does: a cancellation, which is then also the commit's `origin`; `drain` comes before it.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writes:
            await asyncio.wait(self._writes)
        if origin is not None:
            self._origin = origin
        await self._write(last, ahead=command)

    def abandon(self) -> None:
        """Take no more and write nothing: somebody else has the turn, or is about to."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for write in self._writes:
            write.cancel()
        # Nobody is told any more: whoever began it and all that it holds are free at once, where a
        # ring of references would wait for a collection, which costs more than many a turn.
        self._outlived, self._failed = None, _nobody
        self.note, self.publish = _nothing, None

    def progress(self, message: Message, *, state: TaskState | None = None) -> None:
        """Write a progress message, unless an earlier attempt has written the same in its place.

        With `state`, the task is in that one from here on, until something else is written.
        """
        at, self._progress = self._progress, self._progress + 1
        earlier = self._earlier.progress if self._earlier else ()
        if at < len(earlier) and earlier[at].parts == message.parts:
            return
        status = TaskStatus(state=state or self.state, message=message, timestamp=self.now())
        self.emit(TaskStatusUpdated(task_id=self.task_id, status=status))

    async def text(
        self, artifact_id: str, name: str, text: str, *, last: bool, anew: bool = False
    ) -> None:
        """Let a streamed text go on; see `StreamedText` for what an earlier attempt has said of it.

        With `anew` it begins once more: what of it was said before is replaced as this goes on.
        Where content is sealed, or somebody is to see it first, it is written once it is complete.
        """
        if self._blobs.seals or self.publish is not None:
            said = "" if anew or artifact_id not in self._whole else self._whole[artifact_id][1]
            self._whole[artifact_id] = name, said + text
            if last:
                await self._write_whole(artifact_id)
            return
        stream = self._texts.get(artifact_id)
        if stream is None:
            recorded = self._recorded(artifact_id)
            stream = StreamedText(artifact_id, name, recorded, self._blobs.redactor)
            self._texts[artifact_id] = stream
            self._written.add(artifact_id)
        if anew:
            stream.begin()
        for event in stream.say(self.task_id, text, last=last):
            self.emit(event)

    async def artifact(self, artifact: Artifact) -> None:
        """Write a whole artifact, unless an earlier attempt has written the same."""
        if self.publish is not None:
            parts = await self.publish(artifact.artifact_id, artifact.parts)
            artifact = replace(artifact, parts=parts)
        artifact = await offload(self._blobs, artifact)
        self._written.add(artifact.artifact_id)
        if self._recorded(artifact.artifact_id) != artifact:
            self.emit(TaskArtifactUpdated(task_id=self.task_id, artifact=artifact, last_chunk=True))

    async def _write_whole(self, artifact_id: str) -> None:
        name, text = self._whole.pop(artifact_id)
        parts = (Part(text=text),)
        await self.artifact(Artifact(artifact_id=artifact_id, name=name, parts=parts))

    async def settle(self) -> None:
        """Take back what earlier attempts have written and this one has not said."""
        for artifact_id in tuple(self._whole):
            await self._write_whole(artifact_id)
        for stream in self._texts.values():
            for event in stream.end(self.task_id):
                self.emit(event)
        for artifact_id in self._earlier.artifacts if self._earlier else ():
            if artifact_id not in self._written:
                self.emit(TaskArtifactWithdrawn(task_id=self.task_id, artifact_id=artifact_id))

    def now(self, later: float = 0.0) -> str:
        """Return the time of the log, or so many seconds later, as a status has it."""
        return rfc3339(self.log_time() + timedelta(seconds=later))

    def _recorded(self, artifact_id: str) -> Artifact | None:
        """Return an artifact as earlier attempts of this turn have left it."""
        if self._earlier is None or artifact_id not in self._earlier.artifacts:
            return None
        return self._artifacts.get(artifact_id)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise Closed("the turn is over: nothing more can be written in it")

    def _flush_soon(self) -> None:
        self._timer = None
        if not self._closed and self._error is None:
            _ = self._start_write(self._flush())

    def _start_write(self, writing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        write = asyncio.ensure_future(writing)
        self._writes.add(write)
        write.add_done_callback(self._wrote)
        return write

    def _wrote(self, write: asyncio.Task[None]) -> None:
        self._writes.discard(write)
        if not write.cancelled():
            write.exception()  # `_fail` has kept it; nobody need await this task

    async def _flush(self) -> None:
        await self._outlive()
        await self._write(())

    async def _outlive(self) -> None:
        if self._outlived is not None:
            outlived, self._outlived = self._outlived, None
            await outlived()

    async def _decide(
        self,
        decide: Callable[[Context], Sequence[AnyEvent]],
        command: int,
        origin: Origin | None,
    ) -> None:
        await self._outlive()
        async with self._writing:
            await self._commit(self._taken(), self._origin)
            events = decide(self._writer.state)
            await self._commit(events, origin or self._origin, ahead=command)
        for event in events:
            self.note(event)

    async def _write(self, last: Sequence[AnyEvent], *, ahead: int = 0) -> None:
        async with self._writing:
            await self._commit([*self._taken(), *last], self._origin, ahead=ahead)

    def _taken(self) -> list[AnyEvent]:
        events, self._buffer = self._buffer, []
        return joined(events) if self._texts else events

    async def _commit(self, events: Sequence[AnyEvent], origin: Origin, *, ahead: int = 0) -> None:
        if self._error is not None:
            raise self._error
        if not events:
            return
        try:
            for batch in _batches(events):
                handled, self._command = self._command, 0
                await self._writer.commit(
                    batch,
                    origin=origin,
                    attempt=self._attempt,
                    command=ahead or handled,
                    handled=handled,
                )
        except Exception as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
            self._failed(error)


def _batches(events: Sequence[AnyEvent]) -> Iterator[Sequence[AnyEvent]]:
    """Yield events in order, few enough at a time for one message each."""
    if len(events) <= _FEW or len(encode(events)) <= _LARGEST:  # most are; to see costs one look
        yield events
        return
    batch, size = list[AnyEvent](), 0
    for event in events:
        size += len(encode(event))
        if batch and size > _LARGEST:
            yield batch
            batch, size = [], len(encode(event))
        batch.append(event)
    yield batch
