"""Routes: the way of one attempt's agent to its models, while it runs within a step.

Each call is a step within that step. It is known by what is asked, and by how often that was asked
before; so a later attempt that asks the same is served what is recorded, and what has failed is
asked anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any, Final

import msgspec
import structlog

from pelton.adapters.gateway.answer import Kept
from pelton.adapters.gateway.calls import Call, Client, Way
from pelton.adapters.gateway.dialects import error_of
from pelton.adapters.gateway.doors import Door
from pelton.adapters.gateway.question import Part, Question
from pelton.events.errors import PeltonError
from pelton.events.retries import NEVER
from pelton.events.step import StepKind
from pelton.events.turns import Step
from pelton.runtime.failures import AgentError, StepError
from pelton.runtime.recorder import TOOL, Closed
from pelton.runtime.steps import within

STEP: Final = "model"
"""The name of the steps that are calls of models."""

DIVERGENCE: Final = "divergence"
"""The name of the steps that say that a call was served what another one was answered."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Route(Door):
    """See `runtime.model_gateway.ModelRoute`.

    With `anew` the agent goes through all of its calls again: one
    that it has not made before is served what the one in its place was answered.
    """

    def __init__(self, way: Way, *, token: str, host: str, anew: bool) -> None:
        super().__init__(way.upstreams, token=token, host=host)
        self.failure: AgentError | None = None
        self._way = way
        self._context = copy_context()
        self._asked: Counter[str] = Counter()
        self._calls: set[asyncio.Task[None]] = set()
        self._number = 0
        self._place = _place()
        begin = f"{STEP}:{self._place}"
        known = {k: step for k, step in way.models.recorded.items() if k.startswith(begin)}
        answered = [k for k, step in known.items() if step.done and step.failure is None]
        self._order = answered if anew else []
        self._served: set[str] = set()

    @property
    def known(self) -> Mapping[bytes, Part]:
        """The parts of questions that are kept; see `Question`."""
        return self._way.keeping.known

    @property
    def asked(self) -> bool:
        """Whether anything was asked through it."""
        return bool(self._number)

    def run(self, question: Question, client: Client) -> asyncio.Task[None]:
        """Answer a question; whoever cancels the task breaks the call off."""
        running = asyncio.get_running_loop().create_task(
            self._answer(question, client), name="call of a model", context=self._context.copy()
        )
        self._calls.add(running)
        running.add_done_callback(self._calls.discard)
        return running

    async def close(self) -> None:
        """Break off what runs: the attempt is over."""
        for call in (calls := tuple(self._calls)):
            call.cancel()
        if calls:
            await asyncio.wait(calls)

    async def _answer(self, question: Question, client: Client) -> None:
        try:
            await self._serve(question, client)
        except (PeltonError, Closed) as error:  # nothing can be recorded any more
            logger.warning("call-refused", reason=str(error), exception=type(error).__name__)
            await refuse(client, question.dialect.provider.name)

    async def _serve(self, question: Question, client: Client) -> None:
        self._number += 1
        number, key = self._number, self._next(question)
        while (step := self._recorded(key)) is not None and step.done:
            if step.failure is None:
                await self._say_again(key, step, client)
                return
            key = self._next(question)  # it failed then, and may be answered now
        other = self._instead(number) if step is None else ""
        if other:
            await self._diverge(number, question, other)
            await self._say_again(other, self._way.models.recorded[other], client)
            return
        async with Call(self._way, question, client, key=f"{STEP}:{key}") as call:
            await self._make(call, question, key)

    async def _make(self, call: Call, question: Question, key: str) -> None:
        """Make a call, as a step. The client has the end of the answer once that is stored.

        An agent in this process acts in steps, which the log has behind the answer; a program acts
        at once. And whoever has lost the turn to another executor cannot store.
        """
        try:
            await self._way.models.turn.step(
                STEP,
                call.made,
                question.digest,
                kind=StepKind.MODEL,
                key=key,
                idempotent=True,
                retry=NEVER,
                model=question.model,
            )
        except StepError as error:
            self.failure = AgentError(str(error), kind=error.failure.kind)
            await call.fail(error.failure)
            return
        self.failure = None
        await self._way.models.recorder.flush()
        await call.finish()

    def _recorded(self, key: str) -> Step | None:
        return self._way.models.recorded.get(f"{STEP}:{key}")

    async def _say_again(self, key: str, step: Step, client: Client) -> None:
        """Answer from the record."""
        self._served.add(key.removeprefix(f"{STEP}:"))
        found = step.result
        if step.blob is not None:
            found = msgspec.json.decode(await self._way.models.blobs.get(step.blob))
        kept = msgspec.convert(found, Kept)
        await client.start(200, {"content-type": kept.type})
        for data in kept.said():
            await client.send(data)
        await client.end()

    def _next(self, question: Question) -> str:
        self._asked[question.digest] += 1
        return f"{self._place}{question.digest[:16]}#{self._asked[question.digest]}"

    def _instead(self, number: int) -> str:
        """Return the call that was the one of that number, unless it was served already."""
        found = self._order[number - 1] if number <= len(self._order) else ""
        return "" if found.removeprefix(f"{STEP}:") in self._served else found

    async def _diverge(self, number: int, question: Question, other: str) -> None:
        """Record that a question is answered what was answered to another one in its place."""
        logger.warning("model-call-diverges", number=number, served=other)
        told = {"asked": question.digest, "served": other}

        async def divergence() -> Any:
            return told

        await self._way.models.turn.step(
            DIVERGENCE, divergence, key=f"{self._place}{number}#1", idempotent=True
        )


def _place() -> str:
    """Return how the keys of calls begin: within the step that is running, or beside all."""
    try:
        return within("")
    except RuntimeError:
        return TOOL


async def refuse(client: Client, provider: str) -> None:
    """Refuse a call of an attempt that is over."""
    if client.begun:
        client.cut()
        return
    await client.whole(403, error_of(provider, 403, "The attempt of this token is over."))
