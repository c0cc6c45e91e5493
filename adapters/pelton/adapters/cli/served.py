"""The agents that an executor serves, as the settings and their files have them, read anew at will.

What was read anew holds from the next turns on. What cannot be read leaves an agent as it was, and
both the log of the executor and that of the agent say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import structlog
from msgspec.structs import replace

from pelton.adapters.cli.equip import equipped
from pelton.adapters.cli.preflight import NotReady, prepared
from pelton.adapters.cli.references import environ_of, load_agent
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import FailureClass
from pelton.events.start import Stage
from pelton.runtime import agent_file
from pelton.runtime.outfitter import stamp
from pelton.runtime.setting_source import Source, waiting

if TYPE_CHECKING:
    from pelton.runtime.agent_file import Described
    from pelton.runtime.agents import Agent
    from pelton.runtime.executor import Executor
    from pelton.runtime.settings import Settings

LOOK: Final = 0.5
"""Seconds between two looks whether files have changed; one that still does is left alone."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class NotReloaded(PeltonError):
    """What an agent goes by was read anew, and cannot be so: it goes on with what it had.

    The text names the place in the file. Mend it; it is read again once it has changed, or at the
    next SIGHUP.
    """

    code: ClassVar[str] = "not-reloaded"

    def __init__(self, cause: PeltonError) -> None:
        super().__init__(f"it goes on as it was: {cause}")
        self.kind = getattr(cause, "kind", FailureClass.VALIDATION)


class _Loaded(NamedTuple):
    """An agent as it was loaded; if by file, with what that says and the prompt that it names."""

    agent: Agent
    described: Described | None = None
    given: Any = None


class Served:
    """The agents of `settings`, which `source` tells anew; without one they stay as they are."""

    def __init__(self, settings: Settings, source: Source | None = None) -> None:
        self._settings, self._source = settings, source
        self._read: Settings | None = None
        self._loaded: dict[str, _Loaded] = {}
        self.agents: list[Agent] = []
        """The agents, with what they go by."""

    async def load(self) -> NotReady | None:
        """Load the agents, and return what is wrong with the first one that is not ready.

        Raises:
            InvalidInput: there is none, or a reference leads to none.
            PeltonError: what they go by cannot be loaded.
        """
        if not self._settings.executor.agents:
            raise InvalidInput("there is no agent to run: name one, as in module:name or agent.py")
        lacking: NotReady | None = None
        for reference in self._settings.executor.agents:
            try:
                self._loaded[reference] = await self._prepared(reference)
            except NotReady as error:
                lacking = lacking or error  # which the log is told first
        if self._source is not None:
            self._take_in(self._source)
        self.agents = equipped([each.agent for each in self._loaded.values()], self._settings)
        return lacking

    async def follow(self, executor: Executor, anew: asyncio.Event, *, watch: bool) -> None:
        """Read anew whenever `anew` is set, and with `watch` when a file has changed; for ever."""
        if self._source is None:
            return
        taken = seen = self._look()
        while True:
            try:
                async with asyncio.timeout(LOOK if watch else None):
                    await anew.wait()
            except TimeoutError:
                before, seen = seen, self._look()
                if seen == taken or seen != before:
                    continue
            anew.clear()
            taken = self._look()
            await self._reload(self._source, executor)

    async def _reload(self, source: Source, executor: Executor) -> None:
        try:
            self._take_in(source)
        except PeltonError as error:
            for agent in self.agents:
                await _kept(executor, agent.name, error)
            return
        for at, (reference, loaded) in enumerate(tuple(self._loaded.items())):
            name = loaded.agent.name
            try:
                found = await self._anew(reference, loaded)
                (agent,) = equipped([found.agent], self._settings)
                await executor.succeed(agent)
            except PeltonError as error:
                await _kept(executor, name, error)
                continue
            self._loaded[reference], self.agents[at] = found, agent
            logger.info(
                "reloaded", agent=name, equipment=[each.name for each in agent.fitted().equipment]
            )

    def _take_in(self, source: Source) -> None:
        """Read what the settings say that agents go by, and say what of them waits for a restart.

        Raises:
            SettingsError: they cannot be read.
        """
        now = source.read()
        if self._read is not None and (paths := waiting(self._read, now)):
            logger.warning("restart-needed", settings=paths)
        self._read = now
        self._settings = replace(
            self._settings,
            policy=now.policy,
            hooks=now.hooks,
            plugins=now.plugins,
            skills=now.skills,
            agents=now.agents,
        )

    async def _prepared(self, reference: str) -> _Loaded:
        if not agent_file.is_agent_file(reference):
            return _Loaded(load_agent(reference, environ_of(self._settings)))
        return await self._described(agent_file.load(Path(reference)))

    async def _described(self, described: Described) -> _Loaded:
        agent = await prepared(described, environ_of(self._settings))
        return _Loaded(agent, described, described.given())

    async def _anew(self, reference: str, loaded: _Loaded) -> _Loaded:
        """Return an agent as its file has it now: the same if that has not changed."""
        if loaded.described is None:
            return loaded
        described = agent_file.load(Path(reference))
        if (described.says, described.given()) == (loaded.described.says, loaded.given):
            return loaded
        if described.says.name != loaded.agent.name:
            raise described.wrong("name", f"it is {loaded.agent.name!r} until a restart")
        return await self._described(described)

    def _look(self) -> tuple[object, ...]:
        """Return what the files look like from outside, to see whether any has changed."""
        return tuple(stamp(path) for path in self._files())

    def _files(self) -> Iterator[Path]:
        assert self._source is not None  # else nobody looks
        yield self._source.path
        for each in self._loaded.values():
            if each.described is not None:
                yield from (each.described.file, *each.described.prompt_files)


async def _kept(executor: Executor, agent: str, error: PeltonError) -> None:
    logger.error("not-reloaded", agent=agent, reason=str(error))
    await executor.failed(agent, Stage.PREFLIGHT, NotReloaded(error))
