"""What turns report that they took, their options, and who did what: recorded once, added up."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.events.a2a import TaskState
from pelton.events.errors import InvalidInput
from pelton.events.events import UsageReported, ValueRecorded
from pelton.projections.ledgers import By, UsageEntry
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from pelton.runtime.agents import Terms, agent
from pelton.runtime.audit import Decision, Wanted, audit
from pelton.runtime.audit import models_of as session_models
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import LogRegressed, Record
from pelton.runtime.replay.graph import graph, taken
from pelton.runtime.replay.rerun import rerun
from pelton.runtime.replay.session import Session, task_session
from pelton.runtime.spending import usage
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving

SOON = Terms(suspend_after=0.05)
PROMPT = "You write poems. " * 50


@agent(name="echo", terms=SOON, options={"model": "small", "prompt": PROMPT})
async def poet(turn: Turn) -> str:
    """Call a model, wait, and call it again within a step."""
    options = await turn.options()
    assert options == await turn.options()
    turn.usage(options["model"], input_tokens=10, output_tokens=4, cost=0.002, seconds=0.5)

    async def call() -> str:
        turn.usage("large", input_tokens=100, cached_tokens=60, cost=0.01)
        return "verse"

    await turn.step("call", call)
    await turn.sleep(0.2)  # nobody holds it meanwhile: there is a second attempt
    return f"{options['model']} {len(options['prompt'])}"


async def written(log: JetStreamLog) -> tuple[str, str]:
    client = Client(log)
    async with serving(log, poet):
        context, task = await client.send("go")
        ended = await client.settled(context, task)
    assert reply(ended) == f"small {len(PROMPT)}"
    return context, task


async def models_of(log: JetStreamLog, path: Path) -> list[Record]:
    records = [record async for batch in log.scan() for record in batch]
    async with open_store(path) as store:
        await store.take(records)
    return records


async def test_usage_counts_once_however_many_attempts_there_are(
    log: JetStreamLog, tmp_path: Path
) -> None:
    context, task = await written(log)
    events = await Client(log).events(context)
    said = [(e.model, e.key) for e in events if isinstance(e, UsageReported)]
    assert [model for model, _ in said] == ["small", "large"]
    assert said[0][1] == "usage#1"
    path = tmp_path / "models.db"
    await models_of(log, path)
    async with open_read_models(path) as models:
        [small] = [e for e in (await models.ledgers.usage(By.MODEL)).items if e.name == "small"]
        assert (small.calls, small.input_tokens, small.output_tokens) == (1, 10, 4)
        assert (small.cost, small.duration) == (2_000_000, 500)
        [whole] = (await models.ledgers.usage(By.TOTAL)).items
        assert (whole.turns, whole.calls, whole.cached_tokens) == (1, 2, 60)
        assert whole.cost == 12_000_000
        for by, name in ((By.AGENT, "echo"), (By.CONTEXT, context), (By.PRINCIPAL, "somebody")):
            assert (await models.ledgers.usage(by)).items == (renamed(whole, name),)
        [day] = (await models.ledgers.usage(By.DAY)).items
        assert (await models.ledgers.usage(By.TOTAL, since=day.name)).total == 1
        assert (await models.ledgers.usage(By.TOTAL, since="9999-01-01")).total == 0
        assert (await models.ledgers.usage(owner="nobody")).items == ()
        first = await models.ledgers.usage(By.MODEL, page_size=2)
        second = await models.ledgers.usage(By.MODEL, page_size=2, cursor=first.next)
        names = [each.name for each in (*first.items, *second.items)]
        assert (names, first.total, second.next) == (["", "large", "small"], 3, "")
        with pytest.raises(InvalidInput):
            await models.ledgers.usage(By.AGENT, cursor=first.next)
    node = graph(await task_session(log, task)).branch(task)
    assert (node.tokens, node.cost) == (114, 0.012)
    assert taken(node, 1.5) == "1 turn, 2 attempts, 1 step, 1.500 s, 114 tokens, cost 0.012"
    once = msgspec.structs.replace(node, attempts=1, tokens=0, cost=0.0)
    assert taken(once, 1.5) == "1 turn, 1 step, 1.500 s"


def renamed(entry: UsageEntry, name: str) -> UsageEntry:
    return msgspec.structs.replace(entry, name=name)


async def test_a_turn_keeps_its_options_and_its_prompt_is_stored_once(log: JetStreamLog) -> None:
    context, task = await written(log)
    [value] = [e for e in await Client(log).events(context) if isinstance(e, ValueRecorded)]
    assert set(value.value) == {"blob"}
    again, _ = await written(log)
    [other] = [e for e in await Client(log).events(again) if isinstance(e, ValueRecorded)]
    assert other.value == value.value  # by its hash
    session = await task_session(log, task)
    assert list(session.blobs) == [value.value["blob"]["sha256"]]
    later = dataclasses.replace(poet, options={"model": "new", "prompt": ""})
    verdict = await asyncio.to_thread(rerun, session, task, later)
    assert verdict.equal, verdict  # a turn that has begun has the options that it began with


async def test_usage_is_not_reported_from_threads_or_in_nonsense(log: JetStreamLog) -> None:
    said: list[str] = []

    @agent(name="echo")
    async def odd(turn: Turn) -> None:
        def thread() -> None:
            turn.usage("small")

        try:
            await turn.step("thread", thread)
        except Exception as error:  # noqa: BLE001  a step's failure, whatever it is
            said.append(type(error).__name__)
        with pytest.raises(InvalidInput):
            turn.usage("small", input_tokens=-1)
        with pytest.raises(InvalidInput):
            turn.usage("small", cost=float("nan"))
        with pytest.raises(InvalidInput):
            turn.usage("small", seconds=-0.1)

    client = Client(log)
    async with serving(log, odd):
        context, task = await client.send("go")
        assert (await client.settled(context, task)).status.state is TaskState.COMPLETED
    assert said == ["StepError"]
    assert not [e for e in await client.events(context) if isinstance(e, UsageReported)]


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_costs_are_whole_numbers(cost: float, seconds: float) -> None:
    event = usage(
        *("task", "usage#1", "m"),
        input_tokens=0,
        output_tokens=0,
        cached_tokens=0,
        cost=cost,
        seconds=seconds,
    )
    assert abs(event.cost / 1e9 - cost) <= 1e-9
    assert abs(event.duration / 1e3 - seconds) <= 1e-3


@pytest.mark.accepts("AS-30")
async def test_who_did_what_and_what_was_refused(log: JetStreamLog, tmp_path: Path) -> None:
    client = Client(log)

    @agent(name="echo")
    async def echo(turn: Turn) -> str:
        return turn.text

    async with serving(log, echo):
        context, task = await client.send("go", actor="anna")
        await client.settled(context, task)
        await client.send("again", context, task=task, actor="bert")
        await client.until(context, lambda state: len(state.commands) == 2)
        await client.send("and", context, actor="anna")
        await client.until(context, lambda state: len(state.commands) == 3)
    await models_of(log, tmp_path / "models.db")
    async with open_read_models(tmp_path / "models.db") as models:
        done = partial(audit, models, log)
        found = (await done(Wanted())).items
        told = [(each.principal, each.command, each.decision, each.code) for each in found]
        assert told[1:] == [
            ("anna", "SendMessage", Decision.ACCEPTED, ""),
            ("bert", "SendMessage", Decision.REFUSED, "task-not-found"),
            ("anna", "SendMessage", Decision.ACCEPTED, ""),
        ]
        assert (found[0].events, found[0].command) == (("AgentRegistered",), "")
        assert found[1].task_id == task
        assert "TurnStarted" in found[1].events
        assert (await done(Wanted(refused=True))).items == found[2:3]
        assert (await done(Wanted("anna", "echo"))).items == (found[1], found[3])
        assert (await done(Wanted(), after=found[1].sequence)).items == found[2:]
        assert (await done(Wanted(agent="other"))).items == ()
        with pytest.raises(InvalidInput):
            await done(Wanted(agent="no.such>"))
    async with session_models(await task_session(log, task)) as models:
        alone = await audit(models, await task_session(log, task), Wanted())
        assert alone.items == found


@pytest.mark.accepts("G7")
async def test_no_other_log_tells_what_the_audit_leads_to(
    log: JetStreamLog, tmp_path: Path
) -> None:
    _, task = await written(log)
    await models_of(log, tmp_path / "models.db")
    session = await task_session(log, task)
    async with open_read_models(tmp_path / "models.db") as models:
        other = Session([each._replace(data=b"{}") for each in session.records], {})
        with pytest.raises(LogRegressed):
            await audit(models, other, Wanted())
