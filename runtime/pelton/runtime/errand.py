"""Sending what a turn has delegated: the command that its event calls for, and what comes back."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pelton.events.delegation import Delegation, called_back, elsewhere
from pelton.events.events import DelegationAccepted, TaskDelegated
from pelton.events.turns import Delegated
from pelton.runtime.assignment import Assignment, Host
from pelton.runtime.pulse import Pulse
from pelton.runtime.recorder import Recorder


class Errand(NamedTuple):
    """What is sent for one attempt of a turn of an agent."""

    agent: str
    task: Assignment
    recorder: Recorder
    pulse: Pulse
    host: Host

    async def run(self, event: TaskDelegated, known: Delegated | None) -> None:
        """Send what was delegated; if its agent is elsewhere, wait for its report too.

        It is on behalf of whoever owns the conversation: so they own that one too. Whoever calls
        back has got it already.
        """
        if called_back(event.agent):
            return
        context = self.recorder.context
        waits = Delegation(
            agent=self.agent,
            context_id=context.id,
            task_id=self.task.id,
            turn=self.task.number,
            key=event.key,
            chain=event.chain,
        )
        outbox, observer = self.host.outbox, self.host.observer
        origin = self.task.origin._replace(actor=context.owner)
        if not elsewhere(event.agent):
            with (
                self.pulse.running(),
                observer.delegation(self.agent, event.agent, event.key) as seen,
            ):
                if seen.traceparent is not msgspec.UNSET:
                    origin = origin._replace(traceparent=seen.traceparent)
                await outbox.hand_over(event, waits, origin)
                seen.how = "sent"
            return
        if known is None or not known.accepted:
            again = known is not None
            with self.pulse.running():
                with observer.delegation(self.agent, event.agent, event.key) as seen:
                    child = await outbox.hand_abroad(event, waits, origin, again=again)
                    seen.how = "sent" if child else "ended"
                if not child:
                    return
                self.recorder.emit(
                    DelegationAccepted(task_id=self.task.id, key=event.key, child=child)
                )
                await self.recorder.flush()
            known = Delegated(
                agent=event.agent,
                context_id=event.context_id,
                child=child,
                command_id=event.command_id,
            )
        await outbox.follow(known, waits, origin)
