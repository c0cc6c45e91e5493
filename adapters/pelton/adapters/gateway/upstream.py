"""Asking a provider: the question goes on to it with the key that agents do not have."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import aiohttp

from pelton.adapters.gateway.dialects import PROVIDERS, Provider
from pelton.adapters.gateway.question import Question
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.setting_types import Secret

CONNECT: Final = 10.0
"""Seconds for a connection."""
SILENCE: Final = 600.0
"""Seconds that a provider may send nothing."""


class Upstream(NamedTuple):
    """Where a provider is, and the key for it."""

    provider: Provider
    url: str
    key: Secret


def upstreams(settings: GatewaySettings, environ: Mapping[str, str]) -> dict[str, Upstream]:
    """Return the providers that a gateway leads to: those that it has a key or an address for."""
    found: dict[str, Upstream] = {}
    for provider in PROVIDERS.values():
        given = (environ[name] for name in provider.keys if environ.get(name))
        key = next((each for name, each in settings.keys.items() if name == provider.name), None)
        key = key or Secret(next(given, ""))
        own = (url for name, url in settings.upstreams.items() if name == provider.name)
        url = next(own, environ.get(provider.base, ""))
        if key.reveal() or url:
            found[provider.name] = Upstream(provider, (url or provider.url).rstrip("/"), key)
    return found


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
