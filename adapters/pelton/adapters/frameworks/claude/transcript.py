"""A session of Claude Code in the log: its store, and one that is made of a conversation.

What the program writes into its transcript is kept as it is, run by run. A run that was cut off and
begun again has written twice: what counts is what it wrote last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import msgspec

from pelton.adapters.frameworks.conversation import Spoken
from pelton.runtime.recorder import WITHIN
from pelton.runtime.sessions import TurnSession

Json = dict[str, Any]

_BEGIN: Final = WITHIN[1:]
_REBUILT: Final = "rebuilt"


class Run(NamedTuple):
    """One run of the program: `step` of a turn's, in an attempt, by so many tries."""

    turn: str
    step: int
    attempt: int
    tries: int

    def key(self, number: int) -> str:
        """Return the key of an entry."""
        return f"{_BEGIN}{self.turn}/{self.step}/{self.attempt}/{self.tries}/{number}"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of a transcript, with the path of the one it is in, if it is a subagent's."""

    entry: Json
    path: str = ""


class Store:
    """See `SessionStore` of the SDK: what is loaded is of the runs before this one."""

    def __init__(self, session: TurnSession, run: Run, before: Iterable[Line]) -> None:
        self._session, self._run = session, run
        self._before = tuple(before)
        self._count = 0

    async def append(self, key: Mapping[str, str], entries: list[Json]) -> None:
        """Keep what the program has written."""
        for entry in entries:
            self._count += 1
            line = msgspec.to_builtins(Line(entry, key.get("subpath", "")))
            await self._session.put(self._run.key(self._count), line)

    async def load(self, key: Mapping[str, str]) -> list[Json] | None:
        """Return a transcript."""
        path = key.get("subpath", "")
        return [line.entry for line in self._before if line.path == path] or None

    async def list_subkeys(self, key: Mapping[str, str]) -> list[str]:
        """Return the paths of the transcripts of subagents."""
        del key
        return sorted({line.path for line in self._before if line.path})


def lines_before(entries: Mapping[str, Any], run: Run) -> list[Line]:
    """Return the lines of all runs before one, of each what it wrote last."""
    last: dict[tuple[str, str], tuple[int, int]] = {}
    found: list[tuple[tuple[str, str], tuple[int, int], Line]] = []
    for key, value in entries.items():
        if not key.startswith(_BEGIN):
            continue
        turn, step, attempt, tries, _ = key.removeprefix(_BEGIN).rsplit("/", 4)
        if turn == run.turn and int(step) >= run.step:
            continue
        place, written = (turn, step), (int(attempt), int(tries))
        last[place] = max(last.get(place, (0, 0)), written)
        found.append((place, written, msgspec.convert(value, Line)))
    return [line for place, written, line in found if last[place] == written]


REBUILT: Final = Run(_REBUILT, 0, 0, 0)
"""Where a transcript stands that was made of a conversation."""


def made_of(said: Iterable[Spoken], session: UUID, directory: str) -> list[Line]:
    """Return a transcript that says what was said in a conversation."""
    parent: str | None = None
    found: list[Line] = []
    for number, each in enumerate(said):
        if not each.text:
            continue
        own = str(uuid5(session, str(number)))
        entry: Json = {
            "type": each.role,
            "uuid": own,
            "parentUuid": parent,
            "sessionId": str(session),
            "timestamp": "1970-01-01T00:00:00.000Z",
            "isSidechain": False,
            "userType": "external",
            "cwd": directory,
            "version": "2.0.0",
            "message": _message(each, own),
        }
        found.append(Line(entry))
        parent = own
    return found


def _message(said: Spoken, id_: str) -> Json:
    if said.role == "user":
        return {"role": "user", "content": said.text}
    return {
        "id": f"msg_{id_}",
        "type": "message",
        "role": "assistant",
        "model": "unknown",
        "content": [{"type": "text", "text": said.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
