"""A model's endpoint, asked over HTTP: OpenAI's Chat Completions, or Anthropic's Messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec.structs import replace

from pelton.adapters.frameworks import streams
from pelton.adapters.frameworks.conversation import Spoken
from pelton.adapters.frameworks.model import dialects
from pelton.adapters.frameworks.model.dialects import Answer, Dialect
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.providers import failure_kind
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError

CONNECT: Final = 10.0
"""Seconds for a connection."""
SILENCE: Final = 120.0
"""Seconds that an endpoint may send nothing."""
KEYS: Final = {"api.anthropic.com": "ANTHROPIC_API_KEY", "api.openai.com": "OPENAI_API_KEY"}
"""The hosts that answer nobody without a key, and the variables that hold it."""


class Endpoint(NamedTuple):
    """Where a model is: `dialect` is `openai` or `anthropic`, `url` what its clients call base URL.

    `options` are members of each request beside those that are always there.
    """

    dialect: str
    url: str
    model: str
    key: str = ""
    options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        """Return what it is, without the key."""
        return f"Endpoint({self.dialect!r}, {self.url!r}, {self.model!r})"

    def speaks(self) -> Dialect:
        """Return its dialect."""
        return dialects.of(self.dialect)


async def ask(
    client: aiohttp.ClientSession,
    endpoint: Endpoint,
    *,
    system: str,
    lines: Sequence[Spoken],
    tools: Sequence[Tool],
    say: Callable[[str], Awaitable[None]],
) -> Answer:
    """Ask a model once; `say` hears its words as they come.

    Raises:
        AgentError: it gave no answer; the kind tells whether another try may help. The text is for
            clients to read: it has nothing of what the endpoint has said.
    """
    speaks = endpoint.speaks()
    body = speaks.request(endpoint.model, system, lines, tools) | dict(endpoint.options)
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        async with client.post(
            endpoint.url.rstrip("/") + speaks.path,
            data=msgspec.json.encode(body),
            headers={"content-type": "application/json", **speaks.headers(endpoint.key)},
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT, sock_read=SILENCE),
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                raise AgentError(
                    f"The model's endpoint has answered {response.status}.",
                    kind=failure_kind(response.status),
                )
            reader = speaks.reader()
            async with aclosing(streams.events(response.content)) as events:
                async for data in events:
                    if text := reader.take(data):
                        await say(text)
            return replace(reader.answer(), seconds=round(clock() - began, 3))
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise AgentError("The model took too long.", kind=FailureClass.TIMEOUT) from error
    except aiohttp.ClientConnectorError as error:
        raise AgentError(
            "The model's endpoint cannot be reached.", kind=FailureClass.DEPENDENCY
        ) from error
    except (streams.Garbled, aiohttp.ClientError, msgspec.DecodeError) as error:
        raise AgentError(
            "The model's endpoint has broken off, or what it said is no answer.",
            kind=FailureClass.PROVIDER,
        ) from error


def lacks(endpoint: Endpoint) -> str:
    """Return the variable for the key that an endpoint wants and is not given, or nothing."""
    return "" if endpoint.key else KEYS.get(urlsplit(endpoint.url).hostname or "", "")


async def reachable(endpoint: Endpoint) -> str:
    """Return why nobody listens where an endpoint is, or nothing if somebody does."""
    url = urlsplit(endpoint.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT):
            _, writer = await asyncio.open_connection(url.hostname, port)
    except (OSError, TimeoutError) as error:
        return f"nobody listens at {url.hostname}:{port} ({type(error).__name__})"
    writer.close()
    return ""
