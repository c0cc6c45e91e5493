"""Where may be posted to (S8): a URL by its form, and the addresses that its host has.

Pure: whoever resolves a host asks here about all that it found, and connects to nothing else. What
the settings allow is allowed whatever its addresses are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pelton.events.errors import InvalidInput

LONGEST: Final = 2048
"""The longest URL."""
PORTS: Final = (443, 8443)
"""The ports that may be posted to: none where something other than a web server may listen."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What no parser reads in two ways: no backslash, control character, space or non-ASCII.
_PLAIN: Final = re.compile(r"https?://[^\\#@\s\"<>^`{|}/?]+([/?][^\\#\s\"<>^`{|}]*)?", re.ASCII)
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*(?P<last>[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)",
    re.ASCII,
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
"""What ends a host that some take for an IPv4 address: `127.1`, `0x7f000001`, `017700000001`."""

_CLOSED_4: Final = tuple(
    ipaddress.IPv4Network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
"""This network, private, shared by carriers, loopback, link-local, documentation, multicast, …"""
_OPEN_6: Final = ipaddress.IPv6Network("2000::/3")
"""Global unicast: outside are loopback, link- and site-local, v4-mapped, NAT64, multicast."""
_CLOSED_6: Final = tuple(
    ipaddress.IPv6Network(each)
    for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # Teredo, examples, 6to4
)


class Target(NamedTuple):
    """Where a URL leads. `trusted`: the settings allow it, whatever its addresses are."""

    url: str
    scheme: str
    host: str
    port: int
    trusted: bool

    @property
    def origin(self) -> str:
        """The part of the URL that may be shown and logged."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Origin(NamedTuple):
    """What is allowed beyond the rules; port 0 is any."""

    scheme: str
    host: str
    port: int


def target(url: str, allowed: Iterable[Origin] = ()) -> Target:
    """Return where a URL leads, by its form alone.

    Raises:
        InvalidInput: it may not be posted to, or is no URL that everybody reads in the same way.
    """
    scheme, host, port = _parts(url)
    trusted = any((scheme, host) == each[:2] and each.port in (0, port) for each in allowed)
    if not trusted and scheme != "https":
        raise _refused("it is not https")
    if not trusted and port not in PORTS:
        raise _refused(f"its port is none of {', '.join(map(str, PORTS))}")
    literal = _literal(host)
    found = Target(url, scheme, host, port, trusted)
    if literal is not None:
        check(found, (host,))
    return found


def check(to: Target, addresses: Iterable[str]) -> None:
    """Check all the addresses that the host of a target has.

    Raises:
        InvalidInput: one of them is not everybody's.
    """
    if to.trusted:
        return
    for each in addresses:
        if not is_public(ipaddress.ip_address(each.partition("%")[0])):
            raise _refused("it leads to an address that is not public")


def is_public(address: Address) -> bool:
    """Return whether an address is that of one host somewhere on the internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    return address in _OPEN_6 and not any(address in network for network in _CLOSED_6)


def origin(text: str) -> Origin:
    """Return what an entry of the setting allows: `https://HOST`, with a port for that one alone.

    Raises:
        InvalidInput: it is no origin.
    """
    has_port = re.search(r":[0-9]+\Z", text) is not None
    scheme, host, port = _parts(text)
    if urlsplit(text).path or urlsplit(text).query:
        raise InvalidInput(f"{text[:80]!r} is more than http(s)://HOST[:PORT]", field="url")
    return Origin(scheme, host, port if has_port else 0)


def _parts(url: str) -> tuple[str, str, int]:
    if len(url) > LONGEST:
        raise _refused(f"it is longer than {LONGEST} characters")
    if not _PLAIN.fullmatch(url):
        raise _refused("it is no http(s) URL without user, fragment and spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused("its host or port cannot be") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise _refused("its host or port cannot be")
    name = _NAME.fullmatch(host)
    if _literal(host) is None and (name is None or _NUMBER.fullmatch(name["last"])):
        raise _refused("its host is no name, and no address as one writes it")
    if ":" in host and not parts.netloc.startswith("["):
        raise _refused("its host or port cannot be")
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80)


def _literal(host: str) -> Address | None:
    if "%" in host:
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"nothing is posted to this URL: {why}", field="url")
