"""Which requests a bridge lets in at all: hosts, origins, bodies (S14, S17, S20)."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from pelton.adapters.a2a.errors import (
    BodyTooLarge,
    InvalidRequest,
    MediaTypeNotSupported,
    Misdirected,
    PolicyDenied,
)
from pelton.adapters.a2a.sse import Receive

_ONCE: Final = frozenset(
    {
        *(b"host", b"authorization", b"x-api-key", b"content-type", b"content-encoding"),
        *(b"origin", b"idempotency-key", b"last-event-id"),
    }
)
"""Headers that decide something, and may come but once."""
MAX_BODY: Final = 4 * 1024 * 1024
"""The most bytes that a body may have."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ELSEWHERE: Final = (b"cross-site", b"same-site")
_REMEMBERED: Final = 256
_HOST: Final = re.compile(rb"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class Guard:
    """Checks requests before anything looks at what they ask.

    A bridge that listens on loopback answers only to loopback's names and those in `hosts`, so that
    no page can reach it by a name of its own. Elsewhere every host is taken, unless `hosts` says
    which. Pages of `origins`, like `https://app.example`, may open WebSockets though they are not
    of this bridge.
    """

    def __init__(self, listens: str, hosts: Iterable[str], origins: Iterable[str] = ()) -> None:
        self._origins = {origin.lower().encode() for origin in origins}
        named = frozenset(host.lower() for host in hosts if host)
        self._names = named | _LOOPBACK if named or is_loopback(listens) else None
        self._good: set[bytes] = set()

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Check where a request means to go, and what page it comes from.

        Raises:
            Misdirected: the host is not this bridge.
            PolicyDenied: it comes from a page of another origin.
        """
        host = self._check_host(headers)
        origin = headers.get(b"origin")
        if origin is None:
            if headers.get(b"sec-fetch-site") in _ELSEWHERE and not _opens(headers):
                raise PolicyDenied("requests of pages of other origins are not taken")
            return
        name = name_of(origin.partition(b"://")[2])
        if not name or (name not in (self._names or ()) and name != name_of(host)):
            raise PolicyDenied("requests of pages of other origins are not taken")

    def check_socket(self, headers: Mapping[bytes, bytes]) -> None:
        """Check where a WebSocket means to go, and what page opens it.

        Browsers let every page open one and read all that comes, so the page's port counts too.

        Raises:
            Misdirected: the host is not this bridge.
            PolicyDenied: the page is of another origin.
        """
        host = self._check_host(headers)
        origin = headers.get(b"origin")
        if origin is None or origin.lower() in self._origins:
            return
        scheme, _, place = origin.lower().partition(b"://")
        port = {b"http": b":80", b"https": b":443"}.get(scheme)
        if port is None or place not in (host.lower(), host.lower().removesuffix(port)):
            raise PolicyDenied("WebSockets of pages of other origins are not taken")

    def _check_host(self, headers: Mapping[bytes, bytes]) -> bytes:
        host = headers.get(b"host", b"")
        if host not in self._good:
            name = name_of(host)
            if not name or (self._names is not None and name not in self._names):
                raise Misdirected("this server does not answer to that host name")
            if len(self._good) < _REMEMBERED:
                self._good.add(host)
        return host


def _opens(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether somebody opens an address in a browser, rather than a page fetching it."""
    return headers.get(b"sec-fetch-mode") == b"navigate"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a listener on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def name_of(host: bytes) -> str:
    """Return the name in a Host header, empty if it is none."""
    match = _HOST.fullmatch(host)
    return match["name"].decode("ascii").lower().strip("[]") if match else ""


def check_media_type(headers: Mapping[bytes, bytes]) -> None:
    """Check that a body is JSON, and not compressed.

    Raises:
        MediaTypeNotSupported: it is not.
    """
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind not in (b"application/json", b"application/a2a+json"):
        error = MediaTypeNotSupported("send application/json or application/a2a+json")
        error.headers = ((b"accept", b"application/json, application/a2a+json"),)
        raise error
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        error = MediaTypeNotSupported("send the body without Content-Encoding")
        error.headers = ((b"accept-encoding", b"identity"),)
        raise error


async def read_body(
    receive: Receive, headers: Mapping[bytes, bytes], *, most: int = MAX_BODY
) -> bytes | None:
    """Return the body of a request, or None if its client has gone.

    Raises:
        BodyTooLarge: it has more than `most` bytes, or says so.
    """
    said = headers.get(b"content-length", b"0")
    if len(said) > 10 or (said.isdigit() and int(said) > most):
        raise _too_large(most)
    message = await receive()
    if message["type"] != "http.request":
        return None
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most)
    return b"".join(parts)


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than {most} bytes: send large content as a url")


def check_once(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that a request does not say twice what decides something.

    Whoever stands before the bridge may have read the other one.

    Raises:
        InvalidRequest: it does.
    """
    counts = Counter(name for name, _ in headers)
    if any(counts[name] > 1 for name in _ONCE):
        raise InvalidRequest("a header came twice that may come but once")
