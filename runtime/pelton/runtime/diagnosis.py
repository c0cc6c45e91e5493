"""What is wrong with a log and its server, and what to do: the checks behind `pelton doctor`.

Nothing is changed. Whether we may append is tried with an append whose expectation cannot hold: the
server refuses it only after it has let us ask (law 3).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from pelton.events import subjects
from pelton.events.errors import PeltonError
from pelton.runtime.clock import World
from pelton.runtime.jetstream.client import Connection, connect
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import ALWAYS, Profile
from pelton.runtime.jetstream.streams import LOG, LOG_KEEPS, odd
from pelton.runtime.log import Conflict, Log, LogMisconfigured
from pelton.runtime.patience import why
from pelton.runtime.vault import OPEN, ContentSealed, Sealing, Vault

WITHIN: Final = 3.0
"""Seconds for each check."""

_CLOCK: Final = 2.0
_FREE: Final = 1 << 30
_FULL: Final = 0.9
_NEVER: Final = 2**62
_SHAPE: Final[Mapping[str, Any]] = {
    **LOG_KEEPS,
    "subjects": list(subjects.LOG_SUBJECTS),
    "max_msgs": -1,
    "allow_direct": True,
    "republish": {"src": ">", "dest": "live.>"},
}
"""What the log rests on; whoever changes one of these by hand breaks a promise."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `remedy` is what to do, if there is anything.

    What is `wrong` keeps something from working; `warn` is to be looked at, and keeps nothing.
    """

    name: str
    state: Literal["ok", "warn", "wrong", "unknown"]
    says: str
    remedy: str = ""


def ok(name: str, says: str) -> Check:
    """Return the check that found nothing wrong."""
    return Check(name=name, state="ok", says=says)


def wrong(name: str, says: str, remedy: str) -> Check:
    """Return the check that found something wrong."""
    return Check(name=name, state="wrong", says=says, remedy=remedy)


def warn(name: str, says: str, remedy: str) -> Check:
    """Return the check that found something to look at."""
    return Check(name=name, state="warn", says=says, remedy=remedy)


def _unknown(name: str, says: str, remedy: str) -> Check:
    return Check(name=name, state="unknown", says=says, remedy=remedy)


async def diagnose(
    url: str | list[str],
    *,
    profile: Profile,
    credentials: Path | None,
    monitoring: str,
    data: Path,
    world: World,
    sealing: Sealing = OPEN,
) -> AsyncGenerator[Check]:
    """Look at a server and the log on it; what rests on what is wrong is left out.

    `monitoring` is the URL of the server's HTTP monitoring, or empty; `data` the data directory;
    `sealing` what content is sealed with, as the settings have it.
    """
    yield disk(data)
    try:
        async with connect(
            url, world=world, name="doctor", credentials=credentials, within=WITHIN
        ) as connection:
            yield ok("server", "it answers, and takes our credentials")
            async for check in _account(connection, profile, monitoring, world):
                yield check
                if check.name in ("jetstream", "log") and check.state in ("wrong", "unknown"):
                    return
    except PeltonError as error:
        yield wrong(
            "server", str(error), "start it (pelton dev), or mend nats.url and its credentials"
        )
        return
    try:
        async with JetStreamLog.open(
            url,
            profile=profile,
            credentials=credentials,
            migrate=False,
            world=world,
            name="doctor",
            sealing=sealing,
        ) as log:
            yield ok("version", "the streams are of the version that this pelton needs")
            yield await _keys(log.vault)
            for name, attempt in _permissions(log).items():
                yield await _permitted(name, attempt)
    except PeltonError as error:
        yield wrong("version", str(error), "the text says it")


async def _account(
    connection: Connection, profile: Profile, monitoring: str, world: World
) -> AsyncGenerator[Check]:
    try:
        reply = await connection.request("$JS.API.INFO", b"", within=WITHIN)
        account = msgspec.json.decode(reply.data)
    except LogMisconfigured as error:  # so says the client of what its user may not
        yield _unknown(
            "jetstream",
            f"this user may not ask: {error}",
            "look as the owner of the account: a user for one part may do the work of that alone",
        )
        return
    except PeltonError as error:
        yield wrong(
            "jetstream",
            f"JetStream does not answer: {error}",
            "switch it on, for the server (jetstream {}) and for this account (jetstream: enabled)",
        )
        return
    if "error" in account:
        yield wrong(
            "jetstream",
            f"JetStream refuses: {account['error'].get('description', '')}",
            "switch it on for this account (jetstream: enabled)",
        )
        return
    yield ok("jetstream", f"it is on, with {account['streams']} streams")
    yield _limits(account)
    yield await _sync(profile, monitoring)
    if monitoring:
        yield await _health(monitoring)
    reply = await connection.request(f"$JS.API.STREAM.INFO.{LOG}", b"", within=WITHIN)
    for check in _log(msgspec.json.decode(reply.data), profile, world):
        yield check


def _limits(account: Mapping[str, Any]) -> Check:
    most, used = account["limits"]["max_storage"], account["storage"]
    if 0 < most < used / _FULL:
        return wrong(
            "storage",
            f"{used} of the {most} bytes that this account may store are used",
            "raise the account's limit before it is reached: then nothing is accepted any more",
        )
    return ok("storage", f"{used} bytes" + (f" of {most}" if most > 0 else ", without a limit"))


async def _sync(profile: Profile, monitoring: str) -> Check:
    if profile.sync != ALWAYS:
        return ok("sync", f"the profile {profile.name} does not ask for it")
    if not monitoring:
        return _unknown(
            "sync",
            "whether the server syncs each record to disk cannot be seen from here",
            "set nats.monitoring to the URL of its HTTP monitoring, which shows sync_interval",
        )
    try:
        shown = await _get(f"{monitoring.rstrip('/')}/jsz?config=true")
    except (OSError, ValueError, TimeoutError) as error:
        return _unknown(
            "sync",
            f"the server's monitoring does not answer ({type(error).__name__})",
            "mend nats.monitoring",
        )
    if shown.get("config", {}).get("sync_always"):
        return ok("sync", "the server syncs each record to disk before it acknowledges it")
    return wrong(
        "sync",
        f"the server syncs now and then, and the profile {profile.name} promises more:"
        " a power cut loses accepted messages",
        "set sync_interval: always in the jetstream block of its configuration,"
        " or choose the profile relaxed",
    )


async def hold_to(profile: Profile, monitoring: str) -> None:
    """Check that a server does what a profile promises, where that can be known (S26).

    Raises:
        LogMisconfigured: it syncs now and then, and the profile says that it always does.
    """
    check = await _sync(profile, monitoring)
    if check.state == "wrong":
        raise LogMisconfigured(f"{check.says}; {check.remedy}")


async def _health(monitoring: str) -> Check:
    """Ask the server whether it is well: a disk that was full is told nowhere else."""
    try:
        shown = await _get(f"{monitoring.rstrip('/')}/healthz")
    except (OSError, ValueError, TimeoutError) as error:
        return _unknown(
            "health",
            f"the server's monitoring does not answer ({type(error).__name__})",
            "mend nats.monitoring",
        )
    if shown.get("status") == "ok":
        return ok("health", "the server says that it is well")
    return wrong(
        "health",
        f"the server says: {shown.get('error', 'that it is not well')}",
        "mend what it names, if its disk is full make room; then restart it: after a failed write"
        " it takes no record until then, and loses none",
    )


async def _get(url: str) -> dict[str, Any]:
    """Return the JSON object under a URL: a small GET, so that nothing more need be installed."""
    parts = urlsplit(url)
    async with asyncio.timeout(WITHIN):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        try:
            target = f"{parts.path}?{parts.query}"
            head = f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n"
            writer.write(head.encode())
            _, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    found: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    return found


def _log(info: Mapping[str, Any], profile: Profile, world: World) -> list[Check]:
    if "error" in info:
        return [
            wrong(
                "log",
                "this account has no log yet",
                "start a bridge or an executor once as a user that may create streams",
            )
        ]
    config = info["config"]
    changed = odd(config, _SHAPE)
    state = info["state"]
    gone = state["last_seq"] - state["messages"]
    checks = [
        wrong(
            "log",
            f"the stream {LOG} has been changed by hand: {', '.join(changed)}",
            "set it back: " + ", ".join(f"{name} to {_SHAPE[name]}" for name in changed),
        )
        if changed
        else wrong(
            "log",
            f"{gone} of its {state['last_seq']} records are gone, and nothing begins on it",
            "restore it from a copy: somebody may need what is gone",
        )
        if gone
        else ok("log", f"{state['messages']} records, {state['bytes']} bytes")
    ]
    if config["num_replicas"] < profile.replicas:
        checks.append(
            wrong(
                "replicas",
                f"the log has {config['num_replicas']}, the profile {profile.name} promises"
                f" {profile.replicas}",
                f"nats stream edit {LOG} --replicas {profile.replicas}",
            )
        )
    away = abs((_moment(info["ts"]) - world.now()).total_seconds())
    checks.append(
        ok("clock", f"the server's differs by {away:.3f} s")
        if away < _CLOCK
        else wrong(
            "clock",
            f"the server's clock differs from ours by {away:.1f} s: timestamps will confuse",
            "run a time service (NTP) on both machines",
        )
    )
    return checks


def _moment(text: str) -> datetime:
    """Return the moment that Go spells, with nanoseconds and without trailing zeros."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return moment.replace(microsecond=int(fraction[:6].ljust(6, "0") or "0"))


def disk(data: Path) -> Check:
    """Look whether the disk that holds a directory has room."""
    place = data
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    says = f"{usage.free / _FREE:.1f} GiB of {usage.total / _FREE:.1f} are free"
    if usage.free < _FREE:
        return wrong("disk", says, "make room: a full disk stops the log, and all work with it")
    return ok("disk", says)


async def _keys(vault: Vault) -> Check:
    """Look whether what is sealed can be read with the keys that the settings name."""
    try:
        async with asyncio.timeout(2 * WITHIN):
            await vault.probe()
    except ContentSealed as error:
        found = wrong if vault.seals else warn
        return found(
            "keys",
            str(error),
            "give the tenant's file of keys to all that are to read: an executor without it leaves"
            " turns to others, and where there are none, they fail",
        )
    except (PeltonError, TimeoutError) as error:
        return _unknown("keys", why(error), "give the user the permissions in nats.conf")
    return ok("keys", "nothing is sealed that cannot be read with the keys of these settings")


def _permissions(log: Log) -> Mapping[str, Callable[[], Awaitable[object]]]:
    """Return what is tried, by the name of what it needs permission for."""
    aside = subjects.commands("pelton-doctor", "nothing")

    async def append() -> None:
        with suppress(Conflict):
            await log.append(aside, b"{}", id="pelton-doctor", expect=_NEVER)

    async def listen() -> None:
        async with log.listen("evt.>", lambda _: None):
            pass

    async def lease() -> None:
        held = await log.lease("pelton-doctor", "nothing", holder="doctor", ttl=1.0)
        if held is not None:
            await held.release()

    return {
        "append": append,
        "read": lambda: log.read(aside),
        "listen": listen,
        "lease": lease,
        "blobs": lambda: log.put_blob(b"pelton doctor\n"),
    }


async def _permitted(name: str, attempt: Callable[[], Awaitable[object]]) -> Check:
    try:
        async with asyncio.timeout(2 * WITHIN):
            await attempt()
    except (PeltonError, TimeoutError) as error:
        return wrong(
            f"may {name}",
            why(error),
            "give the user the permissions in nats.conf",
        )
    return ok(f"may {name}", "it works")
