"""Steps: tried again, at most once unasked, within a deadline, side by side."""

from __future__ import annotations

import asyncio
from collections import Counter

from pelton.events.a2a import Part, TaskState
from pelton.events.events import (
    FailureClass,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from pelton.events.retries import Retry
from pelton.runtime.agents import Terms, agent
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.steps import idempotency_key
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, only, reply, serving

SOON = Terms(suspend_after=0.1)
QUICK = Retry(attempts=3, first=0.05)


async def test_a_step_that_fails_is_tried_again_as_it_says(log: JetStreamLog) -> None:
    keys: list[str] = []

    async def flaky() -> str:
        keys.append(idempotency_key())
        if len(keys) < 3:
            raise ConnectionError
        return "there"

    @agent(name="echo")
    async def calling(turn: Turn) -> str:
        return await turn.step("call", flaky, retry=QUICK)

    client = Client(log)
    async with serving(log, calling):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert reply(ended) == "there"
    assert len(keys) == 3
    assert len(set(keys)) == 1
    failed = [e for e in await client.events(context) if isinstance(e, StepFailed)]
    assert [e.failure.kind for e in failed] == [FailureClass.DEPENDENCY] * 2
    assert all(e.again_at for e in failed)


async def test_a_step_that_is_not_idempotent_is_never_tried_again_unasked(
    log: JetStreamLog,
) -> None:
    ran: list[int] = []

    async def broken() -> None:
        ran.append(1)
        raise ConnectionError

    @agent(name="echo")
    async def calling(turn: Turn) -> None:
        await turn.step("pay", broken)

    client = Client(log)
    async with serving(log, calling):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.FAILED
    assert ran == [1]


async def test_a_step_has_a_deadline(log: JetStreamLog) -> None:
    @agent(name="echo")
    async def slow(turn: Turn) -> None:
        await turn.step("wait", asyncio.Event().wait, deadline=0.05)

    client = Client(log)
    async with serving(log, slow):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.FAILED
    (failed,) = [e for e in await client.events(context) if isinstance(e, StepFailed)]
    assert failed.failure.kind is FailureClass.TIMEOUT


async def test_steps_that_run_at_the_same_time_keep_their_keys(log: JetStreamLog) -> None:
    """They end in the opposite order, and the next attempt is served each its own."""
    ran: Counter[int] = Counter()

    async def effect(number: int) -> int:
        ran[number] += 1
        await asyncio.sleep(0.05 * (4 - number))  # they end in the opposite order
        return number

    @agent(name="echo", terms=SOON)
    async def parallel(turn: Turn) -> str:
        found = await turn.gather(*(turn.step("do", effect, number) for number in range(4)))
        await turn.sleep(0.5)
        await turn.stream("once")
        return repr(found)

    client = Client(log)
    async with serving(log, parallel):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert reply(ended) == "[0, 1, 2, 3]"
    assert set(ran.values()) == {1}
    assert only(ended).parts == (Part(text="once"),)
    starts = [e for e in await client.events(context) if isinstance(e, StepStarted)]
    assert len(starts) == 4


async def test_what_an_agent_does_with_a_result_changes_no_record(log: JetStreamLog) -> None:
    given: list[object] = []

    async def find() -> dict[str, list[int]]:
        return {"found": [1]}

    @agent(name="echo", terms=SOON)
    async def changing(turn: Turn) -> str:
        for key in ("quick", "sure"):
            result = await turn.step(key, find, idempotent=key == "quick")
            given.append([*result["found"]])
            result["found"].append(2)
        await turn.sleep(0.5)  # longer than it is kept: another attempt is served what is recorded
        return "done"

    client = Client(log)
    async with serving(log, changing):
        context, task = await client.send("go")
        await client.settled(context, task)
    assert given == [[1]] * 4
    results = [e.result for e in await client.events(context) if isinstance(e, StepCompleted)]
    assert results == [{"found": [1]}] * 2
