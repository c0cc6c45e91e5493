"""A conversation as it is shown to a model, and kept in the session of its context.

For adapters whose framework keeps nothing of its own. What a turn has heard is stored when it
begins, what it has said when it ends; every call of a tool is closed, whatever has become of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any, Final, Literal

import msgspec

from pelton.events.a2a import Message, Part, Role
from pelton.events.delegation import origin
from pelton.events.session import SessionStart
from pelton.runtime.sessions import Opening, Said
from pelton.runtime.turn import Turn

LOST: Final = "There is no result: the call was cut off."
"""What stands for the result of a call whose turn ended before it had one."""

REBUILT: Final = "rebuilt"
"""The key of what was made of a conversation that another kind of agent had."""


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that a model wants to have called."""

    id: str
    name: str
    arguments: dict[str, Any]


class Spoken(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody has said; a tool's words are the result of the `call` of that id."""

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    call: str = ""


def marked(text: str, agent: str) -> str:
    """Return a text with its origin before it, if an agent wrote it: no person has (AS-52)."""
    return f"[from the agent {agent!r}, not from a person]\n{text}" if agent else text


def shown(parts: Iterable[Part]) -> str:
    """Return parts as a text: data as JSON, and what else there is by its name or address."""
    texts: list[str] = []
    for part in parts:
        if isinstance(part.text, str):
            texts.append(part.text)
        elif part.data is not msgspec.UNSET:
            texts.append(msgspec.json.encode(part.data).decode())
        elif isinstance(part.url, str):
            texts.append(f"[{part.filename or part.media_type or 'a file'} at {part.url}]")
        else:
            texts.append(f"[{part.filename or part.media_type or 'a file'}]")
    return "\n".join(texts)


def heard(turn: Turn) -> Spoken:
    """Return what a turn is told."""
    return Spoken("user", marked(shown(turn.message.parts), origin(turn.message)))


async def told(turn: Turn) -> Spoken:
    """Return what a turn is told as hooks leave it (`prompt.built`): once in each attempt.

    Raises:
        CallDenied: a hook is against it.
    """
    said = heard(turn)
    return Spoken(said.role, await turn.built(said.text))


def of(said: Said) -> Spoken:
    """Return what was said in a conversation of another kind of agent."""
    if said.role is Role.AGENT:
        return Spoken("assistant", shown(said.parts))
    return Spoken("user", marked(shown(said.parts), said.origin))


class Conversation:
    """The conversation of a turn, from the log. `load` comes first.

    An adapter may keep something else in the session beside it, under keys without a slash.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._place = f"{turn.task_id}/{turn.number}"
        self._before: dict[str, list[Spoken]] = {}
        self.new: list[Spoken] = []
        """What the turn has added: what it was told, and then what was said."""

    @property
    def lines(self) -> tuple[Spoken, ...]:
        """All of it, every call of a tool closed."""
        return tuple(closed([*chain(*self._before.values()), *self.new]))

    @property
    def parts(self) -> frozenset[str]:
        """The names of its parts, this turn's included."""
        return frozenset({*self._before, f"{self._place}/in", f"{self._place}/out"})

    def missing(self, parts: Collection[str]) -> list[Spoken]:
        """Return what was said before that is in none of these parts."""
        return [*chain(*(said for part, said in self._before.items() if part not in parts))]

    @property
    def message(self) -> Message:
        """The message of the turn; if hooks have put something else in its place, that alone."""
        first, message = self.new[0], self._turn.message
        if first == heard(self._turn):
            return message
        return msgspec.structs.replace(message, parts=(Part(text=first.text),))

    async def load(self, opening: Opening, new: Spoken) -> None:
        """Read what was said before, and keep `new`, which the turn is told."""
        session = self._turn.session
        entries = await session.entries()
        if opening.start is SessionStart.REBUILD and REBUILT not in entries:
            lines = [of(said) for said in await session.conversation()]
            await session.put(REBUILT, lines)
            entries = await session.entries()
        own = f"{self._place}/"
        for key, value in entries.items():
            if key == REBUILT or ("/" in key and not key.startswith(own)):
                self._before[key] = msgspec.convert(value, list[Spoken])
        self.new = [new]
        await session.put(f"{own}in", self.new)

    async def keep(self) -> None:
        """Keep what was said in the turn: it is over."""
        if self.new[1:]:
            await self._turn.session.put(f"{self._place}/out", self.new[1:])


def closed(lines: Sequence[Spoken]) -> Iterable[Spoken]:
    """Yield a conversation in which every call of a tool has its result right after it."""
    open_: list[str] = []
    for line in lines:
        if line.role == "tool" and line.call not in open_:
            continue  # the result of nothing
        if line.role == "tool":
            open_.remove(line.call)
        else:
            yield from (Spoken("tool", LOST, call=id_) for id_ in open_)
            open_ = [call.id for call in line.calls]
        yield line
    yield from (Spoken("tool", LOST, call=id_) for id_ in open_)
