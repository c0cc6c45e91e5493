"""Sending notifications: a config is a subscriber to its task that is posted to.

Every bridge knows from the log which configs are open; the one that holds the lease posts for
them. The lease is a hint: should two post at once, a receiver gets something twice, which the id of
the notification tells it. How far each config is stands in the log: whoever comes next goes on
there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import structlog

from pelton.adapters.a2a import legacy
from pelton.adapters.a2a.waits import SlowReader, Update, Updates
from pelton.adapters.push.configs import PushTools, reveal, seal
from pelton.adapters.push.keys import KeyMissing
from pelton.adapters.push.notifications import notification
from pelton.adapters.push.webhooks import Answer
from pelton.events import subjects
from pelton.events.a2a import StreamResponse
from pelton.events.commit import Origin
from pelton.events.errors import PeltonError
from pelton.events.ids import context_of
from pelton.events.push import (
    AnyPushEvent,
    PushConfigured,
    PushDelivered,
    PushEnd,
    PushEnded,
    PushFailed,
)
from pelton.events.pushes import Push, Pushes, advance, create, notification_id, remove
from pelton.runtime.bulk import inline_task
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.log import Lease, Log, LogError

TTL: Final = 3.0
"""Seconds after which another bridge sends, when the one that did has died."""
_PAUSE: Final = 1.0
_TROUBLE: Final = 30.0
AT_ONCE: Final = 512
"""How many posts of a tenant are under way at a time."""
_SILENCES: Final = 4
"""How often a stream is silent (15 s each) until a message that never came is given up."""

Follow = Callable[[str, str, Updates, int], AsyncGenerator[Update | None]]
"""Yields what a stream shows of a task after an event: of what agent and context, and how."""

Key = tuple[str, str, str, int]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("pelton.push")


class Retries(NamedTuple):
    """How often a notification is tried, and how many seconds lie between the attempts."""

    attempts: int = 16
    first: float = 1.0
    longest: float = 3600.0

    def wait(self, attempt: int, again: float, chance: float) -> float:
        """Return how long to wait after an attempt; `chance` is from 0 to 1.

        Twice as long each time, or as long as the receiver has asked for, but never longer than the
        longest; up to half of it is left to chance.
        """
        doubled = self.first * 2.0 ** min(attempt - 1, 30)
        backoff = min(doubled, self.longest) * (1.0 - chance / 2.0)
        return max(backoff, min(again, self.longest))


class Sender:
    """Posts the notifications of a tenant; `run` is for ever."""

    def __init__(
        self,
        log: Log,
        tools: PushTools,
        follow: Follow,
        contexts: Contexts,
        *,
        world: World,
        source: str,
        tenant: str,
        retries: Retries,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._log, self._tools, self._follow, self._contexts = log, tools, follow, contexts
        self._pushes, self._world, self._tenant = tools.log, world, tenant
        self._retries, self._told = retries, told
        self._id = source
        self._working: dict[Key, asyncio.Task[None]] = {}
        self._free = asyncio.Semaphore(AT_ONCE)
        self._leading = self._known = False

    async def run(self) -> None:
        """Know what is open, and post while this one is the sender."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._index(), name="push-index")
            group.create_task(self._lead(), name="push-lead")

    async def _index(self) -> None:
        """Take in what the log says of configs."""
        position = 0
        while True:
            try:
                scan = self._log.scan(after=position, pattern=subjects.ALL_PUSH, live=True)
                async with aclosing(scan) as batches:
                    async for batch in batches:
                        for record in batch:
                            await self._pushes.take(record)
                            position = record.sequence
                        self._known |= not batch  # the end of the log was reached
                        self._tend()
            except LogError as error:
                logger.warning("push-configs-not-read", code=error.code)
                await asyncio.sleep(_PAUSE + self._world.random.random())

    async def _lead(self) -> None:
        """Take the lease whenever nobody has it, and keep it."""
        try:
            while True:
                try:
                    lease = await self._log.lease(subjects.PUSH, "sender", holder=self._id, ttl=TTL)
                    if lease is not None:
                        await self._keep(lease)
                except LogError as error:
                    logger.warning("push-lease-not-kept", code=error.code)
                await asyncio.sleep(_PAUSE * (0.5 + self._world.random.random()))
        finally:
            await self._rest()

    async def _keep(self, lease: Lease) -> None:
        logger.info("push-sends", sender=self._id)
        self._leading = True
        try:
            self._tend()
            renewed = True
            while renewed:
                await asyncio.sleep(TTL / 3)
                renewed = await lease.renew()
        finally:
            self._leading = False
            await self._rest()
            with contextlib.suppress(LogError):  # it ends by itself
                await lease.release()

    async def _rest(self) -> None:
        """Post nothing any more."""
        working = tuple(self._working.values())
        for task in working:
            task.cancel()
        if working:
            await asyncio.wait(working)

    def _tend(self) -> None:
        """Work for what is open, and for nothing else."""
        if not (self._leading and self._known):
            return
        wanted: dict[Key, Push] = {
            (state.agent, state.task_id, push.id, push.made): push
            for state in self._pushes
            for push in state.configs.values()
            if push.end is None
        }
        for key, task in self._working.items():
            if key not in wanted:
                task.cancel()
        for key in wanted.keys() - self._working.keys():
            task = asyncio.create_task(self._work(key), name=f"push {key[1]}")
            self._working[key] = task
            task.add_done_callback(partial(self._worked, key))

    def _worked(self, key: Key, _: asyncio.Task[None]) -> None:
        del self._working[key]

    async def _work(self, key: Key) -> None:
        """Post for a config until it has ended."""
        agent, task, config_id, made = key
        while True:
            try:
                state = await self._pushes.load(agent, task)  # another may have posted until now
                push = state.current(config_id, made)
                if push is None:
                    return
                await self._wait(push)
                await self._deliver(agent, task, push)
            except SlowReader:
                continue  # the receiver is slower than the agent: what waited is read from the log
            except LogError as error:
                logger.warning("push-log-away", task=task, config=config_id, code=error.code)
                await asyncio.sleep(_PAUSE + self._world.random.random())
            except Exception:  # one config's trouble is no other's
                logger.exception("push-trouble", task=task, config=config_id)
                await asyncio.sleep(_TROUBLE)

    async def _wait(self, push: Push) -> None:
        if push.retry:
            left = datetime.fromisoformat(push.retry) - self._log.now
            await asyncio.sleep(min(left.total_seconds(), self._retries.longest))

    async def _deliver(self, agent: str, task: str, push: Push) -> None:
        """Post what a config has not got yet, up to what fails, or is the last."""
        context = context_of(task)
        updates = Updates(
            context, task, command="" if push.position else push.command_id, after=push.position
        )
        silences = 0
        try:
            async with aclosing(self._follow(agent, context, updates, push.position)) as stream:
                async for update in stream:
                    silences = silences + 1 if update is None else 0
                    if update is not None:
                        if updates.task != task:
                            await self._move(agent, push, task, updates.task, update.sequence - 1)
                            return
                        last = updates.complete and not updates.waiting
                        pushed = await self._post(agent, task, push, update, last=last)
                        if pushed is None:
                            return
                        push = pushed
                    elif silences == _SILENCES and await self._never_came(agent, context, push):
                        await self._end(agent, task, push, PushEnd.REFUSED)
                        return
        except (SlowReader, LogError):
            raise
        except PeltonError:
            state = await self._contexts.load(agent, context)
            if push.position or push.command_id not in state.rejected:
                raise
            await self._end(agent, task, push, PushEnd.REFUSED)
            return
        if updates.complete:
            await self._end(agent, task, push, PushEnd.COMPLETE)
        else:  # the bridge stops, and ends all streams
            await asyncio.sleep(_PAUSE)

    async def _move(self, agent: str, push: Push, task: str, taker: str, after: int) -> None:
        """Give a config to the task that has taken the message it came with, as a turn may."""
        config = reveal(self._tools.keys, self._tenant, self._pushes.known(agent, task), push)
        origin = Origin(self._id, self._tenant, push.creator, push.correlation, push.cause)

        def decide(state: Pushes) -> Sequence[AnyPushEvent]:
            sealed = seal(
                self._tools.keys, self._tenant, state, config, id_=push.id, origin=push.origin
            )
            event = PushConfigured(
                task_id=taker,
                config_id=push.id,
                sealed=sealed.text,
                key_id=sealed.key_id,
                origin=push.origin,
                after=after,
                command_id=push.command_id,
                protocol=push.protocol,
            )
            return create(state, event)

        await self._pushes.change(agent, taker, decide, origin=origin)
        await self._pushes.change(agent, task, lambda state: remove(state, push.id), origin=origin)

    async def _never_came(self, agent: str, context: str, push: Push) -> bool:
        """Return whether the message that a config came with is not in the log."""
        if push.position:
            return False
        seen = await self._contexts.foreseen(agent, context, decisive=True)
        return push.command_id not in seen.commands

    async def _post(
        self, agent: str, task: str, push: Push, update: Update, *, last: bool
    ) -> Push | None:
        """Post one notification, and return the config after it; None if that is all for now."""
        current = self._pushes.known(agent, task).current(push.id, push.made)
        if current is None:
            return None
        answer = await self._try(agent, task, push, update)
        if not answer.reason:
            self._told("delivered")
            done = PushDelivered(task_id=task, config_id=push.id, sequence=update.sequence)
            ended = PushEnded(task_id=task, config_id=push.id, end=PushEnd.COMPLETE)
            return await self._say(agent, task, push, done, *([ended] if last else []))
        attempt = current.attempt + 1
        tell = {"task": task, "config": push.id, "receiver": push.origin, "attempt": attempt}
        if answer.gone or attempt >= self._retries.attempts:
            self._told("given-up")
            logger.error("push-given-up", **tell, reason=answer.reason)
            why = PushEnd.GONE if answer.gone else PushEnd.GIVEN_UP
            await self._end(agent, task, push, why, attempts=attempt, reason=answer.reason)
            return None
        wait = self._retries.wait(attempt, answer.again, self._world.random.random())
        self._told("retried")
        logger.warning("push-failed", **tell, reason=answer.reason, again=round(wait, 3))
        failed = PushFailed(
            task_id=task,
            config_id=push.id,
            sequence=update.sequence,
            attempt=attempt,
            reason=answer.reason,
            retry=rfc3339(self._log.now + timedelta(seconds=wait)),
        )
        await self._say(agent, task, push, failed)
        return None

    async def _try(self, agent: str, task: str, push: Push, update: Update) -> Answer:
        state = self._pushes.known(agent, task)
        try:
            config = reveal(self._tools.keys, self._tenant, state, push)
        except KeyMissing as error:
            return Answer(error.code)
        said = await self._said(agent, task, push, update)
        async with self._free:
            posted = notification(
                config,
                said,
                protocol=push.protocol,
                id=notification_id(self._tenant, agent, task, push.id, update.sequence),
                seconds=int(self._world.now().timestamp()),
                secrets=self._tools.keys.secrets(self._tenant, push.creator),
            )
            return await self._tools.webhooks.post(posted.url, posted.headers, posted.body)

    async def _said(self, agent: str, task: str, push: Push, update: Update) -> object:
        """Return what is told: the event itself; of A2A 0.3, the task as it stands then."""
        response = update.response
        if push.protocol == "1.0":
            return response
        if response.message is None:
            state = await self._contexts.load(agent, context_of(task), decisive=True)
            view = await inline_task(self._log, state.tasks[task].view())
            response = StreamResponse(task=view)
        return legacy.answer(response, legacy.RPC)

    async def _end(
        self,
        agent: str,
        task: str,
        push: Push,
        end: PushEnd,
        *,
        attempts: int = 0,
        reason: str = "",
    ) -> None:
        ended = PushEnded(
            task_id=task, config_id=push.id, end=end, attempts=attempts, reason=reason
        )
        await self._say(agent, task, push, ended)

    async def _say(self, agent: str, task: str, push: Push, *events: AnyPushEvent) -> Push | None:
        origin = Origin(self._id, self._tenant, self._id, push.correlation, push.cause)
        state = await self._pushes.change(
            agent, task, lambda state: advance(state, push, *events), origin=origin
        )
        return state.current(push.id, push.made)
