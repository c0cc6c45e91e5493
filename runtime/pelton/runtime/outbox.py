"""What must follow elsewhere from what a context's log says: the log is the outbox (law 4).

Every command here has an id that follows from the events that call for it, so whoever finds it
unsent may send it, and sending it again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Final

import structlog
from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.commands import (
    CancelTask,
    CancelTaskData,
    Command,
    ReportTask,
    ReportTaskData,
    SendMessage,
    SendMessageData,
)
from pelton.events.commit import Origin
from pelton.events.context import TaskFold
from pelton.events.delegation import Delegation, TaskOutcome, called_back, elsewhere
from pelton.events.envelope import encode
from pelton.events.errors import PeltonError
from pelton.events.events import Failure, TaskDelegated
from pelton.events.ids import derive
from pelton.events.states import SETTLED
from pelton.events.turns import Delegated
from pelton.runtime.bulk import THRESHOLD, PatientBlobs, inline, offload
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Log
from pelton.runtime.patience import patiently
from pelton.runtime.redaction import cleaned
from pelton.runtime.remote import Remotes

_REMEMBERED: Final = 4096

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Outbox:
    """Sends commands to other contexts, patiently; one for an executor.

    It remembers the latest it has sent, so that looking twice costs nothing. What agents elsewhere
    are asked for, it follows for `attention` seconds after a turn that waits was last looked at:
    whoever hears its bell the next time goes on.
    """

    def __init__(
        self, log: Log, *, world: World, remotes: Remotes, attention: float = 30.0
    ) -> None:
        self._log, self._world, self._remotes = log, world, remotes
        self._attention = attention
        self._watches: dict[str, tuple[asyncio.Timeout, asyncio.Task[None]]] = {}
        self._sent: OrderedDict[str, None] = OrderedDict()

    def allows(self, url: str) -> bool:
        """Whether an agent elsewhere may be asked."""
        return self._remotes.allows(url)

    async def hand_over(self, event: TaskDelegated, waits: Delegation, origin: Origin) -> None:
        """Send the message that a turn has delegated."""
        data = SendMessageData(message=event.message, deadline=event.deadline, delegation=waits)
        envelope = self._envelope(event.command_id, event.agent, event.context_id, origin)
        await self.send(SendMessage(data=data, **envelope))

    async def hand_abroad(
        self, event: TaskDelegated, waits: Delegation, origin: Origin, *, again: bool
    ) -> str:
        """Send the message that a turn has delegated to an agent elsewhere.

        Returns the id of its task there; none if that is over already and its end is reported.
        """
        message = await inline(self._blobs(waits), event.message)
        taken = await self._remotes.hand_over(
            event.agent, message, deadline=event.deadline, again=again
        )
        if isinstance(taken, str):
            return taken
        await self.report(waits, taken.outcome, origin, taken.failure)
        return ""

    async def follow(self, known: Delegated, waits: Delegation, origin: Origin) -> None:
        """Report what an agent elsewhere makes of a task that it has taken, when it has."""
        end = await self._remotes.end(known.agent, known.child, known.command_id)
        await self.report(waits, end.outcome, origin, end.failure)

    async def aclose(self) -> None:
        """Follow nothing any more."""
        watches = [task for _, task in self._watches.values()]
        for watch in watches:
            watch.cancel()
        if watches:
            await asyncio.wait(watches)

    def _watch(self, known: Delegated, waits: Delegation, origin: Origin) -> None:
        """Follow a task elsewhere for a while, beside everything else."""
        loop = asyncio.get_running_loop()
        if known.command_id in self._watches:
            self._watches[known.command_id][0].reschedule(loop.time() + self._attention)
            return
        limit = asyncio.timeout(self._attention)

        async def watch() -> None:
            try:
                async with limit:
                    await self.follow(known, waits, origin)
            except TimeoutError:
                pass  # another executor hears the bell
            except PeltonError as error:  # the bell rings again
                logger.warning("cannot-follow", task=waits.task_id, reason=str(error))
            finally:
                del self._watches[known.command_id]

        task = loop.create_task(watch(), name=f"follow {waits.task_id}")
        self._watches[known.command_id] = (limit, task)

    async def settle(self, agent: str, task: TaskFold, origin: Origin) -> None:
        """Send what the rest of an agent's task calls for: its report, an end to what it left.

        If it waits for agents elsewhere, these are followed.
        """
        if task.delegation is not None and task.status.state in SETTLED:
            outcome = TaskOutcome(
                task_id=task.id,
                state=task.status.state,
                message=task.answer or task.status.message,
                artifacts=tuple(task.artifacts.values()),
            )
            await self.report(task.delegation, outcome, origin)
        for orphan in task.orphans:
            if called_back(orphan.agent):  # it reads so when it calls
                continue
            await self._recall(task, orphan, origin)
        turn = task.turn
        for key, known in turn.delegated.items() if turn else ():
            if turn is not None and known.accepted and self._remotes.allows(known.agent):
                waits = Delegation(
                    agent=agent,
                    context_id=task.context_id,
                    task_id=task.id,
                    turn=turn.number,
                    key=key,
                    chain=(),
                )
                self._watch(known, waits, origin)

    async def report(
        self,
        waits: Delegation,
        outcome: TaskOutcome,
        origin: Origin,
        failure: Failure | None = None,
    ) -> None:
        """Tell a waiting task what the one that it has delegated came to."""
        command_id = derive(
            "report", waits.task_id, str(waits.turn), waits.key, outcome.task_id, outcome.state
        )
        if command_id in self._sent:
            return
        outcome = cleaned(self._log.redactor, outcome, outcome.task_id)
        blobs = self._blobs(waits)
        if blobs.seals:  # what agents elsewhere have said was not sealed yet
            outcome = replace(
                outcome,
                message=outcome.message and await offload(blobs, outcome.message),
                artifacts=tuple([await offload(blobs, each) for each in outcome.artifacts]),
            )
        data = ReportTaskData(delegation=waits, outcome=outcome, failure=failure)
        encoded = encode(outcome)
        if len(encoded) > THRESHOLD:
            blob = await blobs.put(encoded, "data")
            data = ReportTaskData(delegation=waits, blob=blob, failure=failure)
        envelope = self._envelope(command_id, waits.agent, waits.context_id, origin)
        await self.send(ReportTask(data=data, **envelope))

    async def _recall(self, task: TaskFold, orphan: Delegated, origin: Origin) -> None:
        """Ask for the end of a task that nobody waits for any more, whoever has ended what did."""
        command_id = derive("recall", task.id, orphan.command_id)
        if elsewhere(orphan.agent):
            if command_id not in self._sent:
                self.remember(command_id)
                await self._remotes.recall(orphan)
            return
        data = CancelTaskData(task_id=orphan.child)
        envelope = self._envelope(command_id, orphan.agent, orphan.context_id, origin)
        await self.send(CancelTask(data=data, reach="tenant", **envelope))

    def _blobs(self, waits: Delegation) -> PatientBlobs:
        """Return the blobs of the context that a delegation is of."""
        return PatientBlobs(self._log, waits.agent, waits.context_id)

    def has_sent(self, command_id: str) -> bool:
        """Whether it is remembered that a command was sent."""
        return command_id in self._sent

    def remember(self, command_id: str) -> None:
        """Remember that a command was sent."""
        self._sent[command_id] = None
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    async def send(self, command: Command) -> None:
        """Send a command to another context, unless it is remembered that it was sent."""
        if command.id in self._sent:
            return
        subject = subjects.commands(*command.subject.split("/", 1))
        data = encode(cleaned(self._log.redactor, command, subject))
        await patiently(lambda: self._log.append(subject, data, id=command.id), subject)
        self.remember(command.id)

    def _envelope(
        self, command_id: str, agent: str, context_id: str, origin: Origin
    ) -> dict[str, Any]:
        return {
            "id": command_id,
            "subject": f"{agent}/{context_id}",
            "time": rfc3339(self._world.now()),
            **origin._asdict(),
        }
