"""Asking a provider: the question goes on to it with the key that agents do not have."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from pelton.adapters.gateway.providers import Upstream
from pelton.adapters.gateway.question import Question
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError

CONNECT: Final = 10.0
"""Seconds for a connection."""
SILENCE: Final = 600.0
"""Seconds that a provider may send nothing."""


@asynccontextmanager
async def asked(
    client: aiohttp.ClientSession, upstream: Upstream, question: Question
) -> AsyncGenerator[aiohttp.ClientResponse]:
    """Ask a provider, and give its answer while the context lasts; then the connection is free.

    Raises:
        AgentError: it cannot be reached, says nothing, or breaks off.
    """
    key = upstream.key.reveal()
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",  # nothing is unpacked here that could be large
        **question.headers,
        **(upstream.provider.header(key) if key else {}),
    }
    query = f"?{question.query}" if question.query else ""
    try:
        async with client.post(
            f"{upstream.url}{question.path}{query}",
            data=question.sent,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT, sock_read=SILENCE),
            allow_redirects=False,
        ) as response:
            yield response
    except (TimeoutError, aiohttp.ServerTimeoutError) as error:
        raise AgentError("The model took too long.", kind=FailureClass.TIMEOUT) from error
    except aiohttp.ClientConnectorError as error:
        raise AgentError(
            "The model's endpoint cannot be reached.", kind=FailureClass.DEPENDENCY
        ) from error
    except aiohttp.ClientError as error:
        raise AgentError(
            "The model's endpoint has broken off.", kind=FailureClass.PROVIDER
        ) from error
