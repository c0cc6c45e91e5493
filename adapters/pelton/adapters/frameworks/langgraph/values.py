"""What nodes of graphs take and give, and what channels hold, as JSON.

What is JSON stays as it is, a message is written as LangChain writes it, and anything else in the
bytes that LangGraph keeps it in. So whoever looks at the log can read most of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, Final

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command

_SERDE: Final = JsonPlusSerializer()
_MESSAGE: Final = "$message"
_COMMAND: Final = "$command"
_BYTES: Final = "$bytes"
_MEMBERS: Final = ("graph", "update", "resume", "goto")


def encode(value: Any) -> Any:
    """Return a value as JSON."""
    kind = _kind(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if (message := _message(value)) is not None:
        return {_MESSAGE: message}
    if kind is Command:
        return {_COMMAND: {each: encode(getattr(value, each)) for each in _MEMBERS}}
    if kind is list or value == ():  # as the `goto` of most commands is
        return [encode(each) for each in value]
    if kind is dict and all(_plain(key) for key in value):
        return {key: encode(each) for key, each in value.items()}
    name, data = _SERDE.dumps_typed(value)
    return {_BYTES: [name, base64.b64encode(data).decode()]}


def decode(value: Any) -> Any:
    """Return the value of which `encode` has made this."""
    kind = _kind(value)
    if kind is list:
        return [decode(each) for each in value]
    if kind is not dict:
        return value
    if _MESSAGE in value:
        (message,) = messages_from_dict([value[_MESSAGE]])
        return message
    if _COMMAND in value:
        return Command(**{key: decode(each) for key, each in value[_COMMAND].items()})
    if _BYTES in value:
        name, data = value[_BYTES]
        return _SERDE.loads_typed((name, base64.b64decode(data)))
    return {key: decode(each) for key, each in value.items()}


def readable(value: Any) -> bool:
    """Say whether all of a value of `encode` is the same whenever it is made anew."""
    kind = _kind(value)
    if kind is list:
        return all(map(readable, value))
    return kind is not dict or (_BYTES not in value and all(map(readable, value.values())))


def named(value: Any, name: str) -> Any:
    """Return what a node gives with an id for each message, the same on every attempt.

    Without one, LangGraph would draw it at random when it puts the message into the state.
    """
    return _named(value, name, count(1))


def text_of(value: Any) -> str:
    """Return a value as a person reads it."""
    return json.dumps(encode(value), ensure_ascii=False)


def _named(value: Any, name: str, counted: Iterator[int]) -> Any:
    kind = _kind(value)
    if isinstance(value, BaseMessage):
        if value.id is None:
            return value.model_copy(update={"id": f"{name}.{next(counted)}"})
    elif kind is Command:
        return replace(value, update=_named(value.update, name, counted))
    elif kind is list:
        return [_named(each, name, counted) for each in value]
    elif kind is dict:
        return {key: _named(each, name, counted) for key, each in value.items()}
    return value


def _kind(value: object) -> Any:
    return type(value)


def _message(value: object) -> dict[str, Any] | None:
    """Return a message as LangChain writes it; nothing if it is none, or that is no JSON."""
    if not isinstance(value, BaseMessage):
        return None
    message = message_to_dict(value)
    try:
        json.dumps(message)
    except (TypeError, ValueError):
        return None
    return message


def _plain(key: object) -> bool:
    return isinstance(key, str) and not key.startswith("$")
