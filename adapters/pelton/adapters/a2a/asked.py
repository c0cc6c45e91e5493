"""A request while it is answered: by what it came, what it asked for, and what was wrong with it.

Whoever learns one of these says so here; whoever measures and traces requests reads it at the end.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

import msgspec

GONE: Final = "gone"
"""The code of a request whose client has not waited for the answer."""


class Asked:
    """What a request is. `binding` and `method` are words of ours, never the client's.

    `id` is the one under which all that follows from it is found (AS-7), `code` that of the error
    that was its answer, if it was one, and `ours` says that this was no fault of the client's.
    `answered` says that its answer has begun. `traceparent` is for what follows from it.
    """

    __slots__ = (
        *("answered", "began", "binding", "code", "id", "method", "ours", "tenant", "traceparent"),
    )

    def __init__(self, began: float, binding: str = "", method: str = "") -> None:
        self.began = began
        self.binding, self.method = binding, method
        self.tenant = self.code = self.id = ""
        self.ours = self.answered = False
        self.traceparent: str | msgspec.UnsetType = msgspec.UNSET

    def be(self, binding: str, method: str) -> None:
        """Say what it asks for, and how it came."""
        self.binding, self.method = binding, method

    def refuse(self, code: str, *, ours: bool) -> None:
        """Say that its answer is an error."""
        self.code, self.ours = code, ours

    @property
    def outcome(self) -> str:
        """How it ended: `ok`, `refused`, `failed`, or `gone`."""
        if not self.code:
            return "ok"
        if self.code == GONE:
            return GONE
        return "failed" if self.ours else "refused"


_NOBODY: Final = Asked(0.0)
ASKED: Final[ContextVar[Asked]] = ContextVar("asked", default=_NOBODY)
"""The request that is being answered."""
