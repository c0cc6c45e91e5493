"""What is asked about a message before it is accepted: the point `command.received`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from pelton.events.a2a import text_of
from pelton.events.calls import Kind, calls_of, heard
from pelton.events.commands import Command, SendMessage
from pelton.events.context import Context
from pelton.events.decide import reject
from pelton.events.done import NOTHING
from pelton.events.errors import NotAuthorised
from pelton.events.events import (
    AnyEvent,
    CommandRejected,
    MessageReceived,
    QuestionAnswered,
    TaskSubmitted,
)
from pelton.events.ruling import CallRuled, Point, Ruling
from pelton.runtime.hooks import Occasion
from pelton.runtime.outfit import Outfit


class Reception(NamedTuple):
    """What was said of a message: it is refused, or the rulings of whoever let it in."""

    refusal: CommandRejected | None = None
    rulings: tuple[CallRuled, ...] = ()


_WELCOME: Final = Reception()


async def receive(
    outfit: Outfit, state: Context, command: Command, decided: Sequence[AnyEvent], time: str
) -> Reception:
    """Ask about a message that is decided to be taken in; `time` is the log's (RFC 3339).

    Nobody can be asked to approve it: whoever would ask denies.
    """
    event = decided[0] if decided else None
    hooks = outfit.hears(Point.COMMAND_RECEIVED)
    policies = [each for each in outfit.policies if each.judges(Kind.MESSAGE)]
    if not (hooks or policies) or not isinstance(command, SendMessage):
        return _WELCOME
    if not isinstance(event, TaskSubmitted | MessageReceived | QuestionAnswered):
        return _WELCOME
    task, rulings = event.task_id, list[CallRuled]()
    for hook in hooks:
        reply, failed = await hook.ask(
            Occasion(
                point=Point.COMMAND_RECEIVED,
                agent=state.agent,
                principal=command.actor,
                context=state.id,
                task=task,
                turn=0,
                attempt=1,
                key=command.id,
                time=time,
                content={"text": text_of(event.message.parts), "metadata": command.data.metadata},
            )
        )
        if reply.ruling is not Ruling.ALLOW:
            return _refused(command, reply.reason or f"{hook.name} does not allow it.", task)
        rulings.append(
            CallRuled(
                task_id=task,
                point=Point.COMMAND_RECEIVED,
                key=command.id,
                by=hook.name,
                ruling=reply.ruling,
                reason=reply.reason[:1000],
                failed=failed,
            )
        )
    for policy in policies:
        for call in calls_of(
            event,
            state.tasks[task].done if task in state.tasks else NOTHING,
            agent=state.agent,
            context=state.id,
            principal=command.actor,
            time=datetime.fromisoformat(time),
            heard=heard(each.done for each in state.tasks.values()),
        ):
            for _, said in policy.rule(call):
                return _refused(command, said.reason, task)
    return Reception(rulings=tuple(rulings))


def _refused(command: SendMessage, reason: str, task: str) -> Reception:
    return Reception(reject(command.id, NotAuthorised(reason), task))
