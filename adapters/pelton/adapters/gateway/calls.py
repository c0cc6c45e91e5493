"""One call of a model: from the client to its provider and back, and what is recorded of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, Self

import aiohttp
import msgspec
from msgspec.structs import replace

from pelton.adapters.frameworks.providers import failure_kind
from pelton.adapters.gateway.answer import Kept, Reading, counts_only
from pelton.adapters.gateway.dialects import Json, Tokens, error_of
from pelton.adapters.gateway.keeping import Keeping
from pelton.adapters.gateway.providers import Upstream
from pelton.adapters.gateway.question import Question
from pelton.adapters.gateway.upstream import asked
from pelton.events.events import Failure, FailureClass
from pelton.runtime.failures import AgentError
from pelton.runtime.model_gateway import Models

LONGEST: Final = 64 * 1024 * 1024
"""The longest question, and the longest answer, in bytes."""

_PASSED_ON: Final = ("content-type", "retry-after", "request-id", "x-request-id")

_STATUSES: Final[Mapping[FailureClass, int]] = {
    FailureClass.POLICY: 403,
    FailureClass.TIMEOUT: 504,
}


class Client(Protocol):
    """Who has asked, and is answered. `begun` says that it has got something."""

    begun: bool

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin the answer."""
        ...

    async def send(self, data: bytes) -> None:
        """Let it go on."""
        ...

    async def end(self, data: bytes = b"") -> None:
        """End it, with what is left of it."""
        ...

    async def whole(self, status: int, body: Any) -> None:
        """Answer with JSON."""
        ...

    def cut(self) -> None:
        """Break it off: what was sent is not all of it."""
        ...


class Way(NamedTuple):
    """What all calls of a route need."""

    models: Models
    upstreams: Mapping[str, Upstream]
    client: aiohttp.ClientSession
    keeping: Keeping


class Call:
    """A call that is made, as the step with that key; `async with` it.

    What is asked is kept meanwhile, from the beginning on: nobody waits for that while the step is
    stored, and the model thinks.
    """

    def __init__(self, way: Way, question: Question, client: Client, *, key: str) -> None:
        self._way, self._question, self._client = way, question, client
        self._key = key
        self._keeping: asyncio.Future[Json] | None = None
        self._provider = question.dialect.provider.name
        self._held: list[bytes] = []
        self._answered = False
        self._reading: Reading | None = None

    async def __aenter__(self) -> Self:
        """Begin to keep what is asked."""
        self._keeping = asyncio.ensure_future(self._way.keeping.question(self._question))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Keep no more: who needed it has been told what has failed of it."""
        assert self._keeping is not None
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)

    async def made(self, _: str) -> Kept:
        """Ask the provider, and return what is recorded of its answer; this runs as a step.

        The client gets what comes at once, but the end of it only from `finish`.

        Raises:
            AgentError: there is no answer; the kind tells why.
        """
        way, question, keeping = self._way, self._question, self._keeping
        assert keeping is not None, "entered before it is made"
        await way.models.turn.reach(way.upstreams[self._provider].url)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asked(way.client, way.upstreams[self._provider], question) as response:
                kept = await self._pass_on(response)
            kept = replace(kept, question=await keeping)
            way.keeping.recorded(question, self._key)
            return kept
        finally:
            self._count(clock() - began)

    async def finish(self) -> None:
        """Let the client have the end: what it does then can be known of."""
        await self._client.end(b"".join(self._held))

    async def fail(self, failure: Failure) -> None:
        """Let the client know that there is no answer, in the provider's words if it has any."""
        if self._answered:
            await self.finish()
            return
        if self._client.begun:
            self._client.cut()
            return
        status = _STATUSES.get(failure.kind, 502)
        await self._client.whole(status, error_of(self._provider, status, failure.message))

    def _count(self, seconds: float) -> None:
        """Report what it took, as far as the provider has said."""
        tokens = self._reading.tokens if self._reading is not None else Tokens()
        if any(tokens):
            self._way.models.turn.usage(
                self._question.model,
                input_tokens=tokens.read,
                output_tokens=tokens.wrote,
                cached_tokens=tokens.cached,
                seconds=seconds,
            )

    async def _pass_on(self, response: aiohttp.ClientResponse) -> Kept:
        headers = {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
        if response.status != 200:
            await self._refused(response, headers)
        reading = Reading(self._question.dialect, headers.get("content-type", ""))
        self._reading = reading
        if reading.streams:
            return await self._stream(response, headers, reading)
        data = await _all(response)
        try:
            kept = reading.whole(data)
        except msgspec.DecodeError as error:
            raise _garbled() from error
        await self._client.start(200, headers)
        self._held = [data]
        if reading.failed:
            self._answered = True
            raise AgentError("The model has failed.", kind=FailureClass.PROVIDER)
        return kept

    async def _refused(self, response: aiohttp.ClientResponse, headers: Mapping[str, str]) -> None:
        """Hand on what the provider says of an error."""
        status = response.status
        if status >= 400:
            data = await _all(response)
            await self._client.start(status, headers)
            self._held = [data]
            self._answered = True
        raise AgentError(
            f"The model's endpoint has answered {status}.",
            kind=failure_kind(status) if status >= 400 else FailureClass.PROVIDER,
        )

    async def _stream(
        self, response: aiohttp.ClientResponse, headers: Mapping[str, str], reading: Reading
    ) -> Kept:
        length, uncounted = 0, self._question.counts
        await self._client.start(200, headers)
        while data := await response.content.readany():
            self._way.models.recorder.beat()
            length += len(data)
            if length > LONGEST:
                raise _garbled()
            passed = b""
            for event in reading.feed(data):
                if uncounted and counts_only(event):
                    continue
                if reading.ended:
                    self._held.append(event.raw)
                else:
                    passed += event.raw
            if passed:
                await self._client.send(passed)
        if reading.failed:
            self._answered = True
            raise AgentError("The model has failed.", kind=FailureClass.PROVIDER)
        if not reading.ended:
            raise AgentError("The model's endpoint has broken off.", kind=FailureClass.PROVIDER)
        return reading.kept()


async def _all(response: aiohttp.ClientResponse) -> bytes:
    pieces, length = list[bytes](), 0
    while data := await response.content.readany():
        pieces.append(data)
        length += len(data)
        if length > LONGEST:
            raise _garbled()
    return b"".join(pieces)


def _garbled() -> AgentError:
    return AgentError("What the model's endpoint says is no answer.", kind=FailureClass.PROVIDER)
