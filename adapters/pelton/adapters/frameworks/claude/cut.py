"""Where a run of Claude Code goes on that was cut off after its own tools had effects.

It cannot be begun anew: these tools would do again what they have done. So its transcript is taken
up to where it is whole, and each open call is given what has become of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self

from pelton.adapters.frameworks.claude.transcript import Written, blocks
from pelton.adapters.frameworks.conversation import ToolCall
from pelton.adapters.frameworks.rpc import Json, member


class Cut(NamedTuple):
    """The lines of a run that count, and its calls among these that have no result.

    There are none if nothing has had an effect: then the run is begun anew.
    """

    lines: tuple[Written, ...] = ()
    open: tuple[ToolCall, ...] = ()

    @classmethod
    def of(cls, lines: Sequence[Written], *, lasting: Callable[[ToolCall], bool]) -> Self:
        """Return where a run goes on; `lasting` says if a call may have had an effect."""
        answered = {each["tool_use_id"] for at in lines for each in blocks(at.line, "tool_result")}
        end, open_, effects = 0, tuple[ToolCall, ...](), False
        for last, message in _messages(lines):
            calls = [_call(each) for at in message for each in blocks(at.line, "tool_use")]
            open_now = tuple(call for call in calls if call.id not in answered)
            had = any(lasting(call) for call in calls)
            if not calls or (open_now and not had):
                break  # it has come to nothing: its model is asked once more
            end, open_, effects = last + 1, open_now, effects or had
            if open_:
                break
        return cls(tuple(lines[:end]), open_) if effects else cls()

    @property
    def texts(self) -> list[str]:
        """What the agent has said by then, message by message."""
        return [
            "".join(str(each["text"]) for at in message for each in blocks(at.line, "text"))
            for _, message in _messages(self.lines)
        ]


def _messages(lines: Sequence[Written]) -> Iterator[tuple[int, list[Written]]]:
    """Yield the lines of each message of the agent, with where it, and its results, end."""
    found: dict[str, list[Written]] = {}
    ends: dict[str, int] = {}
    now = ""
    for at, each in enumerate(lines):
        own = each.line.entry.get("type") == "assistant" and not each.line.path
        if own:
            now = str(member(each.line.entry, "message", "id"))
            found.setdefault(now, []).append(each)
        if own or (now and blocks(each.line, "tool_result")):
            ends[now] = at
    yield from ((ends[id_], message) for id_, message in found.items())


def _call(block: Json) -> ToolCall:
    return ToolCall(str(block["id"]), str(block["name"]), dict(block["input"]))
