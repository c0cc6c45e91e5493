"""What people do about tasks: redrive what failed, answer what is asked, on the real server."""

from __future__ import annotations

import asyncio

import pytest
import structlog
import structlog.testing

from pelton.events.a2a import TaskState
from pelton.events.commands import SendMessage
from pelton.events.context import REDRIVEN
from pelton.events.errors import InvalidInput, TaskNotFound, UnsupportedOperation
from pelton.events.events import DelegationReported, FailureClass, TaskDelegated, TaskSubmitted
from pelton.events.retries import NEVER
from pelton.events.subjects import commands
from pelton.events.upcast import decode_command
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.answers import DelegationFailed
from pelton.runtime.failures import AgentError
from pelton.runtime.interventions import Answer, Interventions
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.turn import Turn
from tests.runtime.clients import WORLD, Client, reply, serving

AT_ONCE = Terms(suspend_after=0.1, retries={FailureClass.PROVIDER: NEVER})


def people(log: JetStreamLog, within: float = 10.0) -> Interventions:
    return Interventions(log, world=WORLD, tenant="local", within=within)


def printer(broken: list[bool]) -> Agent:
    """Return an agent that fails while something is broken."""

    @agent(name="printer", terms=AT_ONCE)
    async def printing(turn: Turn) -> str:
        if broken:
            raise AgentError("It is away.", kind=FailureClass.PROVIDER)
        return f"printed {turn.text} for {turn.metadata.get('who')}"

    return printing


@pytest.mark.accepts("AS-15", "AS-19")
async def test_a_redriven_task_is_a_new_one_that_names_the_old_one(log: JetStreamLog) -> None:
    broken = [True]
    client = Client(log, "printer")
    async with serving(log, printer(broken)):
        context, task = await client.send("a", metadata={"who": "anna"}, actor="anna")
        failed = await client.settled(context, task)
        with pytest.raises(TaskNotFound):
            await people(log).redrive("no-such-0123456789abcdef")
        broken.clear()
        one, two = await asyncio.gather(people(log).redrive(task), people(log).redrive(task))
        ended = await client.settled(context, one.task_id)
        with pytest.raises(UnsupportedOperation, match=one.task_id):
            await people(log).redrive(task)
        with pytest.raises(UnsupportedOperation):
            await people(log).redrive(one.task_id)
    assert failed.status.state is TaskState.FAILED
    assert one.task_id == two.task_id != task
    assert reply(ended) == "printed a for anna"
    state = await client.contexts.load("printer", context)
    assert state.owner == "anna"
    view = state.tasks[task].view()
    assert view.metadata == {"who": "anna", REDRIVEN: one.task_id}
    submitted = [e for e in await client.events(context) if isinstance(e, TaskSubmitted)]
    assert [each.redrives for each in submitted] == ["", task]
    records = await log.read(commands("printer", context))
    first, again, *_ = [decode_command(record.data) for record in records]
    assert isinstance(again, SendMessage)
    assert again.id != first.id
    assert (again.correlationid, again.causationid) == (first.correlationid, first.id)


@pytest.mark.accepts("AS-19", "AS-50")
async def test_who_had_delegated_it_is_told_of_the_redriven_one(log: JetStreamLog) -> None:
    broken = [True]

    @agent(name="boss", terms=AT_ONCE)
    async def boss(turn: Turn) -> str:
        try:
            await turn.delegate("printer", "a")
        except DelegationFailed:
            return "later"
        return "at once"

    client = Client(log, "boss")
    async with serving(log, boss, printer(broken)):
        context, task = await client.send("go")
        assert reply(await client.settled(context, task)) == "later"
        (handed,) = [e for e in await client.events(context) if isinstance(e, TaskDelegated)]
        broken.clear()
        done = await people(log).redrive(handed.child)
        await client.until(context, lambda state: len(state.commands) == 3)
    reports = [e for e in await client.events(context) if isinstance(e, DelegationReported)]
    assert [each.late for each in reports] == [False, True]
    outcomes = [each.outcome for each in reports]
    assert [(o.task_id, o.state) for o in outcomes if o is not None] == [
        (handed.child, TaskState.FAILED),
        (done.task_id, TaskState.COMPLETED),
    ]


async def test_a_turn_in_the_middle_of_a_task_is_redriven_with_its_own_message(
    log: JetStreamLog,
) -> None:
    broken = [True]

    @agent(name="printer", terms=AT_ONCE)
    async def printing(turn: Turn) -> str:
        if turn.text == "order":
            await turn.require_input("Which one?")
        if broken:
            raise AgentError("It is away.", kind=FailureClass.PROVIDER)
        return f"printed {turn.text}"

    client = Client(log, "printer")
    async with serving(log, printing):
        context, task = await client.send("order")
        await client.settled(context, task)
        await people(log).answer(task, Answer("the red one"), key="", actor="somebody")
        await client.until(context, lambda state: state.tasks[task].ended)
        broken.clear()
        done = await people(log).redrive(task)
        assert reply(await client.settled(context, done.task_id)) == "printed the red one"


async def test_what_nobody_decides_stands(log: JetStreamLog) -> None:
    broken = [True]
    client = Client(log, "printer")
    async with serving(log, printer(broken)):
        context, task = await client.send("a")
        await client.settled(context, task)
    done = await people(log, within=0.1).redrive(task)
    assert not done.decided
    broken.clear()
    async with serving(log, printer(broken)):
        assert reply(await client.settled(context, done.task_id)).startswith("printed a")


@pytest.mark.accepts("AS-18")
async def test_an_executor_counts_the_bells_that_rang_again(log: JetStreamLog) -> None:
    @agent(name="clerk", terms=AT_ONCE)
    async def clerk(turn: Turn) -> str:
        await turn.sleep(0.3)
        return "awake"

    client = Client(log, "clerk")
    with structlog.testing.capture_logs() as lines:
        async with serving(log, clerk) as executor:
            context, task = await client.send("go")
            await client.settled(context, task)
            assert executor.rang_again >= 1
    [said] = [line for line in lines if line["event"] == "executor-stopped"]
    assert said["rang_again"] == executor.rang_again


async def test_of_several_questions_the_one_that_is_meant_must_be_named(log: JetStreamLog) -> None:
    @agent(name="clerk", terms=AT_ONCE)
    async def clerk(turn: Turn) -> str:
        asking = (turn.ask("First?"), turn.ask("Second?"))
        return " ".join(await asyncio.gather(*asking))

    client = Client(log, "clerk")
    async with serving(log, clerk):
        context, task = await client.send("go")

        await client.until(
            context,
            lambda s: (
                (held := s.tasks.get(task)) is not None
                and held.turn is not None
                and len(held.turn.asked) == 2
            ),
        )
        with pytest.raises(InvalidInput, match="ask#1, ask#2"):
            await people(log).answer(task, Answer("x"), key="", actor="somebody")
        with pytest.raises(InvalidInput, match="ask#1, ask#2"):
            await people(log).answer(task, Answer("x"), key="ask#7", actor="somebody")
        await people(log).answer(task, Answer("two"), key="ask#2", actor="somebody")
        await people(log).answer(task, Answer("one"), key="", actor="somebody")
        ended = await client.settled(context, task)
        assert reply(ended) == "one two"
        with pytest.raises(UnsupportedOperation):
            await people(log).answer(task, Answer("x"), key="", actor="somebody")
