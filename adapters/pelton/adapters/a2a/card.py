"""Agent cards (§4.4.1, §8): what an agent says of itself, with what this bridge does for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec

from pelton.adapters.a2a import legacy
from pelton.adapters.a2a.extensions import declared
from pelton.adapters.a2a.sse import JSON, Headers, Reply
from pelton.events.a2a import JsonObject
from pelton.events.card import AgentCapabilities, AgentCard, AgentInterface, AgentProfile

WELL_KNOWN: Final = [".well-known", "agent-card.json"]
"""The path of a card below an agent's URL, by segments."""
VERSION: Final = "1.0"
"""The version of A2A that is spoken."""
_REMEMBERED: Final = 256
MAX_AGE: Final = 60
"""Seconds for which a client need not ask for a card again."""


class Security(Protocol):
    """What cards say of how one is let in (§4.5)."""

    def schemes(self) -> Mapping[str, JsonObject]:
        """Return the security schemes by name."""
        ...

    def requirements(self) -> Sequence[JsonObject]:
        """Return the schemes of which any one is required; none if nothing is."""
        ...


class Cards:
    """Makes the cards of agents: they claim only what works (AS-27).

    `public_url` is the URL under which clients reach the bridge. Without it, a card names the URL
    that its reader has used, or `http`. `grpc` is where gRPC is served, `HOST:PORT`, or `:PORT` on
    the same host; empty if it is not. With `legacy` cards are for readers of A2A 0.3 too, which
    strict readers of 1.0 refuse. `security` says how one is let in. `push`: push notifications are
    sent.
    """

    def __init__(
        self,
        public_url: str = "",
        *,
        legacy: bool = False,
        security: Security | None = None,
        push: bool = False,
    ) -> None:
        self._public_url, self._legacy = public_url.rstrip("/"), legacy
        self._security = security
        self.push = push
        self.http = ""
        self.grpc = ""
        self.sign: Callable[[JsonObject], JsonObject] | None = None
        """Returns a card with its signature, if cards are signed."""
        self._signed: dict[bytes, JsonObject] = {}

    def base(self, used: str = "", *, prefix: str = "", is_host: bool = False) -> str:
        """Return the URL below which a tenant's agents are.

        `used` is that of the bridge as a client has used it, `prefix` what paths have of the
        tenant; `is_host` says that its host alone leads to it.
        """
        if is_host:
            return f"{urlsplit(self._public_url or used).scheme}://{urlsplit(used).netloc}"
        return (self._public_url or used or self.http) + prefix

    def of(self, profile: AgentProfile, base: str = "") -> AgentCard:
        """Return the card of an agent below a `base`."""
        security = self._security
        return AgentCard(
            name=profile.title,
            description=profile.description,
            version=profile.version,
            supported_interfaces=self._interfaces(profile, base),
            capabilities=AgentCapabilities(
                streaming=profile.streaming,
                push_notifications=self.push,
                extended_agent_card=profile.extended_skills is not None,
                extensions=declared(profile),
            ),
            default_input_modes=profile.input_modes,
            default_output_modes=profile.output_modes,
            skills=profile.skills,
            provider=profile.provider,
            documentation_url=profile.documentation_url,
            icon_url=profile.icon_url,
            security_schemes=security.schemes() if security else {},
            security_requirements=tuple(security.requirements()) if security else (),
        )

    def shown(self, profile: AgentProfile, base: str = "") -> AgentCard | JsonObject:
        """Return the card of an agent as everybody may read it."""
        card = self.of(profile, base)
        shown = legacy.card(card) if self._legacy else card
        if self.sign is None:
            return shown
        data = msgspec.json.encode(shown)
        signed = self._signed.get(data)
        if signed is None:
            if len(self._signed) >= _REMEMBERED:
                self._signed.clear()
            signed = self._signed[data] = self.sign(msgspec.json.decode(data))
        return signed

    def _interfaces(self, profile: AgentProfile, base: str) -> tuple[AgentInterface, ...]:
        base = base or self.base()
        url = f"{base}/{profile.name}"
        interfaces = [
            AgentInterface(url=url, protocol_binding=binding, protocol_version=VERSION)
            for binding in ("JSONRPC", "HTTP+JSON")
        ]
        if self.grpc:
            host, _, port = self.grpc.rpartition(":")
            if not host:
                host = urlsplit(base).hostname or ""
                host = f"[{host}]" if ":" in host else host
            interfaces.append(
                AgentInterface(
                    url=f"{host}:{port}",
                    protocol_binding="GRPC",
                    protocol_version=VERSION,
                    tenant=profile.name,
                )
            )
        return tuple(interfaces)


def answer(
    card: AgentCard | JsonObject, modified: datetime, headers: Mapping[bytes, bytes]
) -> Reply:
    """Return the answer to a request for a card: 304 if the client has this one (§8.6)."""
    body = msgspec.json.encode(card)
    tag = b'"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'
    caching: Headers = (
        (b"cache-control", b"public, max-age=%d" % MAX_AGE),
        (b"etag", tag),
        (b"last-modified", format_datetime(modified.astimezone(UTC), usegmt=True).encode()),
        (b"vary", b"host"),
    )
    if _has(tag, modified, headers):
        return Reply(304, b"", JSON, caching)
    return Reply(200, body, JSON, caching)


def _has(tag: bytes, modified: datetime, headers: Mapping[bytes, bytes]) -> bool:
    known = headers.get(b"if-none-match")
    if known is not None:  # then the date does not count (RFC 9110, 13.1.3)
        tags = [each.strip().removeprefix(b"W/") for each in known.split(b",")]
        return tag in tags or b"*" in tags
    try:
        since = parsedate_to_datetime(headers.get(b"if-modified-since", b"").decode("latin-1"))
    except (ValueError, OverflowError):
        return False
    return modified.replace(microsecond=0) <= since.replace(tzinfo=since.tzinfo or UTC)
