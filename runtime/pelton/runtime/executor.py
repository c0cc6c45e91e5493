"""Executors: they hear bells, take contexts in hand, run agents and append what happened.

Exclusion is the expectation on every append and nothing else (law 3): whoever is slower is refused
and stops. A bell that we hold rings nowhere else; the lease keeps others from a context whose turn
outlives its first commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from pelton.events import subjects
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import TurnEnded
from pelton.events.presence import Beat
from pelton.events.start import Stage
from pelton.projections.folds import Folds
from pelton.runtime.agents import Agent
from pelton.runtime.aggregates import agents_of, schedules_of
from pelton.runtime.assignment import Host
from pelton.runtime.attempt import SETTLE
from pelton.runtime.budgets import Budgets
from pelton.runtime.clock import World
from pelton.runtime.contexts import Contexts
from pelton.runtime.initial import prompt
from pelton.runtime.log import Bell, Bells, Conflict, Log, LogUnavailable
from pelton.runtime.memories import Memories
from pelton.runtime.model_gateway import ModelGateway
from pelton.runtime.observer import UNOBSERVED, Observer
from pelton.runtime.outbox import Outbox
from pelton.runtime.patience import patiently, why
from pelton.runtime.plugin import PluginRefused
from pelton.runtime.presence import Presence
from pelton.runtime.prompts import Prompts
from pelton.runtime.registration import register
from pelton.runtime.remote import Remote, Remotes
from pelton.runtime.seats import Seats
from pelton.runtime.starting import failed, reached, recovered
from pelton.runtime.steps import Steps
from pelton.runtime.supervised import supervised
from pelton.runtime.timetable import Timetable, declare
from pelton.runtime.vault import ContentSealed
from pelton.runtime.work import HandedBack, Work

if TYPE_CHECKING:
    from pelton.runtime.semantic import Embed

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class InHand(Protocol):
    """An aggregate in hand: what its bell calls for is being done.

    `rung` says that commands came whose bells were not kept; with `look_again`, commands may have
    come unheard.
    """

    agent: Agent
    bell: Bell
    rung: bool
    look_again: bool

    @property
    def place(self) -> str:
        """Which one it is."""
        ...

    def succeed(self, agent: Agent) -> None:
        """Go by another agent of the same name, from the next turn on."""
        ...

    async def drain(self) -> float | None:
        """Do all there is to do; return in how many seconds the bell is to ring again, if it is."""
        ...

    async def keep(self) -> None:
        """Keep it in hand."""
        ...

    def hand_back(self) -> None:
        """Stop soon, and leave what is open to the next executor."""
        ...

    def forget(self) -> None:
        """Drop what is remembered: somebody else has written."""
        ...

    async def put_down(self) -> None:
        """Give up what is held but the bell."""
        ...


class Executor:
    """Serves agents: `run` until `stop`.

    `capacity` is how many contexts of each agent it works on at once; `patience` after how many
    seconds of its silence others take over; `tenant` what its own records name; `remote` asks the
    agents elsewhere that work is delegated to, `steps` makes what calls the functions of steps, and
    `embed` the vectors of texts, to recall them by meaning. `gateway` is where the calls of models
    go that agents make elsewhere than in steps, `budgets` says how many of all there may be, and
    `observer` hears of what is done. `folds` are those of long contexts, if they are kept.
    """

    def __init__(
        self,
        log: Log,
        agents: Sequence[Agent],
        *,
        world: World,
        tenant: str = "local",
        capacity: int = 64,
        patience: float = 3.0,
        remote: Remote | None = None,
        steps: Callable[..., Steps] = Steps,
        embed: Embed | None = None,
        gateway: ModelGateway | None = None,
        budgets: Budgets | None = None,
        observer: Observer = UNOBSERVED,
        folds: Folds | None = None,
    ) -> None:
        self._log, self._world = log, world
        self._seats = Seats(agents, self._used, gateway)
        self._tenant, self._capacity, self._patience = tenant, capacity, patience
        self._works: dict[str, InHand] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard: dict[str, tuple[Bells, asyncio.Task[None]]] = {}
        self._unfit: set[str] = set()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self.id = world.new_id()
        """Who this executor is in the log."""
        contexts, remotes = Contexts(log, folds=folds), Remotes(remote, world=world)
        outbox = Outbox(log, world=world, remotes=remotes, attention=4 * patience)
        agents_ = agents_of(log, world)
        self._host = Host(
            log=log,
            world=world,
            contexts=contexts,
            agents=agents_,
            schedules=schedules_of(log, world),
            outbox=outbox,
            prompts=Prompts(contexts, outbox, world=world),
            memories=Memories(log, world=world, agents=agents_, tenant=tenant, embed=embed),
            executor=self.id,
            tenant=tenant,
            patience=patience,
            hurry=self._hurry,
            ended=self._ended,
            blind=self._blind,
            steps=steps,
            gateway=gateway,
            budgets=budgets,
            observer=observer,
        )
        self.rang_again = 0
        """How many bells rang here that had rung before: timers, retries, and what others lost."""
        self.blind: Final = set[str]()
        """The agents of which something is sealed that cannot be read here."""
        self._presence = Presence(self._host, agents, left=self._leave)
        self.ready = asyncio.Event()
        """Set once its agents are registered, their bells heard, and both is said."""

    @property
    def active(self) -> int:
        """How many contexts are in hand."""
        return len(self._works)

    def stop(self) -> None:
        """Take no more work; what runs may finish. Called again: hand back at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self, *, budget: float = 10.0, serves: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is called; then finish what runs within `budget` seconds.

        What is not finished by then is handed back, for another executor to go on with. `serves` is
        called once it is ready, which it never is if it is told to stop before.

        Raises:
            LogError: the log cannot be reached at the start.
            PeltonError: an agent cannot be opened.
        """
        await self._presence.say(Beat.STARTING)
        try:
            for agent in self._seats:
                await self._open(agent)
            await self._serve(budget, serves)
        finally:
            await self._seats.aclose()
        logger.info("executor-stopped", executor=self.id, rang_again=self.rang_again)

    async def failed(self, agent: str, stage: Stage, error: Exception) -> None:
        """Say that an agent has failed at a stage of its start: operators find it in the log."""
        await self._in_time(failed(self._host, agent, stage, error))

    async def succeed(self, agent: Agent) -> None:
        """Let an agent take the place of the one of its name, from the next turns on.

        Turns that run go on as they have begun. When it cannot be opened, all stays as it is.

        Raises:
            InvalidInput: none of that name is served here.
            PeltonError: it cannot be opened, or the log does not take what it says of itself.
        """
        host, name = self._host, agent.name
        await self._seats.succeed(agent)
        self._presence.succeed(agent)
        for work in self._works.values():
            if work.agent.name == name:
                work.succeed(agent)
        await self._register(agent)
        await prompt(host, agent)
        await declare(host, name, agent.schedules)
        await recovered(host, name)

    def _used(self, agent: Agent) -> bool:
        return any(work.agent is agent for work in self._works.values())

    async def _open(self, agent: Agent) -> None:
        """Start what runs an agent; what it came through is told once that is done.

        So one that is tried again and again, and fails, does not fill the log.
        """
        stages = [Stage.PREFLIGHT] if agent.checked else []
        try:
            await self._seats.open(agent)
        except Exception as error:
            await self.failed(agent.name, Stage.ADAPTER, error)
            raise
        if agent.opened is not nullcontext:
            stages.append(Stage.ADAPTER)
        await reached(self._host, agent.name, *stages)

    async def _register(self, agent: Agent) -> None:
        await register(
            self._host.agents,
            agent.profile,
            team=agent.team,
            world=self._world,
            source=self._host.source,
            tenant=self._tenant,
        )

    async def _serve(self, budget: float, serves: Callable[[], None]) -> None:
        for agent in self._seats:
            await self._register(agent)
        async with AsyncExitStack() as stack:
            heard = [
                (agent.name, await stack.enter_async_context(self._bells(agent)))
                for agent in self._seats
            ]
            stack.callback(self._log.on_restored(self._restored))
            stack.push_async_callback(self._host.outbox.aclose)
            stack.push_async_callback(self._host.memories.aclose)
            async with asyncio.TaskGroup() as group:
                for name, bells in heard:
                    hearing = self._kept(partial(self._hear, name, bells), "hear", name)
                    self._heard[name] = bells, group.create_task(hearing)
                lasting = (
                    self._kept(self._beat, "beat"),
                    self._kept(self._presence.stay, "stay"),
                    self._watch(serves),
                )
                background = [group.create_task(each) for each in lasting]
                await self._stopping.wait()
                for name in tuple(self._heard):
                    await self._leave(name)
                if self._tasks:
                    await self._in_time(self._presence.drain())
                await self._finish(budget)
                for each in background:
                    each.cancel()
                await self._in_time(self._presence.leave())

    async def _watch(self, serves: Callable[[], None]) -> None:
        """Say that the agents are served, then what they are told unasked; see to all from then."""
        await patiently(self._presence.serve, "presence")
        for agent in self._seats:
            host, name = self._host, agent.name
            started = agent.checked or agent.opened is not nullcontext
            if started:
                await patiently(partial(reached, host, name, Stage.SERVING), name)
            else:
                await patiently(partial(recovered, host, name), name)
            await self._in_time(self._look_at_keys(name))
            await self._in_time(prompt(host, agent))  # else it is found unsent, and sent
            await patiently(partial(declare, host, name, agent.schedules), name)
        self.ready.set()
        serves()
        await self._kept(self._presence.watch, "watch")

    async def _look_at_keys(self, agent: str) -> None:
        """Say so if this executor lacks the keys of what an agent is told and says."""
        if self._log.vault is None:
            return
        self.blind.discard(agent)  # what was said before it served does not count any more
        try:
            await self._log.vault.probe(agent)
        except ContentSealed as error:
            await self._blind(agent, error)

    async def _blind(self, agent: str, error: ContentSealed) -> None:
        """Say that what is sealed of an agent cannot be read here: in the agent's log, once."""
        logger.error("cannot-read", agent=agent, code=error.code, reason=str(error))
        if agent in self.blind:
            return
        self.blind.add(agent)
        self._presence.troubled(agent)
        await self.failed(agent, Stage.SERVING, error)

    async def _kept(self, loop: Callable[[], Awaitable[None]], what: str, agent: str = "") -> None:
        """Run a loop of this executor; a crash of it degrades its agents, and it begins anew."""
        concerned = [agent] if agent else [each.name for each in self._seats]

        async def crashed(error: Exception) -> None:
            for name in concerned:
                self._presence.troubled(name)
                await self.failed(name, Stage.SERVING, error)

        await supervised(loop, what, world=self._world, crashed=crashed)

    async def _in_time(self, saying: Coroutine[Any, Any, None]) -> None:
        """Write down what others can do without: they see it later, or in what is logged here."""
        try:
            async with asyncio.timeout(self._patience):
                await saying
        except (PeltonError, TimeoutError) as error:
            logger.warning("left-unsaid", reason=why(error))

    async def _leave(self, agent: str) -> None:
        """Take no more work for an agent; what runs may finish."""
        bells, loop = self._heard.pop(agent)
        await bells.quiet()
        loop.cancel()

    def _ended(self, agent: str, event: TurnEnded) -> None:
        self._presence.ended(agent, event)

    def _bells(self, agent: Agent) -> AbstractAsyncContextManager[Bells]:
        return self._log.bells(agent.name, capacity=self._capacity, patience=self._patience)

    async def _finish(self, budget: float) -> None:
        """Wait for what runs; hand back what does not end in time."""
        if self._tasks:
            hurry = asyncio.ensure_future(self._hurry.wait())
            ended = asyncio.ensure_future(asyncio.wait(self._tasks))
            await asyncio.wait((hurry, ended), timeout=budget, return_when="FIRST_COMPLETED")
            hurry.cancel()
            ended.cancel()
        for work in tuple(self._works.values()):
            work.hand_back()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * SETTLE)
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _hear(self, agent: str, bells: Bells) -> None:
        while True:
            bell = await bells.next()
            self.rang_again += bell.deliveries > 1
            self._host.observer.rang(agent, again=bell.deliveries > 1)
            subject = bell.record.subject
            work = self._works.get(subject)
            if work is not None:
                await self._merge(work, bell)
                continue
            try:
                work = self._take(self._seats[agent], bell)
            except InvalidInput as error:  # no context has that subject: nobody can answer there
                logger.warning("command-nowhere", sequence=bell.record.sequence, reason=str(error))
                await bell.done()
                continue
            self._works[subject] = work
            task = asyncio.create_task(self._work(work), name=f"work {agent}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take(self, agent: Agent, bell: Bell) -> InHand:
        subject = subjects.parse(bell.record.subject)
        if subject.beside:
            return Timetable(agent, bell, self._host)
        return Work(agent, subject.context, bell, self._host)

    async def _merge(self, work: InHand, bell: Bell) -> None:
        """Take a bell for a context that is in hand.

        It must ring again unless its command is decided and its turn over: the bell in hand cannot
        stand for it, since it may have lapsed, rung elsewhere and be answered there.
        """
        if bell.record.sequence == work.bell.record.sequence:  # it rang again: we were too quiet
            work.bell = bell
            return
        work.rung = True
        await bell.hand_back(self._patience)

    async def _beat(self) -> None:
        """Keep what is in hand: bells, and the leases of turns that last."""
        while True:
            await asyncio.sleep(self._patience / 3)
            await asyncio.gather(*[self._keep(work) for work in tuple(self._works.values())])

    async def _keep(self, work: InHand) -> None:
        try:
            async with asyncio.timeout(self._patience / 3):
                await work.keep()
        except (PeltonError, TimeoutError) as error:
            work.look_again = True
            logger.warning("cannot-keep", place=work.place, reason=why(error))

    def _restored(self) -> None:
        for work in self._works.values():
            work.look_again = True

    async def _work(self, work: InHand) -> None:
        """Work on one context until it has no work, and answer its bell."""
        delay: float | None = 0.0  # what ends otherwise than well rings again, cancelled work too
        try:
            delay = await work.drain()
            await self._fit(work.agent)
        except HandedBack as back:
            delay = back.delay
        except Conflict:
            work.forget()
            self._host.observer.fenced(work.agent.name)
            logger.warning("fenced", place=work.place)
            delay = 0.5
        except LogUnavailable as error:
            logger.warning("log-unavailable", place=work.place, reason=str(error))
            delay = 1.0
        except PluginRefused as error:
            delay = _later(work.bell)
            logger.warning("turns-wait", place=work.place, reason=str(error), again_in=delay)
            self._unfit.add(work.agent.name)
            await self.failed(work.agent.name, Stage.PREFLIGHT, error)
        except Exception:
            delay = _later(work.bell)
            logger.exception("context-failed", place=work.place, again_in=delay)
        finally:
            await self._put_down(work, delay)

    async def _fit(self, agent: Agent) -> None:
        """Say that an agent is well again whose turns had to wait for what it goes by."""
        if agent.name in self._unfit:
            with suppress(PluginRefused):  # what was done did not need it
                agent.fitted()
                self._unfit.discard(agent.name)
                await self._in_time(recovered(self._host, agent.name))

    async def _put_down(self, work: InHand, delay: float | None) -> None:
        del self._works[work.bell.record.subject]
        self._seats.look()
        try:
            await work.put_down()
            if delay is None:
                await work.bell.done()
            else:
                await work.bell.hand_back(delay)
        except PeltonError as error:  # the bell rings again by itself
            logger.warning("cannot-put-down", place=work.place, reason=str(error))


def _later(bell: Bell) -> float:
    """Return in how many seconds to try again what has failed here as often as a bell has rung."""
    return min(60.0, 0.5 * 2.0 ** min(bell.deliveries, 10))
