"""Seats: which agent has a name at an executor, with what it has open, and who has it next.

An agent that another takes the place of goes on with the turns that it has in hand; what it has
open is closed when the last of them is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack

import structlog

from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent
from pelton.runtime.model_gateway import ModelGateway

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Seats:
    """The agents of an executor. `used` says whether a context in hand still goes by an agent.

    `gateway` is the executor's, to models.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        used: Callable[[Agent], bool],
        gateway: ModelGateway | None,
    ) -> None:
        self._gateway = gateway
        self._agents = {agent.name: agent for agent in agents}
        self._used = used
        self._open: dict[str, AsyncExitStack] = {}
        self._leaving: list[tuple[Agent, AsyncExitStack]] = []
        self._closing: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Agent]:
        """Yield the agents."""
        return iter(tuple(self._agents.values()))

    def __getitem__(self, name: str) -> Agent:
        """Return the agent of a name."""
        return self._agents[name]

    async def open(self, agent: Agent) -> None:
        """Enter what an agent needs as long as it is served."""
        self._open[agent.name] = await self._opened(agent)

    async def succeed(self, agent: Agent) -> None:
        """Let an agent take the place of the one of its name, for whatever begins from now on.

        What both of them open alike stays open.

        Raises:
            InvalidInput: none of that name is served here.
        """
        before = self._agents.get(agent.name)
        if before is None:
            raise InvalidInput(f"no agent {agent.name!r} is served here: it takes a restart")
        if agent.opened is not before.opened:
            opened = await self._opened(agent)
            self._leaving.append((before, self._open[agent.name]))
            self._open[agent.name] = opened
        self._agents[agent.name] = agent
        self.look()

    def look(self) -> None:
        """Begin to close what nobody uses any more."""
        leaving, self._leaving = self._leaving, []
        for agent, opened in leaving:
            if self._used(agent):
                self._leaving.append((agent, opened))
                continue
            task = asyncio.create_task(_closed(agent, opened), name=f"close {agent.name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _opened(self, agent: Agent) -> AsyncExitStack:
        stack = AsyncExitStack()
        await stack.enter_async_context(agent.opened(self._gateway))
        return stack

    async def aclose(self) -> None:
        """Close all that is open."""
        if self._closing:
            await asyncio.wait(self._closing)
        for agent, opened in self._leaving:
            await _closed(agent, opened)
        async with AsyncExitStack() as all_:  # the last that was opened first
            for opened in self._open.values():
                all_.push_async_callback(opened.aclose)


async def _closed(agent: Agent, opened: AsyncExitStack) -> None:
    """Close what a predecessor has left open; what fails there concerns nobody any more."""
    try:
        await opened.aclose()
    except Exception:
        logger.exception("predecessor-does-not-close", agent=agent.name)
