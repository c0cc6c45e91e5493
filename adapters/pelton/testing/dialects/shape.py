"""What a dialect is, and what all have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

Json = dict[str, Any]
Event = tuple[str, Json]
"""An event of a stream: its name, empty where the dialect has none, and its data."""


class Call(NamedTuple):
    """A tool that the model wants to have called."""

    name: str
    arguments: Mapping[str, Any]
    id: str


class Reply(NamedTuple):
    """What the model says: a text in the pieces in which it streams, and calls."""

    id: str
    model: str
    pieces: tuple[str, ...]
    calls: tuple[Call, ...]
    tokens: tuple[int, int]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


class Line(NamedTuple):
    """A message of the conversation that a model was shown, from system, user, assistant or tool.

    `calls` names the tools that it has called, by the ids of the calls; the `call` is the one whose
    result this is.
    """

    role: str
    text: str
    calls: tuple[Call, ...] = ()
    call: str = ""


class Dialect(NamedTuple):
    """One way to ask a model: where, what the question holds, and how answers look.

    A stream ends with `end`, and has at least `head` events before the first piece of its text.
    """

    name: str
    path: re.Pattern[str]
    model: Callable[[Json, re.Match[str]], str]
    streams: Callable[[Json, re.Match[str]], bool]
    lines: Callable[[Json], Iterator[Line]]
    tools: Callable[[Json], Iterator[str]]
    whole: Callable[[Reply], Json]
    events: Callable[[Reply], Iterator[Event]]
    error: Callable[[int, str], Json]
    end: str = ""
    head: int = 2


def text_of(content: Any) -> str:
    """Return the text of a content that is a string, or a list of blocks of any dialect."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(text_of(each) for each in content)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(content, dict):
        block = cast("Json", content)
        kind = block.get("type", "text")
        if kind in ("text", "input_text", "output_text"):
            return str(block.get("text", ""))
        if kind == "tool_result":
            return text_of(block.get("content", ""))
    return ""


def loads(text: str) -> Json:
    """Return the object that a text spells, empty if it is none."""
    found = json.loads(text or "{}")
    return cast("Json", found) if isinstance(found, dict) else {}


def body_model(body: Json, _: re.Match[str]) -> str:
    """Return the model that a body names."""
    return str(body.get("model", ""))


def body_streams(body: Json, _: re.Match[str]) -> bool:
    """Return whether a body asks for a stream."""
    return bool(body.get("stream"))


def body_tools(body: Json) -> Iterator[str]:
    """Yield the names of the tools that a body offers; those of the provider have but a type."""
    return (tool.get("name") or tool.get("type", "") for tool in body.get("tools", ()))
