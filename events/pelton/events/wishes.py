"""What a client may ask beside the protocol: members of a request's metadata that pelton knows."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from pelton.events.a2a import JsonObject
from pelton.events.commands import WhenBusy
from pelton.events.errors import InvalidInput
from pelton.events.ids import check_id

WHEN_BUSY: Final = "pelton/whenBusy"
"""What becomes of the message if a turn of its context is open: one of `WhenBusy`."""

DEADLINE: Final = "pelton/deadline"
"""When the task fails unless it has ended: RFC 3339 in UTC with milliseconds."""

ANSWERS: Final = "pelton/answers"
"""The key of the question that the message answers, where a task has asked several."""

TURN: Final = "pelton/turn"
"""Of a cancellation: the number of the turn that is meant; no other one is canceled (AS-33)."""

RESERVED: Final = "pelton/"
"""What names of metadata begin with that are pelton's own."""

_TIME: Final = re.compile(
    r"20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z",
    re.ASCII,
)


class Wishes(NamedTuple):
    """What a request asks beside the protocol; empty where it does not."""

    when_busy: WhenBusy | None = None
    deadline: str = ""
    answers: str = ""


class ReservedName(InvalidInput):
    """Metadata from outside has a name that is pelton's own: only pelton may write it (AS-4)."""


def wishes(metadata: JsonObject | None) -> Wishes:
    """Return what the metadata of a request to send a message asks.

    Raises:
        InvalidInput: a member that pelton knows has a value that it does not.
        ReservedName: a member has a name of pelton's that means nothing there.
    """
    if not metadata:
        return Wishes()
    check_names(metadata, "metadata", known=(WHEN_BUSY, DEADLINE, ANSWERS))
    return Wishes(
        _when_busy(metadata.get(WHEN_BUSY)),
        _deadline(metadata.get(DEADLINE)),
        _answers(metadata.get(ANSWERS)),
    )


def turn_meant(metadata: JsonObject | None) -> int:
    """Return which turn the metadata of a request to cancel a task names, 0 if it names none.

    Raises:
        InvalidInput: it is no number of a turn.
        ReservedName: a member has a name of pelton's that means nothing there.
    """
    if not metadata:
        return 0
    check_names(metadata, "metadata", known=(TURN,))
    value = metadata.get(TURN, 0)
    if type(value) is float and value.is_integer():  # protobuf's clients have no other numbers
        value = int(value)
    if type(value) is not int or not 0 <= value < 2**53:
        raise InvalidInput(f"{TURN} is the number of a turn, from 1", field=f"metadata.{TURN}")
    return value


def check_names(metadata: JsonObject | None, field: str, *, known: Collection[str] = ()) -> None:
    """Check that metadata from outside has no name that only pelton may write.

    Raises:
        ReservedName: it has.
    """
    for name in metadata or ():
        if name.startswith(RESERVED) and name not in known:
            allowed = f"; here it takes {', '.join(known)}" if known else ""
            raise ReservedName(
                f"names that begin with {RESERVED} are pelton's own{allowed}",
                field=f"{field}.{name}",
            )


def _when_busy(value: object) -> WhenBusy | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in set(WhenBusy):
        known = ", ".join(WhenBusy)
        raise InvalidInput(f"{WHEN_BUSY} is one of {known}", field=f"metadata.{WHEN_BUSY}")
    return WhenBusy(value)


def _deadline(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise InvalidInput(
            f"{DEADLINE} is a time as in 2030-01-31T12:00:00.000Z", field=f"metadata.{DEADLINE}"
        )
    return value


def _answers(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{ANSWERS} is the key of a question", field=f"metadata.{ANSWERS}")
    return check_id(value, f"metadata.{ANSWERS}")
