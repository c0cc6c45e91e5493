"""The public keys of an issuer, fetched and kept (S2).

Old keys stay while the issuer cannot be asked, and what it does not know is not asked again for a
while: neither an outage nor a flood of made-up key ids takes good tokens' keys away.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import jwt
import msgspec
import structlog
from jwt import PyJWK

from pelton.adapters.a2a.guard import is_loopback
from pelton.runtime.clock import World

MAX_AGE: Final = 3600.0
"""Seconds after which the keys are fetched anew, while the old ones still serve."""
ASK_AGAIN: Final = 30.0
"""Seconds between two fetches, whatever is asked for and however the last one ended."""
WITHIN: Final = 5.0
"""Seconds that an issuer has to answer."""
MAX_SIZE: Final = 256 * 1024
"""The most bytes of its answer."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.identity")

Fetch = Callable[[], bytes]
"""Returns a key set's bytes; may block; raises OSError or ValueError."""


class PublicKey(NamedTuple):
    """A key that verifies tokens. `declared` is the one algorithm it says it is for, if it does."""

    key: PyJWK
    declared: str | None

    def fits(self, algorithm: str) -> bool:
        """Return whether it is a key for an algorithm."""
        if self.declared is None and self.key.key_type == "RSA":
            return algorithm[:2] in ("RS", "PS")
        return algorithm == (self.declared or self.key.algorithm_name)


class PublicKeys(Protocol):
    """Where the keys that sign tokens are found."""

    async def key(self, kid: str) -> PublicKey | None:
        """Return the key of an id, if there is one."""
        ...

    async def close(self) -> None:
        """End what was begun."""
        ...


class _Document(msgspec.Struct):
    keys: list[dict[str, object]]


class KeySet:
    """The keys of one issuer."""

    def __init__(self, fetch: Fetch, *, world: World) -> None:
        self._fetch, self._world = fetch, world
        self._keys: Mapping[str, PublicKey] = {}
        self._fetched = self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Wait for no answer any more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait((self._asking,))

    async def key(self, kid: str) -> PublicKey | None:
        """Return the key of an id; asks the issuer if it is unknown, but not often."""
        now = self._world.monotonic()
        if kid not in self._keys or now - self._fetched > MAX_AGE:
            if self._asking is None and now - self._asked >= ASK_AGAIN:
                self._asked = now
                self._asking = asyncio.create_task(self._ask(), name="jwks")
            if self._asking is not None and kid not in self._keys:
                await asyncio.shield(self._asking)
        return self._keys.get(kid)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(WITHIN * 2):
                self._keys = parse(await asyncio.to_thread(self._fetch))
            self._fetched = self._world.monotonic()
        except (OSError, ValueError, http.client.HTTPException) as error:
            logger.warning("jwks-not-fetched", reason=type(error).__name__, known=len(self._keys))
        finally:
            self._asking = None


def parse(data: bytes) -> Mapping[str, PublicKey]:
    """Return the keys of a JWKS document by id; those that cannot sign tokens are left out.

    Raises:
        ValueError: it is none.
    """
    try:
        document = msgspec.json.decode(data, type=_Document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("not a JWKS document") from error
    found: dict[str, PublicKey] = {}
    for each in document.keys:
        kid = each.get("kid")
        if not isinstance(kid, str) or each.get("use", "sig") != "sig" or "k" in each:
            continue
        try:
            declared = each.get("alg")
            found[kid] = PublicKey(PyJWK(each), str(declared) if declared else None)
        except (jwt.PyJWTError, LookupError, ValueError, TypeError) as error:
            logger.info("jwk-left-out", reason=type(error).__name__)
    return found


def fetcher(place: str) -> Fetch:
    """Return what fetches a key set from an https URL, or reads it from a file.

    Plain http is for this machine alone. Redirects are not followed, and proxies not asked.

    Raises:
        ValueError: it is neither.
    """
    parts = urlsplit(place)
    if parts.scheme == "":
        return Path(place).read_bytes
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise ValueError("use an https URL, or the name of a file")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("use https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def fetch() -> bytes:
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                host, parts.port, timeout=WITHIN, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=WITHIN)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise ValueError("the issuer gives no key set")
            data = answer.read(MAX_SIZE + 1)
        finally:
            connection.close()
        if len(data) > MAX_SIZE:
            raise ValueError("the key set is too large")
        return data

    return fetch
