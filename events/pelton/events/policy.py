"""Policies without their rules: what bounds say of a call. A pure function of the two.

More bounds never allow more, and in what order they stand makes no difference: the strictest of
what they say counts (`pelton.events.ruling.strictest`).
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

from pelton.events.calls import Call, Kind
from pelton.events.delegation import elsewhere
from pelton.events.ruling import Ruling


class Bounds(NamedTuple):
    """What tools an agent may call, how much a task may do, and what text it need not trust.

    `tools` and `untrusted` are patterns, as of file names, for names of tools and sources of texts
    (`Call.heard`). `writes` is what becomes of a call that may write once text that is not to be
    trusted has come. `egress` are patterns for the hosts that it may reach (`unreached`). None is
    without a limit.
    """

    tools: tuple[str, ...] = ("*",)
    steps: int | None = None
    delegations: int | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    untrusted: tuple[str, ...] = ()
    writes: Ruling = Ruling.ALLOW
    egress: tuple[str, ...] = ("*",)


class Said(NamedTuple):
    """What is said of a call, why, and who decides if a person is asked."""

    ruling: Ruling
    reason: str
    approvers: tuple[str, ...] = ()


def judge(call: Call, bounds: Bounds) -> Iterator[Said]:
    """Yield what bounds have against a call, if they have anything."""
    if call.kind is Kind.MESSAGE:
        return
    if call.tool and not matches(call.tool, bounds.tools):
        yield Said(Ruling.DENY, f"The tool {call.tool!r} is not among those that may be called.")
    away = call.kind is Kind.DELEGATION and elsewhere(call.name)
    if away and (host := unreached(call.name, bounds.egress)):
        yield Said(Ruling.DENY, not_reached(host))
    limits = (
        ("steps", call.steps, bounds.steps, call.kind is Kind.STEP),
        ("delegations", call.delegations, bounds.delegations, call.kind is Kind.DELEGATION),
        ("tokens", call.tokens, bounds.tokens, True),
        ("cost", call.cost, bounds.cost, True),
        ("seconds", call.seconds, bounds.seconds, True),
    )
    for name, used, most, counts in limits:
        if counts and most is not None and used >= most:
            yield Said(Ruling.DENY, f"The task has used up its {name}: {most:g}.")
    if bounds.writes is not Ruling.ALLOW and call.tool and not call.idempotent:
        sources = [each for each in call.heard if matches(each, bounds.untrusted)]
        if sources:
            reason = f"It may write, and has been told what {', '.join(sources)} says."
            yield Said(bounds.writes, reason)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of some patterns is of a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def unreached(url: str, patterns: tuple[str, ...]) -> str:
    """Return the host that a URL leads to, if no pattern is of it: of `HOST`, or of `HOST:PORT`.

    An address of IPv6 stands without brackets and port.
    """
    if "*" in patterns:
        return ""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return url[:200]
    port = port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    known = (host,) if ":" in host else (host, f"{host}:{port}")
    return "" if any(matches(each, patterns) for each in known) else host or url[:200]


def not_reached(host: str) -> str:
    """Return why a host is not reached."""
    return f"Nothing at {host!r} may be reached from here (policy.egress)."
