"""Questions: they wait without a process, and only who may answers them."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from pelton.events import hitl
from pelton.events.a2a import Message, Part, Role, TaskState
from pelton.events.context import Context
from pelton.runtime.agents import Terms, agent
from pelton.runtime.answers import AnswerExpired
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.steps import idempotency_key
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving

SOON = Terms(suspend_after=0.1)


@pytest.mark.accepts("AS-57")
async def test_a_question_waits_without_a_process_and_lets_others_go_on(
    nats_url: str, log: JetStreamLog
) -> None:
    class Order(msgspec.Struct):
        pieces: int

    effects: Counter[str] = Counter()

    async def effect() -> None:
        effects[idempotency_key()] += 1

    @agent(name="echo", terms=SOON)
    async def asking(turn: Turn) -> str:
        if turn.text == "aside":
            return "meanwhile"
        await turn.step("before", effect)
        order = await turn.ask("How many?", schema=Order)
        await turn.step("after", effect)
        return f"{order.pieces} pieces"

    client = Client(log)
    async with serving(log, asking):
        context, task = await client.send("order")
        asked = await client.asked(context, task)
        assert asked.status.state is TaskState.INPUT_REQUIRED
        assert reply(asked) == "How many?"
        message = asked.status.message
        assert message is not None
        assert message.metadata is not None
        assert message.metadata[hitl.URI]["type"] == "ask_user_request"
        await client.until(context, lambda s: task in s.aside)
        _, other = await client.send("aside", context)
        assert reply(await client.settled(context, other)) == "meanwhile"
    async with JetStreamLog.open(nats_url) as two, serving(two, asking):
        await client.send("several", context, task=task)
        again = await client.until(context, lambda s: "ask#1#1" in s.tasks[task].turn.questions)  # type: ignore[union-attr]
        assert "does not fit" in reply(again.tasks[task])
        answer = Message(
            message_id="a-1", role=Role.USER, task_id=task, parts=(Part(data={"pieces": 3}),)
        )
        await client.send("", context, task=task, message=answer)
        ended = await client.settled(context, task)
    assert reply(ended) == "3 pieces"
    assert set(effects.values()) == {1}
    assert [m.role for m in ended.history][:3] == [Role.USER, Role.AGENT, Role.USER]


@pytest.mark.accepts("AS-57")
async def test_only_who_may_decides_and_denial_and_expiry_go_on(log: JetStreamLog) -> None:
    @agent(name="echo", terms=SOON)
    async def approving(turn: Turn) -> str:
        approvers = ("boss",) if turn.text == "boss" else ()
        within = 0.5 if turn.text == "expire" else None
        found = await turn.approve("Delete it?", approvers=approvers, within=within)
        return f"{found.approved} {found.by} {found.reason}"

    client = Client(log)
    async with serving(log, approving):
        context, task = await client.send("boss")
        await client.asked(context, task)
        await client.send("yes", context, task=task, id_="intruder")  # the owner is not asked
        state = await client.until(context, lambda s: "intruder" in s.rejected)
        assert state.rejected["intruder"].code == "policy-denied"
        await client.send("yes", context, task=task, actor="boss")
        assert reply(await client.settled(context, task)) == "True boss "

        context, task = await client.send("owner")
        await client.asked(context, task)
        await client.send("yes", context, task=task, actor="somebody-else", id_="other")
        await client.until(context, lambda s: "other" in s.rejected)
        await client.send("no, too early", context, task=task)
        assert reply(await client.settled(context, task)) == "False somebody too early"

        context, task = await client.send("expire")
        assert reply(await client.settled(context, task)) == "False  nobody decided in time"


async def test_a_question_that_expires_is_an_error_of_its_own(log: JetStreamLog) -> None:
    @agent(name="echo", terms=SOON)
    async def asking(turn: Turn) -> str:
        try:
            return await turn.ask("Who?", within=0.3)
        except AnswerExpired:
            return "nobody"

    client = Client(log)
    async with serving(log, asking):
        context, task = await client.send("go")
        assert reply(await client.settled(context, task)) == "nobody"


def open_questions(context: Context, task: str) -> int:
    """Return how many questions of a task are open."""
    turn = context.tasks[task].turn if task in context.tasks else None
    return len(turn.asked) if turn is not None else 0


async def test_an_answer_reaches_a_turn_that_still_runs(log: JetStreamLog) -> None:
    attempts: list[int] = []

    @agent(name="echo")
    async def asking(turn: Turn) -> str:
        attempts.append(turn.attempt)
        names = await turn.gather(turn.ask("First?"), turn.ask("Second?"))
        return " ".join(map(str, names))

    client = Client(log)
    async with serving(log, asking):
        context, task = await client.send("go")
        await client.until(context, lambda s: open_questions(s, task) == 2)
        await client.send("two", context, task=task, answers="ask#2")
        await client.until(context, lambda s: open_questions(s, task) == 1)
        await client.send("one", context, task=task)
        assert reply(await client.settled(context, task)) == "one two"
    assert attempts == [1]
