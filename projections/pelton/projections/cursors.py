"""Cursors: where the next page of a list begins, opaque to clients, of no use for another list."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from pelton.events.errors import InvalidInput
from pelton.events.ids import derive

_MAX: Final = 2048
"""The longest cursor that is looked at."""


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: str
    check: str
    place: tuple[str, ...]


_decoder: Final = msgspec.json.Decoder(_Cursor)
_VERSION: Final = "1"


def write_cursor(place: tuple[str, ...], asked: tuple[str, ...]) -> str:
    """Return the cursor of a place in the list that answers what was `asked` (its filters)."""
    value = _Cursor(_VERSION, _check(place, asked), place)
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def read_cursor(cursor: str, asked: tuple[str, ...], size: int) -> tuple[str, ...]:
    """Return the place that a cursor tells, of `size` parts.

    Raises:
        InvalidInput: it is no cursor, or one of a list that answers something else.
    """
    try:
        if len(cursor) > _MAX:
            raise ValueError("too long")
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        value = _decoder.decode(data)
        if value.check != _check(value.place, asked) or len(value.place) != size:
            raise ValueError("it belongs to another list")
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise InvalidInput(
            "the page token is not one of this list: start again without it", field="pageToken"
        ) from error
    return value.place


def _check(place: tuple[str, ...], asked: tuple[str, ...]) -> str:
    return derive("cursor", _VERSION, *asked, "at", *place)[:16]
