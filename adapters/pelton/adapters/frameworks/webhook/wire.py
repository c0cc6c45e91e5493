"""What is posted to an agent elsewhere, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Final, Literal

import aiohttp
import msgspec

from pelton.adapters.frameworks import streams
from pelton.adapters.frameworks.callback import Ask, Used
from pelton.adapters.frameworks.streams import Garbled
from pelton.events.a2a import Message

TAKES: Final = "application/json, text/event-stream, application/x-ndjson"
"""The kinds of answers, as the header `Accept` says them."""


class Said(msgspec.Struct, frozen=True):
    """A message of the conversation before."""

    role: Literal["user", "assistant"]
    text: str


class Answered(msgspec.Struct, frozen=True):
    """What the agent has said and asked in this turn, and what a person has answered."""

    said: str
    question: str
    answer: str


class TurnPosted(msgspec.Struct, frozen=True, tag="turn", rename="camel"):
    """A turn. `text` is what `message` says, as a model may be shown it.

    `callback` is the URL to which the answer may come later.
    """

    agent: str
    context_id: str
    task_id: str
    turn: int
    text: str
    message: Message
    history: tuple[Said, ...]
    answers: tuple[Answered, ...]
    callback: str | msgspec.UnsetType = msgspec.UNSET


class TurnCanceled(msgspec.Struct, frozen=True, tag="cancel", rename="camel"):
    """A turn that nobody wants any more, sent with DELETE."""

    agent: str
    context_id: str
    task_id: str
    turn: int


class Piece(msgspec.Struct, frozen=True):
    """One object of an answer: `text` goes on with what was said, `answer` is the whole of it."""

    text: str = ""
    answer: str | None = None
    ask: Ask | None = None
    used: tuple[Used, ...] = ()
    error: str | None = None


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all pieces come to; or `later`, the key of a post whose answer is yet to come."""

    text: str
    ask: Ask | None = None
    used: tuple[Used, ...] = ()
    later: str = ""


async def pieces(response: aiohttp.ClientResponse) -> AsyncGenerator[Piece]:
    """Yield the pieces of an answer, by its kind.

    Raises:
        Garbled: it is none of the kinds, or too long.
        msgspec.DecodeError: what came is no piece.
    """
    kinds = {"text/event-stream": streams.events, "application/x-ndjson": streams.lines}
    if response.content_type == "application/json":
        yield msgspec.json.decode(await _whole(response.content), type=Piece)
    elif response.content_type in kinds:
        async with aclosing(kinds[response.content_type](response.content)) as found:
            async for data in found:
                yield msgspec.json.decode(data, type=Piece)
    else:
        raise Garbled(f"an answer of the kind {response.content_type[:80]!r}")


async def _whole(content: AsyncIterable[bytes]) -> bytes:
    data = b""
    async for chunk in content:
        data += chunk
        if len(data) > streams.LONGEST:
            raise Garbled("an answer is too long")
    return data
