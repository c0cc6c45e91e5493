"""What memory gives to an agent's code, and how it fails there."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import msgspec

from pelton.events.memories import JSON
from pelton.events.memory import MemoryRef, MemoryScope
from pelton.runtime.failures import StepError


class RecallFailed(StepError):
    """Memory cannot be searched now: what it holds is not known, which is not finding nothing.

    The agent may go on without, or let its turn fail to have it tried again (AS-54).
    """

    code = "recall-failed"


class MemoryMoved(StepError):
    """A memory has another version than the agent expected: get it and decide again."""

    code = "memory-moved"


class Remembered(NamedTuple):
    """A version of a memory, as a turn is given it.

    `writer` is the agent that wrote it, empty if a person did. `time` and `expires` are RFC 3339.
    """

    id: str
    version: int
    scope: MemoryScope
    owner: str
    writer: str
    namespace: str
    key: str
    content: str
    media_type: str
    time: str
    expires: str

    @property
    def ref(self) -> MemoryRef:
        """What names this version."""
        return MemoryRef(memory_id=self.id, version=self.version)

    @property
    def value(self) -> Any:
        """What it says, as JSON if it was put as that, else as text."""
        return msgspec.json.decode(self.content) if self.media_type == JSON else self.content

    def quoted(self) -> str:
        """Return it for a prompt, marked as what it is: an old note, and no order (AS-52).

        Nothing that it says can end the mark.
        """
        by = f"agent {self.writer}" if self.writer else "a person"
        return (
            f'<memory id="{self.id}" version="{self.version}" by="{by}" time="{self.time}">\n'
            f"{escape(self.content, quote=False)}\n</memory>"
        )


class Recall(NamedTuple):
    """A page of what was recalled. `next` is the cursor of the page after it, empty on the last."""

    items: tuple[Remembered, ...]
    next: str
    total: int

    def quoted(self) -> str:
        """Return all of it for a prompt; see `Remembered.quoted`."""
        return "\n".join(each.quoted() for each in self.items)
