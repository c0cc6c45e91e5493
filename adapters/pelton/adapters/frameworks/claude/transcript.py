"""A session of Claude Code in the log: what the program has written, and what of it counts.

What it writes into its transcript is kept as it is, run by run, try by try. A try either begins its
run anew, and then nothing counts that was written in the run before; or it goes on from an entry of
an earlier try, and then all counts up to there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import msgspec

from pelton.adapters.frameworks.conversation import Spoken
from pelton.adapters.frameworks.rpc import Json, elements, member
from pelton.runtime.recorder import WITHIN

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


class Place(NamedTuple):
    """Where an entry stands among those of its run."""

    attempt: int
    tries: int
    number: int


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of a transcript, with the path of the one it is in, if it is a subagent's.

    With `after` it is none, but says that its try goes on after that entry.
    """

    entry: Json = {}
    path: str = ""
    after: Place | None = None


class Written(NamedTuple):
    """A line and its place."""

    place: Place
    line: Line


_Tries = dict[tuple[int, int], list[Written]]


def lines_before(entries: Mapping[str, Any], run: Run) -> list[Line]:
    """Return the lines of all runs before one, as far as they count."""
    return [
        each.line
        for (turn, step), tries in _runs(entries).items()
        if turn != run.turn or step < run.step
        for each in _counted(tries)
    ]


def lines_so_far(entries: Mapping[str, Any], run: Run) -> list[Written]:
    """Return what was written in earlier tries of a run, as far as it counts."""
    return [*_counted(_runs(entries).get((run.turn, run.step), {}))]


def _runs(entries: Mapping[str, Any]) -> dict[tuple[str, int], _Tries]:
    found: dict[tuple[str, int], _Tries] = {}
    for key, value in entries.items():
        if not key.startswith(_BEGIN):
            continue
        turn, step, attempt, tries, number = key.removeprefix(_BEGIN).rsplit("/", 4)
        place = Place(int(attempt), int(tries), int(number))
        lines = found.setdefault((turn, int(step)), {}).setdefault(place[:2], [])
        lines.append(Written(place, msgspec.convert(value, Line)))
    return found


def _counted(tries: _Tries) -> Iterator[Written]:
    """Yield what the last try has written, after what it goes on from."""
    if not tries:
        return
    last = max(tries)
    first, *_ = lines = tries[last]
    if (after := first.line.after) is not None:
        before = {each: written for each, written in tries.items() if each < last}
        yield from (each for each in _counted(before) if each.place <= after)
        lines = lines[1:]
    yield from lines


REBUILT: Final = Run(_REBUILT, 0, 0, 0)
"""Where a transcript stands that was made of a conversation."""


def blocks(line: Line, kind: str) -> list[Json]:
    """Return the blocks of that kind in a message of the agent's own transcript."""
    if line.path:
        return []
    content = elements(member(line.entry, "message", "content"))
    return [each for each in content if member(each, "type") == kind]


def made_of(said: Iterable[Spoken], session: UUID, directory: str) -> list[Line]:
    """Return a transcript that says what was said in a conversation."""
    found: list[Line] = []
    parent: str | None = None
    for number, each in enumerate(said):
        if not each.text:
            continue
        own = str(uuid5(session, str(number)))
        head = {
            "sessionId": str(session),
            "timestamp": "1970-01-01T00:00:00.000Z",
            "isSidechain": False,
            "userType": "external",
            "cwd": directory,
            "version": "2.0.0",
        }
        entry = {**head, "type": each.role, "uuid": own, "parentUuid": parent}
        found.append(Line({**entry, "message": _message(each, own)}))
        parent = own
    return found


def results(open_: Sequence[tuple[str, str]], after: Line, session: UUID) -> list[Line]:
    """Return lines that give calls, by their ids, what has become of them."""
    found: list[Line] = []
    head = {
        name: value
        for name, value in after.entry.items()
        if name not in ("type", "uuid", "parentUuid", "message", "requestId")
    }
    parent = after.entry["uuid"]
    for id_, text in open_:
        own = str(uuid5(session, f"result {id_} {parent}"))
        block = {"type": "tool_result", "tool_use_id": id_, "content": text}
        entry = {**head, "type": "user", "uuid": own, "parentUuid": parent}
        found.append(Line({**entry, "message": {"role": "user", "content": [block]}}))
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
