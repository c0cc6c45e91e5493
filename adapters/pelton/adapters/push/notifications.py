"""A notification as it is posted (§4.3.3): its headers and its body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from pelton.adapters.push import signature
from pelton.adapters.push.configs import Config

TOKEN: Final = "X-A2A-Notification-Token"  # noqa: S105  the name of a header
MEDIA_TYPES: Final[Mapping[str, str]] = {"1.0": "application/a2a+json", "0.3": "application/json"}
"""What a body is, by the version of A2A that it is of."""


class Notification(NamedTuple):
    """What is posted, and where to."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def notification(
    config: Config,
    said: object,
    *,
    protocol: str,
    id: str,
    seconds: int,
    secrets: Sequence[bytes],
) -> Notification:
    """Return what tells a receiver what was `said`, signed with each of the secrets."""
    body = msgspec.json.encode(said)
    headers = {
        "Content-Type": MEDIA_TYPES[protocol],
        **signature.headers(secrets, id=id, seconds=seconds, body=body),
    }
    if config.scheme:
        headers["Authorization"] = f"{config.scheme} {config.credentials}".rstrip()
    if config.token:
        headers[TOKEN] = config.token
    return Notification(config.url, headers, body)
