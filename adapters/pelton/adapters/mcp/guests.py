"""Agents outside any runtime: an executor here stands for each, and its turns wait in an inbox.

So all holds for them that holds for agents in Python: attempts, fences, deadlines, records. A lease
is one attempt of a turn: what is not done when the agent, or this process, is gone is offered again
as the next one, to whoever asks then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec
import structlog

from pelton.adapters.a2a.errors import KeyConflict
from pelton.adapters.mcp.turns import AttemptOver, TurnTools
from pelton.events import subjects
from pelton.events.card import AgentProfile, AgentSkill
from pelton.events.errors import DamagedRecord
from pelton.events.events import TurnEnded
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent, Terms
from pelton.runtime.aggregates import agents_of
from pelton.runtime.clock import World
from pelton.runtime.executor import Executor
from pelton.runtime.log import Heard, Log, LogUnavailable
from pelton.runtime.registration import register
from pelton.runtime.turn import Turn

IDLE: Final = 120.0
"""Seconds after which an agent that has asked for nothing is served here no more."""
LEASE: Final = 600.0
"""Seconds after which work is offered again whose agent has called nothing with its lease."""

_START: Final = 10.0  # seconds
_STOP: Final = 10.0  # seconds
_ENDED: Final = 10.0  # seconds that an answer may take to be stored
_LOOK: Final = 15.0  # seconds
_REMEMBERED: Final = 1024

V = TypeVar("V")

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.mcp")


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent outside has made of its work: it is what the step of its turn returns."""

    state: str
    text: str


class Work:
    """A turn that waits for its agent, or is in its hands under a lease."""

    def __init__(self, turn: Turn, lease: str) -> None:
        self.turn, self.lease = turn, lease
        self.tools = TurnTools(turn)
        self.taken = False
        self.answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()


class Guest:
    """An agent outside, as this process serves it. `close` when it is to be served no more."""

    def __init__(self, name: str, log: Log, *, world: World, tenant: str) -> None:
        self.name = name
        self._log, self._world, self._tenant = log, world, tenant
        self._works: dict[str, Work] = {}
        self._keys: OrderedDict[str, str] = OrderedDict()
        self._finished: OrderedDict[str, tuple[Answered, str]] = OrderedDict()
        self._news = asyncio.Event()
        self._executor: Executor | None = None
        self._running: asyncio.Task[None] | None = None
        self._seen = world.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since it has asked for anything."""
        return self._world.monotonic() - self._seen

    @property
    def over(self) -> bool:
        """Whether it is served no more."""
        return self._running is not None and self._running.done()

    def __iter__(self) -> Iterator[Work]:
        """Yield its work, the oldest first."""
        return iter(self._works.values())

    def beat(self) -> None:
        """Take note that it is there; what it has not taken yet may wait on."""
        self._seen = self._world.monotonic()

    def wait_on(self) -> None:
        """Let work wait that is not taken yet."""
        for work in self:
            if not work.taken:
                work.turn.beat()

    async def describe(self, profile: AgentProfile) -> str:
        """Register it by what it says of itself now; return its team, which is not its to say.

        Raises:
            LogError: the log does not take it.
        """
        agents = agents_of(self._log, self._world)
        state = await agents.load(self.name)
        await register(
            agents,
            profile,
            team=state.declared_team,
            world=self._world,
            source=f"guest/{self.name}",
            tenant=self._tenant,
        )
        return state.team

    async def start(self) -> None:
        """Register it, by what it has said of itself if it has, and take its messages.

        Raises:
            PeltonError: it cannot be.
        """
        state = await agents_of(self._log, self._world).load(self.name)
        agent = Agent(
            state.profile or profile_of(self.name),
            self._run,
            terms=Terms(inactivity=LEASE),
            team=state.declared_team,
        )
        executor = Executor(self._log, [agent], world=self._world, tenant=self._tenant)
        running = asyncio.create_task(executor.run(budget=0.0), name=f"guest {self.name}")
        ready = asyncio.create_task(executor.ready.wait(), name="ready")
        await asyncio.wait((running, ready), timeout=_START, return_when="FIRST_COMPLETED")
        ready.cancel()
        self._executor, self._running = executor, running
        if running.done():
            running.result()
        if not executor.ready.is_set():
            await self.close()
            raise LogUnavailable("the agent cannot be served now: ask again")

    async def close(self) -> None:
        """Serve it no more; what is open is handed back."""
        if self._executor is None or self._running is None:
            return
        self._executor.stop()
        self._executor.stop()  # at once
        await asyncio.wait((self._running,), timeout=_STOP)
        self._running.cancel()
        await asyncio.wait((self._running,))
        if not self._running.cancelled() and (error := self._running.exception()):
            logger.warning("guest-failed", agent=self.name, exc_info=error)

    async def _run(self, turn: Turn) -> None:
        async def at_work() -> Answered:
            work = Work(turn, self._world.new_id())
            self._works[work.lease] = work
            self._news.set()
            try:
                return await work.answer
            finally:
                del self._works[work.lease]
                await work.tools.aclose()

        done = await turn.step("work", at_work, idempotent=True)
        answered = msgspec.convert(done, Answered)
        match answered.state:
            case "failed":
                await turn.fail(answered.text)
            case "rejected":
                await turn.reject(answered.text)
            case "input-required":
                await turn.require_input(answered.text)
            case _:
                await turn.reply(answered.text)

    async def take(self, key: str, within: float, stopping: asyncio.Event) -> Work | None:
        """Take the next work, or what was taken under a key; wait for it if need be.

        Raises:
            AttemptOver: what was taken under the key is over.
        """
        if key in self._keys:
            return self.leased(self._keys[key])
        if (work := self._waiting()) is None and within:
            await self._come(within, stopping)
            work = self._waiting()
        if work is None:
            return None
        work.taken = True
        work.turn.beat()
        if key:
            _keep(self._keys, key, work.lease)
        return work

    def _waiting(self) -> Work | None:
        return next((work for work in self if not work.taken), None)

    async def _come(self, within: float, stopping: asyncio.Event) -> None:
        """Wait until work has come, so long, or until this process stops."""
        stop = asyncio.create_task(stopping.wait(), name=f"{self.name} waits for work")
        try:
            async with asyncio.timeout(within):
                while self._waiting() is None and not stop.done():
                    self._news.clear()
                    news = asyncio.create_task(self._news.wait(), name="news")
                    try:
                        await asyncio.wait((news, stop), return_when="FIRST_COMPLETED")
                    finally:
                        news.cancel()
        except TimeoutError:
            return
        finally:
            stop.cancel()

    def leased(self, lease: str) -> Work:
        """Return the work that is in hand under a lease.

        Raises:
            AttemptOver: there is none any more.
        """
        work = self._works.get(lease)
        if work is None or not work.taken:
            raise AttemptOver(
                "there is no work under this lease any more: if it is not done, inbox_pop gives it"
                " again"
            )
        return work

    async def finish(self, lease: str, answered: Answered) -> str:
        """End the work under a lease; return its task's id, once that is stored.

        Raises:
            AttemptOver: there is no such work any more.
            KeyConflict: it has ended otherwise.
            LogUnavailable: it is not known to be stored: ask again.
        """
        if lease in self._finished:
            before, task = self._finished[lease]
            if before != answered:
                raise KeyConflict("the work under this lease has ended with another answer")
            return task
        work = self.leased(lease)
        turn, ended = work.turn, asyncio.Event()

        def heard(copy: Heard) -> None:
            if _ends(copy.data, turn.task_id, turn.number):
                ended.set()

        subject = subjects.commits(self.name, turn.context_id)
        async with self._log.listen(subject, heard):
            if not work.answer.done():
                work.answer.set_result(answered)
            elif work.answer.cancelled() or work.answer.result() != answered:
                raise KeyConflict("the work under this lease ends with another answer")
            try:
                async with asyncio.timeout(_ENDED):
                    await ended.wait()
            except TimeoutError:
                raise LogUnavailable("the answer is not known to be stored") from None
        _keep(self._finished, lease, (answered, turn.task_id))
        return turn.task_id


class Guests:
    """The agents outside that are served here, for one tenant. `keep` is the work beside."""

    def __init__(self, log: Log, *, world: World, tenant: str) -> None:
        self._log, self._world, self._tenant = log, world, tenant
        self._guests: dict[str, Guest] = {}
        self._lock = asyncio.Lock()

    async def of(self, name: str) -> Guest:
        """Return an agent, served from now on.

        Raises:
            PeltonError: it cannot be served.
        """
        async with self._lock:
            guest = self._guests.get(name)
            if guest is None or guest.over:
                guest = Guest(name, self._log, world=self._world, tenant=self._tenant)
                await guest.start()
                self._guests[name] = guest
            guest.beat()
            return guest

    def here(self, name: str) -> Guest:
        """Return an agent that has joined here.

        Raises:
            AttemptOver: it has not, and so has nothing in hand.
        """
        guest = self._guests.get(name)
        if guest is None:
            raise AttemptOver("you have no work in hand here: inbox_pop gives you some")
        guest.beat()
        return guest

    async def keep(self) -> None:
        """Let what waits wait, and serve those no more that have gone; for ever."""
        try:
            while True:
                await asyncio.sleep(_LOOK)
                async with self._lock:
                    for guest in tuple(self._guests.values()):
                        guest.wait_on()
                        if guest.over or (guest.idle > IDLE and not any(w.taken for w in guest)):
                            del self._guests[guest.name]
                            await guest.close()
        finally:
            guests, self._guests = [*self._guests.values()], {}
            await asyncio.gather(*(guest.close() for guest in guests))


def profile_of(
    name: str, title: str = "", description: str = "", version: str = "1.0.0"
) -> AgentProfile:
    """Return what is said of an agent outside."""
    shown, says = title or name, description or f"The agent {name}, over MCP."
    skill = AgentSkill(id=name, name=shown, description=says, tags=(name,))
    return AgentProfile(name=name, title=shown, description=says, version=version, skills=(skill,))


def _ends(data: bytes, task_id: str, number: int) -> bool:
    """Whether a record ends a turn."""
    try:
        events = decode_commit(data).data.events
    except DamagedRecord:
        return False
    return any(
        isinstance(each, TurnEnded) and (each.task_id, each.turn) == (task_id, number)
        for each in events
    )


def _keep(known: OrderedDict[str, V], key: str, value: V) -> None:
    known[key] = value
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
