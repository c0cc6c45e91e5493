"""The streams of a tenant, and how they become what this version of pelton needs (AS-64).

`LOG` and `BLOBS` are durable: each change of their shape is a migration, applied once, by whoever
starts first, and recorded as a version in the metadata of `LOG`. `KV_LEASE` lives in memory and is
made whenever it is missing. `KV_KEYS` holds the keys that content is sealed with, and is made with
the first of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from pelton.events.subjects import LOG_SUBJECTS
from pelton.runtime.jetstream.api import Api, Patience
from pelton.runtime.jetstream.errors import refused
from pelton.runtime.jetstream.wire import SECOND, StreamInfo, decode_answer
from pelton.runtime.log import LogMisconfigured, LogRegressed

LOG: Final = "LOG"
LEASES: Final = "KV_LEASE"
BLOBS: Final = "BLOBS"
KEYS: Final = "KV_KEYS"

PIECE: Final = 256 * 1024
"""Bytes in a piece of a blob: small enough not to hold up other traffic on the connection."""

_OTHERWISE: Final = 10058
"""The code of: there is such a stream, with another configuration."""

_VERSION: Final = "pelton.version"

KEEPS: Final[Mapping[str, Any]] = {
    "storage": "file",
    "retention": "limits",
    "discard": "new",
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "allow_rollup_hdrs": False,
    "allow_msg_ttl": False,
}
"""The configuration under which a server keeps what a stream has taken, for ever (AS-24)."""

LOG_KEEPS: Final[Mapping[str, Any]] = {**KEEPS, "deny_delete": True, "deny_purge": True}
"""That of the log, from which nobody can take anything out, either."""

Step = Callable[[Api, int], Awaitable[None]]
"""Changes streams, given the number of replicas; must bear being run twice or in two processes."""


class Migration(NamedTuple):
    """One change of the durable streams, and the way back."""

    version: int
    up: Step
    down: Step


async def log_info(api: Api) -> StreamInfo:
    """Return what the server says of the log.

    Raises:
        LogMisconfigured: there is none.
    """
    info = await api.stream(LOG)
    if info is None:
        raise LogMisconfigured(
            "this account has no log yet: start pelton once as a user that may create streams"
        )
    return info


async def prepare(api: Api, *, replicas: int, migrate: bool) -> tuple[int, datetime]:
    """Bring the streams to this version, if allowed.

    Returns how many replicas the log has, and the server's time.

    Raises:
        LogMisconfigured: the streams are of another version, have too few replicas, or would forget
            what they have taken.
        LogRegressed: records of the log are gone.
    """
    if api.connection.max_payload < 2 * PIECE:
        raise LogMisconfigured(
            f"the server's max_payload is {api.connection.max_payload}: raise it to 1MB"
        )
    if migrate:
        await migrate_to(api, MIGRATIONS, replicas=replicas)
        await make_leases(api, replicas)
    info = await log_info(api)
    version, newest = _version(info), MIGRATIONS[-1].version
    if version != newest:
        raise LogMisconfigured(
            f"the log has version {version}, this pelton needs {newest}:"
            " start it once as a user that may change streams"
        )
    _check_keeps(LOG, info, LOG_KEEPS)
    if info.state.messages != info.state.last_seq:
        raise LogRegressed(
            f"{info.state.last_seq - info.state.messages} of the {info.state.last_seq} records of"
            " the log are gone, and somebody may need them: restore the log from a copy"
        )
    if migrate and (blobs := await api.stream(BLOBS)) is not None:
        _check_keeps(BLOBS, blobs, KEEPS)
    kept = int(info.config.get("num_replicas", 1))
    if kept < replicas:
        raise LogMisconfigured(
            f"the log has {kept} replicas, the profile promises {replicas}: choose another profile,"
            f" or raise them with `nats stream edit {LOG} --replicas {replicas}`"
        )
    return kept, info.ts or api.world.now()


def odd(config: Mapping[str, Any], shape: Mapping[str, Any]) -> list[str]:
    """Return which members of a stream's configuration are not as they should be."""
    return [name for name, value in shape.items() if config.get(name, value) != value]


def _check_keeps(stream: str, info: StreamInfo, keeps: Mapping[str, Any]) -> None:
    """Check that a stream forgets nothing.

    Raises:
        LogMisconfigured: it would.
    """
    if changed := odd(info.config, keeps):
        told = ", ".join(f"{name} to {keeps[name]}" for name in changed)
        raise LogMisconfigured(
            f"the stream {stream} has been changed by hand so that it forgets: set back {told}"
        )


async def migrate_to(
    api: Api, migrations: Sequence[Migration], *, replicas: int, version: int | None = None
) -> None:
    """Apply what is missing up to a version (the last if not given), or take back what is beyond.

    Raises:
        LogMisconfigured: the streams are newer than all of `migrations`, or are not pelton's.
    """
    info = await api.stream(LOG)
    present = 0 if info is None else _version(info)
    if present > len(migrations):
        raise LogMisconfigured(
            f"the log has version {present}, this pelton knows {len(migrations)}:"
            " upgrade pelton, or take the migration back with the newer one"
        )
    wanted = len(migrations) if version is None else version
    for migration in migrations[present:wanted]:
        await migration.up(api, replicas)
        await _record(api, migration.version)
    for migration in reversed(migrations[wanted:present]):
        await migration.down(api, replicas)
        await _record(api, migration.version - 1)


async def make_leases(api: Api, replicas: int, patience: Patience | None = None) -> None:
    """Make the stream of the leases, if it is missing."""
    patience = patience or api.patience()
    if await api.stream(LEASES, patience) is not None:
        return
    config = {
        "name": LEASES,
        "subjects": ["$KV.LEASE.>"],
        "storage": "memory",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "discard": "old",
        "allow_direct": True,
        "allow_msg_ttl": True,
        # Sequences of a stream that was lost must not come again: an old lease would fit a new one.
        "first_seq": int(api.world.now().timestamp() * 1000),
    }
    await _make_missing(api, config, patience)


async def make_keys(api: Api, replicas: int, patience: Patience) -> None:
    """Make the stream of the keys, which is missing.

    It holds the key of a context, and after it the tombstone: a key is not dropped by what follows
    it but overwritten, which the server does only for what is deleted by its sequence.
    """
    config = {
        "name": KEYS,
        "subjects": ["$KV.KEYS.>"],
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
    }
    await _make_missing(api, config, patience)


async def _make_missing(api: Api, config: Mapping[str, Any], patience: Patience) -> None:
    subject = f"$JS.API.STREAM.CREATE.{config['name']}"
    error = (await api.answer(subject, config, decode_answer, patience)).error
    if error is not None and error.err_code != _OTHERWISE:  # somebody else has just made it
        raise refused(error)


async def change(api: Api, stream: str, changes: Mapping[str, Any]) -> None:
    """Change members of a stream's configuration; the others stay as they are."""
    info = await api.stream(stream)
    if info is None:
        raise LogMisconfigured(f"there is no stream {stream!r}")
    if any(info.config.get(name) != value for name, value in changes.items()):
        await api.command(f"$JS.API.STREAM.UPDATE.{stream}", {**info.config, **changes})


async def _make(api: Api, config: Mapping[str, Any]) -> None:
    await api.command(f"$JS.API.STREAM.CREATE.{config['name']}", config)


async def _record(api: Api, version: int) -> None:
    metadata = (await log_info(api)).config.get("metadata", {})
    await change(api, LOG, {"metadata": {**metadata, _VERSION: str(version)}})


def _version(info: StreamInfo) -> int:
    version = info.config.get("metadata", {}).get(_VERSION, "")
    if not version.isdecimal():
        raise LogMisconfigured(
            f"there is a stream {LOG!r} that is not pelton's: give pelton an account of its own"
        )
    return int(version)


async def _found(api: Api, replicas: int) -> None:
    durable = {
        "storage": "file",
        "retention": "limits",
        "discard": "new",  # a full log refuses; it never forgets
        "num_replicas": replicas,
        "allow_direct": True,
        "max_consumers": 10_000,  # the server's own limit is 1,000 a stream
    }
    await _make(api, {**durable, "name": BLOBS, "subjects": ["blob.>"]})
    await _make(
        api,
        {
            **durable,
            "name": LOG,
            "subjects": list(LOG_SUBJECTS),
            "deny_delete": True,
            "deny_purge": True,
            "duplicate_window": 300 * SECOND,
            "republish": {"src": ">", "dest": "live.>"},
            "metadata": {_VERSION: "1"},
        },
    )


async def _never(_: Api, __: int) -> None:
    raise LogMisconfigured("nothing was before version 1: delete the streams by hand, if ever")


MIGRATIONS: Final[Sequence[Migration]] = (Migration(1, up=_found, down=_never),)
"""All there are, in order; `MIGRATIONS[n]` leads from version `n` to `n + 1`."""
