"""Messages of the SDK, which are protocol buffers, as plain JSON and back."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message

from pelton.adapters.a2a.protobuf import whole
from pelton.events.errors import InvalidInput

M = TypeVar("M", bound=Message)


def plain(message: Message) -> Any:
    """Return a message as JSON.

    Raises:
        InvalidInput: JSON cannot spell it, as a number that is none.
    """
    try:
        return whole(json_format.MessageToDict(message))
    except (json_format.Error, ValueError, RecursionError):
        raise InvalidInput("this is not a message that JSON can spell") from None


def made(kind: type[M], value: Any) -> M:
    """Return one of our own values as a message; members that it does not have are left out."""
    builtins = msgspec.to_builtins(value)
    return json_format.ParseDict(builtins, kind(), ignore_unknown_fields=True)
