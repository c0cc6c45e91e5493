"""What a tool is: a function, with types for what it takes and gives (AS-5).

The types are all there is: schemas are made from them, and what is asked is held to them.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated, Any, NamedTuple, cast

import msgspec
from msgspec import Meta

Json = dict[str, Any]


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of what tools take; anything else is refused."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The base of what tools give."""


Key = Annotated[
    str,
    Meta(
        max_length=128,
        description="What names this call: a repeated call with the same key has the same answer"
        " and no further effect. Without one, a call with the same arguments is a repeated one.",
    ),
]


class Keyed(Arguments, frozen=True, kw_only=True):
    """Arguments of a tool that changes something."""

    idempotency_key: Key = ""


class Tool(NamedTuple):
    """A tool by its name. `does` is given who calls and the arguments; `writes` says it acts."""

    name: str
    takes: type[msgspec.Struct]
    gives: type[msgspec.Struct]
    does: Callable[[Any, Any], Awaitable[msgspec.Struct]]
    writes: bool = False
    text: str = ""

    @property
    def description(self) -> str:
        """What it is for, for models to read."""
        said = self.text or inspect.getdoc(self.does) or ""
        return " ".join(said.partition("\n\nRaises:")[0].split())


@cache
def schema_of(type_: type[msgspec.Struct]) -> Json:
    """Return the JSON Schema of a type, whole in itself."""
    _, found = msgspec.json.schema_components([type_], ref_template="#/$defs/{name}")
    definitions = cast("dict[str, Json]", found)
    own = definitions.pop(type_.__name__)
    for each in (own, *definitions.values()):
        if "description" in each:
            each["description"] = inspect.cleandoc(each["description"])
    return own | ({"$defs": definitions} if definitions else {})
