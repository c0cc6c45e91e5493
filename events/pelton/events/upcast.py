"""Reading the log: bytes to types, whatever version wrote them (law 11).

The current shapes are decoded in one pass. A record that holds an older version goes through the
upcasters, each of which lifts one type from one version to the next; they are all here, and nothing
else in pelton knows an old shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from pelton.events.commands import COMMANDS, Command, ScheduleCommand
from pelton.events.commit import Commit
from pelton.events.envelope import deeper
from pelton.events.errors import DamagedRecord, UnknownVersion
from pelton.events.events import EVENTS

Json = dict[str, Any]
Upcaster = Callable[[Json], Json]


def _same(value: Json) -> Json:
    """Lift what a later version has but added to: members that may be absent."""
    return value


UPCASTERS: Final[dict[str, Upcaster]] = {"StepStarted.v1": _same, "TurnStarted.v1": _same}
"""From a versioned type (`TaskSubmitted.v1`) to what lifts its JSON to the version after it."""

MAX_DEPTH: Final = 128
"""How deep a command may be nested: commits carry what it holds deeper still, and must be read."""

_commands: Final = msgspec.json.Decoder(Command)
_schedule_commands: Final = msgspec.json.Decoder(ScheduleCommand)
_commits: Final = msgspec.json.Decoder(Commit)
_TYPE: Final = re.compile(r"(?P<name>(?:pelton\.)?[A-Za-z]+)\.v(?P<version>[1-9][0-9]{0,5})")


def _current() -> dict[str, int]:
    """Return the version of each type that this pelton writes."""
    versions: dict[str, int] = {}
    for struct in (*COMMANDS, Commit, *EVENTS):
        name, _, version = str(struct.__struct_config__.tag).rpartition(".v")
        versions[name] = int(version)
    return versions


CURRENT: Final[Mapping[str, int]] = _current()
"""The version of each type that this pelton writes."""


def lift(value: Json, upcasters: Mapping[str, Upcaster] = UPCASTERS) -> Json:
    """Return a tagged JSON object in its type's current version.

    Raises:
        UnknownVersion: a newer pelton wrote it, or a type that does not exist here.
        DamagedRecord: it has no type, or no upcaster leads on from its version.
    """
    while True:
        tag = value.get("type")
        match = _TYPE.fullmatch(tag) if isinstance(tag, str) else None
        if not match:
            raise DamagedRecord(f"a record has no versioned type: {tag!r}")
        name, version = match["name"], int(match["version"])
        if name not in CURRENT or version > CURRENT[name]:
            raise UnknownVersion(f"{tag!r} was written by a newer pelton: upgrade this one")
        if version == CURRENT[name]:
            return value
        upcaster = upcasters.get(f"{name}.v{version}")
        if upcaster is None:
            raise DamagedRecord(f"nothing lifts {tag!r} to version {version + 1}")
        value = upcaster(value) | {"type": f"{name}.v{version + 1}"}


def decode_command(data: bytes, upcasters: Mapping[str, Upcaster] = UPCASTERS) -> Command:
    """Return the command that a record of `cmd.<agent>.<context>` holds.

    Raises:
        DamagedRecord: the bytes are no command; `UnknownVersion` if a newer pelton wrote them.
    """
    _check_depth(data)
    try:
        return cast("Command", _commands.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raw = _object(data, error)
    return cast("Command", _convert(lift(raw, upcasters), Command))


def decode_schedule_command(
    data: bytes, upcasters: Mapping[str, Upcaster] = UPCASTERS
) -> ScheduleCommand:
    """Return the command that a record of `cmd.<agent>._schedules` holds.

    Raises:
        DamagedRecord: the bytes are no such command; see `decode_command`.
    """
    _check_depth(data)
    try:
        return cast("ScheduleCommand", _schedule_commands.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raw = _object(data, error)
    return cast("ScheduleCommand", _convert(lift(raw, upcasters), ScheduleCommand))


def _check_depth(data: bytes) -> None:
    if deeper(data, MAX_DEPTH):
        raise DamagedRecord(f"a command is nested deeper than {MAX_DEPTH}, or is no JSON")


def decode_commit(data: bytes, upcasters: Mapping[str, Upcaster] = UPCASTERS) -> Commit:
    """Return the commit that a record of `evt.…` holds, its events in their current versions.

    Raises:
        DamagedRecord: the bytes are no commit; `UnknownVersion` if a newer pelton wrote them.
    """
    try:
        return _commits.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raw = lift(_object(data, error), upcasters)
    try:
        events = [lift(event, upcasters) for event in raw["data"]["events"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedRecord(f"a commit without events: {error!r}") from error
    return cast("Commit", _convert(raw | {"data": raw["data"] | {"events": events}}, Commit))


def _object(data: bytes, reason: Exception) -> Json:
    """Return the JSON object in `data`, for a record that is not in the current shape."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedRecord(f"a record is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DamagedRecord(f"a record is not an object: {reason}")
    return cast("Json", value)


def _convert(value: Json, shape: Any) -> Any:
    try:
        return msgspec.convert(value, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DamagedRecord(f"a record does not fit its schema: {error}") from error
