"""What a turn does for tools that its agent calls while it works: for adapters.

Every call has a key, and stands for one thing: asked for again under its key, on this attempt or a
later one, it is served what is recorded. Whether a later attempt asks again is up to the agent's
model, so nothing is wrong if it does not, and a re-run of the turn does without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from pelton.events.a2a import Message, Part, Role, TaskStatus
from pelton.events.agent import AgentState
from pelton.events.events import TaskStatusUpdated
from pelton.events.ids import derive
from pelton.events.turns import Delegated
from pelton.runtime.answers import Report
from pelton.runtime.bulk import Blobs, inline, offload
from pelton.runtime.handing_on import HandingOn
from pelton.runtime.memory import TurnMemory
from pelton.runtime.recorder import TOOL, Recorder
from pelton.runtime.steps import Steps
from pelton.runtime.waits import Waits


class Tools(NamedTuple):
    """What a turn records its effects with, and waits with."""

    steps: Steps
    waits: Waits


class Receive(Protocol):
    """Takes the next message that has come for a turn while it runs, under a key."""

    async def __call__(self, key: str, within: float = 0.0) -> Message | None:
        """Return it, or the one that comes within so many seconds."""
        ...


class Peers(Protocol):
    """Who else is on the log."""

    async def knows(self, agent: str) -> bool:
        """Return whether somebody of that name may take a task."""
        ...

    async def registered(self) -> Sequence[AgentState]:
        """Return the agents that are there, by name."""
        ...


class Toolbox(NamedTuple):
    """What tools may do in one attempt of a turn."""

    steps: Steps
    recorder: Recorder
    blobs: Blobs
    handing_on: HandingOn
    remember: Callable[[Steps], TurnMemory]
    receiving: Receive
    waiting: Callable[[], Sequence[Message]]
    peers: Peers

    async def delegate(
        self,
        key: str,
        agent: str,
        text: str,
        *,
        context_id: str = "",
        task: str = "",
        within: float | None = None,
        begun: Callable[[], None] = lambda: None,
    ) -> Report:
        """Hand a text to another agent, and return what came of it; see `Turn.delegate`.

        In one attempt, to be called once with a key. `begun` is called once the log knows of it.
        """
        return await self.handing_on.delegate(
            self.steps.named("delegate", f"{TOOL}{key}"),
            agent,
            (Part(text=text),),
            context_id=context_id,
            task=task,
            within=within,
            begun=begun,
        )

    def first_asked(self, key: str, call: str) -> str:
        """Return what was asked for under a key the first time, which is `call` if this is."""
        return str(self.steps.value("call", lambda: call, key=f"{TOOL}{key}"))

    def delegated(self, key: str) -> Delegated | None:
        """Return what the log has of a delegation under a key."""
        turn = self.recorder.turn
        return turn.delegations.get(f"delegate:{TOOL}{key}") if turn is not None else None

    def memory(self, key: str) -> TurnMemory:
        """Return memory for one call, whose step has this key."""
        keyed: Any = _Keyed(self.steps, f"{TOOL}{key}")
        return self.remember(keyed)

    async def say(self, key: str, text: str) -> str:
        """Tell whoever waits for the task something; return the message's id.

        It is stored when this returns.
        """
        recorder, number = self.recorder, self.handing_on.number
        message = await offload(
            self.blobs,
            Message(
                message_id=derive(recorder.task_id, str(number), "say", key),
                role=Role.AGENT,
                context_id=recorder.context.id,
                task_id=recorder.task_id,
                parts=(Part(text=text),),
            ),
        )

        def said() -> str:
            status = TaskStatus(state=recorder.state, message=message, timestamp=recorder.now())
            recorder.emit(TaskStatusUpdated(task_id=recorder.task_id, status=status))
            return message.message_id

        self.steps.value("say", said, key=f"{TOOL}{key}")
        await recorder.flush()
        return message.message_id

    @property
    def messages(self) -> Sequence[Message]:
        """The messages that have come for this turn while it runs (`steer`), and wait."""
        return self.waiting()

    async def receive(self, key: str, within: float = 0.0) -> Message | None:
        """Take the next of them, or the one that comes within so many seconds."""
        message = await self.receiving(f"received:{TOOL}{key}", within)
        return None if message is None else await inline(self.blobs, message)


class _Keyed:
    """Steps, each under the same key."""

    def __init__(self, steps: Steps, key: str) -> None:
        self._steps, self._key = steps, key
        self.latest = steps.latest

    def run(self, *args: Any, **options: Any) -> Any:
        """Run a step; see `Steps.run`."""
        return self._steps.run(*args, **options | {"key": self._key})
