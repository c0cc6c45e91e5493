"""Questions to JetStream, asked again until they are answered or the deadline is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from pelton.runtime.clock import World
from pelton.runtime.jetstream import wire
from pelton.runtime.jetstream.client import Connection, NoResponder, Reply, Unanswered
from pelton.runtime.jetstream.errors import WRONG_LAST_SEQUENCE, ApiError, passing, refused
from pelton.runtime.log import LogMisconfigured, LogUnavailable

_PAUSE: Final = 0.05
"""Seconds between attempts, on average: a server that has no leader says so at once."""

_LONGEST: Final = 2.0
"""Seconds for one attempt: what is asked while a cluster elects a leader is never answered."""


class Answered(Protocol):
    """An answer of the API."""

    @property
    def error(self) -> ApiError | None:
        """Why it was refused, if it was."""
        ...


_Answer = TypeVar("_Answer", bound=Answered)


class Patience:
    """The deadline of one call: how long to wait for one attempt, and between attempts.

    The first attempt gets a second, those after it two: a lost answer costs little, and a slow
    server is not asked again and again.
    """

    def __init__(self, seconds: float, *, world: World) -> None:
        self._world = world
        self._until = world.monotonic() + seconds
        self.attempts = 0

    def attempt(self) -> float:
        """Return the seconds for the next attempt."""
        self.attempts += 1
        left = self._until - self._world.monotonic()
        return max(0.001, min(float(self.attempts), _LONGEST, left))

    async def pause(self, error: LogUnavailable) -> None:
        """Wait a little before the next attempt.

        Raises:
            LogUnavailable: the deadline is over; its text is that of the last error.
        """
        left = self._until - self._world.monotonic()
        if left <= 0:
            raise LogUnavailable(f"{error}; gave up at the deadline") from error
        await asyncio.sleep(min(_PAUSE * (0.5 + self._world.random.random()), left))


class Api:
    """Questions and messages to JetStream, each with the deadline of a call to the log."""

    def __init__(self, connection: Connection, *, world: World, deadline: float) -> None:
        self.connection = connection
        self.world = world
        self.deadline = deadline

    def patience(self) -> Patience:
        """Return the deadline of a call that begins now."""
        return Patience(self.deadline, world=self.world)

    async def ask(
        self, subject: str, question: Mapping[str, Any], patience: Patience | None = None
    ) -> Reply:
        """Return the answer to a question whose repetition does no harm.

        Raises:
            LogUnavailable: there is none before the deadline.
            LogMisconfigured: the server has no JetStream, or does not permit it.
        """
        data = wire.encode(question) if question else b""
        patience = patience or self.patience()
        while True:
            try:
                return await self.connection.request(subject, data, within=patience.attempt())
            except (Unanswered, NoResponder) as error:
                self._check(error)
                await patience.pause(error)

    async def answer(
        self,
        subject: str,
        question: Mapping[str, Any],
        decode: Callable[[bytes], _Answer],
        patience: Patience | None = None,
    ) -> _Answer:
        """Return the decoded answer to such a question: the first that is not *ask again later*.

        Refusals of another kind are the caller's.

        Raises:
            LogUnavailable: there is none before the deadline.
            LogMisconfigured: the server has no JetStream, or does not permit it.
        """
        patience = patience or self.patience()
        while True:
            answer = decode((await self.ask(subject, question, patience)).data)
            if answer.error is None or not passing(answer.error):
                return answer
            await patience.pause(LogUnavailable(str(refused(answer.error))))

    async def collect(self, subject: str, question: Mapping[str, Any]) -> list[Reply]:
        """Return all answers to such a question; the last has a status.

        Raises:
            LogUnavailable: they are not all there before the deadline.
        """
        data = wire.encode(question)
        patience = self.patience()
        while True:
            try:
                return await self.connection.collect(subject, data, within=patience.attempt())
            except (Unanswered, NoResponder) as error:
                await patience.pause(error)

    async def store(
        self,
        subject: str,
        data: bytes,
        headers: bytes,
        patience: Patience,
        *,
        unserved: Callable[[Patience], Awaitable[None]] | None = None,
    ) -> wire.PubAck:
        """Publish into a stream; the headers must make the repetition of it harmless.

        The answer may be that somebody else was first; every other refusal is raised. `unserved` is
        called when no stream takes the subject.

        Raises:
            LogError: it was refused, or whether it was stored is unknown.
        """
        while True:
            try:
                reply = await self.connection.request(
                    subject, data, headers=headers, within=patience.attempt()
                )
            except (Unanswered, NoResponder) as error:
                if unserved is not None and isinstance(error, NoResponder):
                    await unserved(patience)
                await patience.pause(error)
                continue
            ack = wire.decode_ack(reply.data)
            if ack.error is None or ack.error.err_code in WRONG_LAST_SEQUENCE:
                return ack
            refusal = refused(ack.error)
            if not isinstance(refusal, LogUnavailable):
                raise refusal
            await patience.pause(refusal)

    async def stored(
        self, stream: str, question: Mapping[str, Any], patience: Patience | None = None
    ) -> wire.Found | None:
        """Return the message that a stream's leader has for a question, if it has one.

        Raises:
            LogError: it was refused, or not answered.
        """
        subject = f"$JS.API.STREAM.MSG.GET.{stream}"
        answer = await self.answer(subject, question, wire.decode_stored, patience)
        if answer.error is not None and answer.error.err_code != wire.NO_MESSAGE:
            raise refused(answer.error)
        return wire.found(answer)

    async def stream(
        self, name: str, patience: Patience | None = None, *, subjects: str = ""
    ) -> wire.StreamInfo | None:
        """Return what a stream's leader says of it, if there is such a stream.

        With `subjects`, a pattern, it names those that have messages.

        Raises:
            LogError: it was refused, or not answered.
        """
        subject = f"$JS.API.STREAM.INFO.{name}"
        patience = patience or self.patience()
        question = {"subjects_filter": subjects} if subjects else {}
        while True:
            info = await self.answer(subject, question, wire.decode_info, patience)
            if info.error is not None and info.error.err_code == wire.NO_STREAM:
                return None
            if info.error is not None:
                raise refused(info.error)
            if not info.orphaned:
                return info
            await patience.pause(LogUnavailable(f"the stream {name!r} has no leader now"))

    async def command(
        self, subject: str, question: Mapping[str, Any], patience: Patience | None = None
    ) -> None:
        """Have something done whose repetition does no harm.

        Raises:
            LogError: it was refused, or not answered.
        """
        error = (await self.answer(subject, question, wire.decode_answer, patience)).error
        if error is not None:
            raise refused(error)

    def _check(self, error: LogUnavailable) -> None:
        if isinstance(error, NoResponder) and not self.connection.serves_jetstream:
            raise LogMisconfigured(
                "the NATS server has no JetStream: start it with a `jetstream` block"
            ) from error
