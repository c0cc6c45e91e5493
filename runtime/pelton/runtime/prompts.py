"""Messages that nobody sends: what a schedule says, the initial prompt, the idle prompt.

Each is a `SendMessage` whose id follows from what calls for it, so that it is one message however
often it is sent. Before it is sent again, its context is asked: the log need not hold it twice.
"""

from __future__ import annotations

from typing import Final

import msgspec

from pelton.events.a2a import JsonObject, Message, Part, Role
from pelton.events.commands import SendMessage, SendMessageData
from pelton.events.commit import Origin
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.contexts import Contexts
from pelton.runtime.outbox import Outbox
from pelton.runtime.patience import patiently

INITIAL: Final = "pelton/initial"
"""The member of a message's metadata that says which life of its agent it has begun."""

IDLE: Final = "pelton/idle"
"""The member of a task's metadata that says since when its context had been idle."""


class Prompts:
    """Sends messages on behalf of nobody, patiently; one for an executor."""

    def __init__(self, contexts: Contexts, outbox: Outbox, *, world: World) -> None:
        self._contexts, self._outbox, self._world = contexts, outbox, world

    async def send(
        self,
        agent: str,
        context_id: str,
        *,
        command_id: str,
        text: str,
        metadata: JsonObject,
        origin: Origin,
    ) -> bool:
        """Send a message with `metadata`, the task's too; return whether it was still unsent.

        An agent itself reaches all conversations with it, whoever has begun them.
        """
        if self._outbox.has_sent(command_id):
            return False
        where = f"{agent}/{context_id}"
        context = await patiently(lambda: self._contexts.foreseen(agent, context_id), where)
        if command_id in context.commands:
            self._outbox.remember(command_id)
            return False
        message = Message(
            message_id=command_id, role=Role.USER, parts=(Part(text=text),), metadata=metadata
        )
        command = SendMessage(
            id=command_id,
            subject=where,
            time=rfc3339(self._world.now()),
            data=SendMessageData(message=message, metadata=metadata),
            reach="tenant" if origin.actor == f"agent/{agent}" else msgspec.UNSET,
            **origin._asdict(),
        )
        await self._outbox.send(command)
        return True
