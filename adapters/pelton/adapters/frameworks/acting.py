"""Adapters of agents that act by themselves: a process a conversation, kept warm, rebuilt if gone.

What such an agent does in a turn is a `Performance`; how one is spoken with says its `Client`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from pelton.adapters.frameworks import programs
from pelton.adapters.frameworks.contract import Capability, Health, SessionLost, assured
from pelton.adapters.frameworks.conversation import Conversation, Spoken, ToolCall, told
from pelton.adapters.frameworks.performance import Event, Performance, Performer
from pelton.adapters.frameworks.processes import Processes
from pelton.adapters.frameworks.warm import IDLE, KEPT, Warm
from pelton.events.errors import InvalidInput
from pelton.events.retries import Retry
from pelton.events.session import SessionReason, SessionStart
from pelton.runtime.model_gateway import ModelRoute, opened
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

_WORDS: Final = frozenset({"again", "home", "policy"})


class Client(Performer, Protocol):
    """A process with a session, for one turn after another."""

    @property
    def alive(self) -> bool:
        """Whether it can take another turn."""
        ...

    def begin(self, lines: Sequence[Spoken], done: Sequence[Spoken]) -> None:
        """Take a turn in a new session: what was said, and what the turn has come to so far."""
        ...

    def go_on(self, text: str) -> None:
        """Take another turn in a session that knows what was said before."""
        ...

    async def close(self) -> None:
        """End the process."""
        ...


class ActingAdapter:
    """The adapter of a command that acts by itself; `launch` starts one.

    It runs in `directory` with `more` in its environment, without any variable of pelton's, and
    with a home of its own, which holds the files of `home` and is deleted with it; with None it has
    the user's. `{home}` in a variable's value stands for it.

    The last `keep` processes are kept for the next turn of their conversation, `idle` seconds each.
    Any other one is told the conversation with what is said. `again` says that whatever the agent
    has in hand in a crash may be done again; else a person is asked, unless it only reads. With
    `policy`, what it asks about is for policies to decide, and for a person only if these say so.
    `retry` says how it is tried again when its model fails.
    """

    format: int = 1
    capabilities: frozenset[Capability] = frozenset(Capability) - {Capability.OPTIONS}
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        directory: str | None = None,
        more: Mapping[str, str] | None = None,
        home: Mapping[str, str] | None = {},
        again: bool = False,
        policy: bool = False,
        retry: Retry | None = None,
        keep: int = KEPT,
        idle: float = IDLE,
    ) -> None:
        if not command:
            raise InvalidInput(f"an agent needs a program: write {name}:PROGRAM ARGUMENT…")
        self.name, self.command = name, tuple(command)
        self.directory = str(Path(directory or "").resolve())
        self.more, self.home = dict(more or {}), home
        self.again, self.policy, self.retry = again, policy, retry
        self.processes = Processes()
        self.warm = Warm[_Kept](keep, idle)

    async def launch(self, route: ModelRoute | None) -> Client:
        """Start a process with a new session; with a `route`, that is the way to its models.

        Raises:
            AgentError: it cannot be started, or does not open a session.
        """
        raise NotImplementedError

    def furnished(self, route: ModelRoute | None) -> Mapping[str, str] | None:  # noqa: ARG002
        """Return the files of its home; those of some say where its model is."""
        return self.home

    async def start(self) -> None:
        """Look for the program, and start what sees to its end.

        Raises:
            AdapterError: there is no such program.
        """
        assured(await self.health())
        await self.processes.start()

    async def health(self) -> Health:
        """Look for the program."""
        return await programs.look(self.command[0], self.more.get("PATH"))

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log; a process that is kept is no more than quick."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Read the conversation."""
        conversation = Conversation(turn)
        await conversation.load(opening, await told(turn))
        warm = self.warm.take(turn.context_id)
        before = conversation.parts - {
            f"{turn.task_id}/{turn.number}/{way}" for way in ("in", "out")
        }
        if warm is not None and (
            warm.heard != before or not warm.client.alive or opening.start is SessionStart.REBUILD
        ):
            await warm.close()
            warm = None
        return _Session(self, conversation, warm)

    async def stop(self) -> None:
        """End every process."""
        await self.warm.stop()
        await self.processes.stop()


class _Kept(NamedTuple):
    """A process whose session has heard those parts of a conversation.

    `token` is what it has for its models, if the way to them is its executor's.
    """

    client: Client
    heard: frozenset[str]
    token: str

    async def close(self) -> None:
        await self.client.close()


class _Session:
    """One attempt of a turn."""

    def __init__(
        self, adapter: ActingAdapter, conversation: Conversation, warm: _Kept | None
    ) -> None:
        self._adapter, self._conversation = adapter, conversation
        self._client = warm.client if warm else None
        self._warm = warm is not None
        self._token = warm.token if warm else ""
        self._route: ModelRoute | None = None
        self._turn: Turn
        self._performance: Performance
        self._well = False

    async def turn(self, turn: Turn) -> None:
        adapter, said = self._adapter, self._conversation
        self._turn = turn
        async with self._way(turn) as route:
            self._route, self._token = route, route.token if route else ""
            self._performance = Performance(
                turn,
                self._begin,
                again=adapter.again,
                policy=adapter.policy,
                retry=adapter.retry,
                route=route,
            )
            await self._performance.run()
        said.new += self._performance.done
        await said.keep()
        self._well = True

    def _way(self, turn: Turn) -> AbstractAsyncContextManager[ModelRoute | None]:
        """Open the way to its models; in the user's home it is logged in, and has its own."""
        if self._adapter.home is None:
            return nullcontext()
        return opened(turn, anew=False, token=self._token)

    async def cancel(self) -> None:
        """Tell the agent to stop."""
        await self._performance.cancel()

    async def close(self) -> None:
        """Keep the process if the turn has ended well; else end it."""
        client, self._client = self._client, None
        if client is None:
            return
        if self._well and client.alive:
            kept = _Kept(client, self._conversation.parts, self._token)
            await self._adapter.warm.put(self._turn.context_id, kept)
        else:
            await client.close()

    async def _begin(self, done: Sequence[Spoken]) -> Performer:
        """Prompt the process that was kept, or another one with all that it has to know."""
        lines = self._conversation.lines
        if self._warm and self._client is not None and not done:
            self._warm = False
            return _GoingOn(self._client, self, lines[-1].text)
        if self._client is not None:
            await self._client.close()
            self._client = None
        self._client = await self._adapter.launch(self._route)
        self._client.begin(lines, done)
        return self._client

    async def rebuilt(self) -> Client:
        """Begin another session in place of one that the agent does not know; say so in the log."""
        self._turn.session.invalidate(SessionReason.LOST)
        await self._begin(())
        assert self._client is not None
        return self._client


class _GoingOn:
    """The process that was kept: should it not know its session, another one takes its place."""

    def __init__(self, client: Client, session: _Session, text: str) -> None:
        self._client, self._session = client, session
        self._first = True
        client.go_on(text)

    async def event(self) -> Event:
        try:
            event = await self._client.event()
        except SessionLost:
            if not self._first:
                raise
            self._client = await self._session.rebuilt()
            event = await self._client.event()
        self._first = False
        return event

    async def decide(self, call: ToolCall, *, approved: bool) -> None:
        await self._client.decide(call, approved=approved)

    async def cancel(self) -> None:
        await self._client.cancel()


def words_of(head: str, reference: str) -> frozenset[str]:
    """Return the words in `KIND[+again][+home][+policy]`, with which a reference begins.

    Raises:
        InvalidInput: it has others.
    """
    words = frozenset(head.split("+")[1:])
    if unknown := words - _WORDS:
        raise InvalidInput(f"{reference!r}: {min(unknown)!r} is none of again, home, policy")
    return words


def given(words: frozenset[str]) -> dict[str, Any]:
    """Return what the words of a reference say to an adapter."""
    return {
        "again": "again" in words,
        "policy": "policy" in words,
        "home": None if "home" in words else {},
    }
