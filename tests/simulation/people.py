"""People: they answer what agents ask, late, wrongly, in others' names, and in the end well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role
from pelton.events.commands import SendMessage, SendMessageData
from pelton.events.context import Context, TaskFold
from pelton.events.envelope import encode
from pelton.events.ids import derive
from pelton.events.turns import Question
from pelton.runtime.log import LogUnavailable
from pelton.runtime.simulation import SimulatedLog

STRANGER: Final = "eve"

UNKNOWN: Final = 99
"""The result that people give of a step whose outcome nobody knows."""

_WORDS: Final = {
    "outcome": (f"done {UNKNOWN}", "give-up", "run-again", "what?"),
    "ask": ("7", "7", "12", "many"),
    "approve": ("yes", "yes", "no never", "perhaps"),
}


class People:
    """Answer questions; `envelope` makes the attributes of a command."""

    def __init__(self, chance: Random, envelope: Callable[..., dict[str, Any]]) -> None:
        self._chance, self._envelope = chance, envelope
        self._done: set[str] = set()

    def forget(self) -> None:
        """Answer again: the log may have lost what was said."""
        self._done.clear()

    async def answer(
        self, log: SimulatedLog, contexts: Sequence[Context], *, diligently: bool = False
    ) -> None:
        """Answer some of what is open; all of it if `diligently`."""
        for context in contexts:
            for task in context.tasks.values():
                for key, question in task.turn.asked.items() if task.turn is not None else ():
                    if diligently or self._chance.random() < 0.4:
                        with suppress(LogUnavailable):  # another time
                            await self._say(log, context, task, key, question)

    async def _say(
        self, log: SimulatedLog, context: Context, task: TaskFold, key: str, question: Question
    ) -> None:
        id_ = derive("answer", task.id, str(task.turns), key)
        if id_ in self._done:
            return
        chance = Random(id_)
        only = task.turn is not None and len(task.turn.asked) == 1
        if chance.random() < 0.2:
            await self._send(
                log, context, task.id, key, id_=f"{id_}-0", actor=STRANGER, answers=key
            )
        actor = question.approvers[0] if question.approvers else context.owner
        named = key if chance.random() < 0.8 or not only else ""
        await self._send(log, context, task.id, key, id_=id_, actor=actor, answers=named)
        if chance.random() < 0.2:
            await self._send(log, context, task.id, key, id_=f"{id_}-1", actor=actor)
        self._done.add(id_)

    async def _send(
        self,
        log: SimulatedLog,
        context: Context,
        task: str,
        key: str,
        *,
        id_: str,
        actor: str,
        answers: str = "",
    ) -> None:
        """Say something that may answer a question; unnamed, the one that was asked first."""
        word = Random(id_).choice(_WORDS[key.partition(":")[0].partition("#")[0]])
        said = Message(message_id=id_, role=Role.USER, parts=(Part(text=word),), task_id=task)
        command = SendMessage(
            data=SendMessageData(message=said, answers=answers),
            **self._envelope(id_, context.agent, context.id, actor),
        )
        await log.append(subjects.commands(context.agent, context.id), encode(command), id=id_)
