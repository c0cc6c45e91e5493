"""Questions of a turn to people: asked until an answer fits, and about steps nobody knows of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from pelton.events import hitl
from pelton.events.a2a import JsonObject, Message, TaskState
from pelton.runtime.answers import AnswerExpired, Approval, fitting
from pelton.runtime.steps import OUTCOME, Doubt
from pelton.runtime.waits import Waits

_CHOICES: Final = ("run-again", "done", "give-up")


class Questions:
    """The questions of one attempt.

    `key` gives the next key of a name: what is asked again has the key of the first question with
    its own occurrence, so that questions that are open at the same time do not take each other's.
    `said` makes a message of a text and its place in the turn.
    """

    def __init__(
        self,
        waits: Waits,
        *,
        key: Callable[[str], str],
        said: Callable[[str, str], Awaitable[Message]],
    ) -> None:
        self._waits, self._key, self._said = waits, key, said

    async def ask(
        self,
        first: str,
        question: str,
        shape: type[Any],
        *,
        choices: Sequence[str],
        approvers: Sequence[str],
        within: float | None,
        auth: bool,
    ) -> Any:
        """Ask until the answer is of a shape; see `Turn.ask`."""
        key, text = first, question
        state = TaskState.AUTH_REQUIRED if auth else TaskState.INPUT_REQUIRED
        while True:  # ends: a person answers, or the question expires
            request = hitl.question(key, text, choices)
            reply, _ = await self._asked(key, text, request, approvers, within, state=state)
            if reply is None:
                raise AnswerExpired
            value, why = fitting(reply, shape, choices)
            if not why:
                return value
            text = f"{question}\n(The answer does not fit: {why})"
            key = self._key(first)

    async def approve(
        self,
        first: str,
        what: str,
        tool: str,
        args: Mapping[str, Any],
        *,
        approvers: Sequence[str],
        within: float | None,
    ) -> Approval:
        """Ask until somebody decides; see `Turn.approve`."""
        key, text = first, what
        while True:  # ends: a person decides, or the question expires
            request = hitl.approval(key, tool, args, text)
            reply, by = await self._asked(key, text, request, approvers, within)
            if reply is None:
                return Approval(approved=False, reason="nobody decided in time")
            if reply.approved is not None:
                return Approval(approved=reply.approved, reason=reply.reason, by=by)
            text = f"{what}\n(Answer yes, or no with a reason.)"
            key = self._key(first)

    async def doubt(self, run: str) -> Doubt:
        """Ask about a run of a step that was begun and has no result, as in `pay#1@2`."""
        step = run.rpartition("@")[0]
        text = (
            f"The step {step!r} was begun and nobody knows whether it was done; it is not"
            " idempotent, so it was not run again. Answer run-again, give-up, or done with its"
            " result as JSON."
        )
        key = first = f"{OUTCOME}{run}"
        while True:  # ends: a person answers
            request = hitl.question(key, text, _CHOICES)
            reply, _ = await self._asked(key, text, request, (), None)
            assert reply is not None  # it does not expire
            if (doubt := _doubt(reply)) is not None:
                return doubt
            key = self._key(first)

    async def _asked(
        self,
        key: str,
        text: str,
        request: JsonObject,
        approvers: Sequence[str],
        within: float | None,
        *,
        state: TaskState = TaskState.INPUT_REQUIRED,
    ) -> tuple[hitl.Reply | None, str]:
        """Return what somebody has answered, and who; no answer if the question expired."""
        said = await self._said(text, key)
        question = await self._waits.ask(
            key,
            replace(said, metadata={hitl.URI: request}, extensions=(hitl.URI,)),
            approvers=approvers,
            within=within,
            state=state,
        )
        answer = question.answer
        return (None if answer is None else hitl.reply(answer)), question.by


def _doubt(reply: hitl.Reply) -> Doubt | None:
    """Return what an answer says of a step, if it says anything."""
    choice, _, rest = reply.text.strip().partition(" ")
    if reply.data is not msgspec.UNSET:
        value, why = fitting(reply, Doubt, ())
        return value if not why and value.choice in _CHOICES else None
    if choice not in _CHOICES:
        return None
    try:
        return Doubt(choice, msgspec.json.decode(rest) if rest else None)
    except msgspec.DecodeError:
        return None
