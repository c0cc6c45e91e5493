"""What a route of the debugger's API is: a path, and what answers a request for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from pelton.adapters.api.route import Ask as AskApi
from pelton.adapters.api.shapes import (
    Query,
)
from pelton.adapters.debug.conversation import Conversation
from pelton.adapters.debug.desk import Desk

T = TypeVar("T")


class Ask(NamedTuple):
    """A request: of what, by the names in its path, with what query."""

    desk: Desk
    names: tuple[str, ...]
    query: Any
    body: Any = None

    async def look(self, see: Callable[[Conversation, Any], T]) -> T:
        """Return what `see` finds in the conversation that the path names, by the query."""
        query = self.query
        return await self.desk.look(self.names[0], query.fork, lambda found: see(found, query))

    @property
    def api(self) -> AskApi:
        """The same request as one of the bridge's own API, of its operator."""
        name = self.names[0] if self.names else ""
        return AskApi(self.desk.tenant, self.desk.principal, str, name, self.query)


class Route(NamedTuple):
    """A path, whose segments in braces are names, and what answers a GET of it.

    With `body`, a POST that holds one.
    """

    path: str
    query: type[Query]
    does: Callable[[Ask], Awaitable[msgspec.Struct]]
    body: type[msgspec.Struct] | None = None
