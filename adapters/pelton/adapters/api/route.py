"""What a route of the API is: a path, who may ask for it, and what answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from pelton.adapters.a2a.errors import PathNotFound
from pelton.adapters.a2a.sse import Receive
from pelton.adapters.a2a.tenants import Tenant
from pelton.adapters.api import shapes
from pelton.events.errors import InvalidInput
from pelton.events.principal import Principal, Scope

V = TypeVar("V", bound=msgspec.Struct)


class Ask(NamedTuple):
    """A request that is let in: by whom, of what tenant, and what the path and the query say.

    `url` returns the URL of an agent.
    """

    tenant: Tenant
    principal: Principal
    url: Callable[[str], str]
    name: str
    query: Any


class Knock(NamedTuple):
    """A request to what is served beside the routes, below a path: its body is not read yet.

    `base` is the URL below which the tenant's agents are.
    """

    method: str
    path: Sequence[str]
    headers: Mapping[bytes, bytes]
    receive: Receive
    base: str
    correlation: str


class Route(NamedTuple):
    """A path of a name, perhaps a parameter, and perhaps a `tail`, and who may ask for it."""

    id: str
    path: str
    parameter: str
    scope: Scope
    query: type[shapes.Query]
    answer: type[msgspec.Struct]
    does: Callable[[Ask], Awaitable[msgspec.Struct]]
    tail: str = ""

    @property
    def text(self) -> str:
        """What it is for."""
        return (self.does.__doc__ or "").strip().partition("\n")[0]


class RecordNotFound(PathNotFound):
    """The log has no record of that sequence."""

    code = "record-not-found"


def sequence_of(text: str) -> int:
    """Return the sequence of the log that a text is.

    Raises:
        InvalidInput: it is none.
    """
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 16 and int(text)):
        raise InvalidInput("this is no sequence of the log", field="sequence")
    return int(text)


def shown(shape: type[V], entry: msgspec.Struct, **instead: object) -> V:
    """Return an entry of the read models in a shape whose members have the same names."""
    members = {name: getattr(entry, name) for name in shape.__struct_fields__}
    return shape(**members | instead)
