"""Handing on work: what a turn delegates, to whom it may, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from msgspec.structs import replace

from pelton.events.a2a import Message, Part, Role, TaskState
from pelton.events.delegation import (
    CALLED_BACK,
    DelegationRefused,
    TaskOutcome,
    check_chain,
    elsewhere,
    from_agent,
)
from pelton.events.errors import UnknownAgent
from pelton.events.events import TaskDelegated
from pelton.events.ids import check_id, context_of, derive, task_id
from pelton.runtime.answers import DelegationFailed, Report
from pelton.runtime.recorder import Recorder
from pelton.runtime.steps import Steps
from pelton.runtime.waits import Waits


class HandingOn(NamedTuple):
    """What a turn of an agent hands on; `chain` are the agents that it came through.

    `know` tells whether an agent may take a task, `deadline` (RFC 3339) is the turn's.
    """

    recorder: Recorder
    steps: Steps
    waits: Waits
    know: Callable[[str], Awaitable[bool]]
    agent: str
    number: int
    deadline: str
    chain: tuple[str, ...]
    allow: Callable[[TaskDelegated], Awaitable[None]]

    async def delegate(
        self,
        key: str,
        agent: str,
        parts: tuple[Part, ...],
        *,
        context_id: str,
        task: str,
        within: float | None,
        begun: Callable[[], None] = lambda: None,
    ) -> Report:
        """Hand a message to another agent under a key, and return what came of it.

        `begun` is called once the log knows of it.
        """
        check_chain(self.chain, agent)
        known, abroad = await self.know(agent), elsewhere(agent)
        if not self.steps.value(f"known:{key}", lambda: known):
            if abroad:
                raise DelegationRefused("no agent at that URL may be asked: see executor.remotes")
            raise UnknownAgent(f"there is no agent {agent!r} to delegate to")
        own, number = self.recorder.task_id, str(self.number)
        command_id = derive("delegate", own, number, key)
        if task and abroad:
            check_id(task, "taskId")
        elif task:
            context_id = context_of(task)
        elif context_id:
            check_id(context_id, "contextId")
        else:
            context_id = derive("context", own, number, key)
        message = Message(
            message_id=command_id,
            role=Role.USER,
            context_id=context_id,
            task_id=task,
            parts=parts,
        )
        message = replace(message, metadata=from_agent(message, self.agent, own))
        child = task or ("" if abroad else task_id(context_id, command_id))
        event = TaskDelegated(
            task_id=own,
            key=key,
            agent=agent,
            context_id=context_id,
            command_id=command_id,
            child=child,
            message=message,
            chain=self.chain,
            deadline=self._until(key, within),
        )
        await self.allow(event)
        outcome, failure = await self.waits.delegate(event, begun)
        report = Report.of(agent, context_id, outcome)
        if report.state not in {TaskState.COMPLETED, TaskState.INPUT_REQUIRED}:
            raise DelegationFailed(report, failure)
        return report

    async def called_back(self, origin: str, post: str, *, within: float) -> TaskOutcome | None:
        """Return what comes of a post to an origin, as it calls a bridge back; None if too late.

        `post` is the key that the call names, `within` the seconds from when this is first asked.
        """
        key = self.steps.key("called-back")
        late = self.steps.named("sleep", key)
        said = Message(
            message_id=post,
            role=Role.USER,
            context_id=self.recorder.context.id,
            task_id=self.recorder.task_id,
            parts=(Part(text="It was posted the turn, and is going to call back."),),
        )
        event = TaskDelegated(
            task_id=self.recorder.task_id,
            key=key,
            agent=f"{CALLED_BACK}{origin}",
            context_id=self.recorder.context.id,
            command_id=post,
            child="",
            message=said,
            chain=self.chain,
        )
        answer = asyncio.create_task(self.waits.delegate(event), name=f"wait {key}")
        timer = asyncio.create_task(self.waits.sleep(late, within), name=f"wait {late}")
        both = (answer, timer)
        try:
            await asyncio.wait(both, return_when="FIRST_COMPLETED")
            turn = self.recorder.turn
            known = None if turn is None else turn.delegations.get(key)
            if not answer.done() and (known is None or not known.done):
                timer.result()  # raises what keeps it from writing
                return None
            outcome, _ = await answer
            return outcome
        finally:
            for each in both:
                each.cancel()
            await asyncio.wait(both)
            for each in both:
                if not each.cancelled():
                    each.exception()  # nobody waits for it any more

    def _until(self, key: str, within: float | None) -> str:
        """Return the deadline of what is handed on: the earlier of ours and its own."""
        if within is None:
            return self.deadline
        own = self.steps.value(f"deadline:{key}", lambda: self.recorder.now(within))
        return min(time for time in (own, self.deadline) if time)
