"""The start of an agent in its log: each stage, and what went wrong there (AS-69, AS-72)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from pelton.events.a2a import TaskState
from pelton.events.agent import AgentState
from pelton.events.commit import recorded
from pelton.events.errors import InvalidInput
from pelton.events.events import (
    AgentPrompted,
    AgentRegistered,
    AgentStatusChanged,
    AnyEvent,
    FailureClass,
    ScheduleSet,
)
from pelton.events.presence import AgentStatus, Beat
from pelton.events.schedule import Schedule
from pelton.events.start import AgentStageFailed, AgentStageReached, Stage
from pelton.events.subjects import agent_commits, schedule_commits
from pelton.events.upcast import decode_commit
from pelton.runtime.agents import Agent, agent
from pelton.runtime.aggregates import agents_of
from pelton.runtime.executor import Executor
from pelton.runtime.failures import AgentError
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.log import Bells, Lease
from pelton.runtime.roster import Roster
from pelton.runtime.starting import detail_of, kind_of
from pelton.runtime.supervised import supervised
from pelton.runtime.turn import Turn
from pelton.runtime.work import Work
from tests.runtime.clients import WORLD, Client, serving
from tests.runtime.test_presence import at

YEARLY = Schedule(name="yearly", text="x", cron="0 0 1 1 *")


@agent(initial="begin", schedules=(YEARLY,))
async def echo(turn: Turn) -> str:
    """Say it again."""
    return turn.text


def starting(*failures: Exception) -> Agent:
    """Return the agent with something to be started, which fails so and then well."""
    left = [*failures]

    @asynccontextmanager
    async def opened(_: object) -> AsyncGenerator[None]:
        if left:
            raise left.pop(0)
        yield

    return replace(echo, opened=opened, checked=True)


async def told(log: JetStreamLog, subject: str = agent_commits("echo")) -> list[Any]:
    return [
        each.event
        for record in await log.read(subject)
        for each in recorded(decode_commit(record.data))
    ]


def place(event: AnyEvent) -> object:
    """Return what an event is about: a stage, a status, or what its type says."""
    if isinstance(event, AgentStageReached):
        return event.stage
    return event.status if isinstance(event, AgentStatusChanged) else type(event)


async def state_of(log: JetStreamLog) -> AgentState:
    return await agents_of(log, WORLD).load("echo")


async def failing(log: JetStreamLog, given: Agent) -> None:
    """Try to start an agent that cannot be."""
    executor = Executor(log, [given], world=WORLD)
    async with asyncio.timeout(10):
        await executor.run()


@pytest.mark.accepts("AS-55", "AS-63")
async def test_each_stage_of_a_start_is_told_in_its_order(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, starting()) as executor:
        events = await told(log)
        assert [place(each) for each in events] == [
            *(Stage.PREFLIGHT, Stage.ADAPTER, AgentRegistered, AgentStatus.SERVING),
            *(Stage.SERVING, AgentPrompted),
        ]
        stages = [each for each in events if isinstance(each, AgentStageReached)]
        assert {each.executor for each in stages} == {executor.id}
        context, task = await client.send("hello")
        assert (await client.settled(context, task)).status.state is TaskState.COMPLETED
    assert [type(each) for each in await told(log, schedule_commits("echo"))] == [ScheduleSet]


@pytest.mark.accepts("AS-63")
async def test_it_serves_only_once_it_hears(
    log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees that it serves is answered: before that, nobody says so."""
    said: list[tuple[Beat, bool]] = []
    hearing, bells, beat = asyncio.Event(), log.bells, log.beat

    @asynccontextmanager
    async def heard(*args: Any, **more: Any) -> AsyncGenerator[Bells]:
        async with bells(*args, **more) as found:
            hearing.set()
            yield found

    async def beaten(agent: str, executor: str, how: Beat, *, ttl: float) -> Lease | None:
        said.append((how, hearing.is_set()))
        return await beat(agent, executor, how, ttl=ttl)

    monkeypatch.setattr(log, "bells", heard)
    monkeypatch.setattr(log, "beat", beaten)
    async with serving(log, echo):
        assert (await state_of(log)).status is AgentStatus.SERVING
    assert said[:2] == [(Beat.STARTING, False), (Beat.SERVING, True)]


@pytest.mark.accepts("AS-69")
async def test_a_failed_start_is_told_once_and_is_over_when_it_is_served(
    log: JetStreamLog,
) -> None:
    missing = FileNotFoundError(2, "No such file or directory", "parrot")
    key = "sk-ant-api03-" + "a1B2" * 20
    given = starting(missing, missing, OSError(8, f"Exec format error {key}"))
    for _ in range(3):
        with pytest.raises(OSError):  # noqa: PT011  which one is told below
            await failing(log, given)
    failures = [each for each in await told(log) if isinstance(each, AgentStageFailed)]
    assert [each.stage for each in failures] == [Stage.ADAPTER, Stage.ADAPTER]
    assert len(await told(log)) == len(failures), "and nothing else"
    first, second = failures
    assert first.kind is FailureClass.DEPENDENCY
    assert first.detail == "FileNotFoundError: [Errno 2] No such file or directory: 'parrot'"
    assert "Exec format error" in second.detail
    assert key not in second.detail
    state = await state_of(log)
    assert (state.status, state.profile) == (AgentStatus.REMOVED, None)
    roster = Roster(log, world=WORLD)
    await roster.refresh()
    assert [known.state.agent for known in roster.failing] == ["echo"]
    assert not [*roster]
    async with serving(log, given):
        assert (await state_of(log)).trouble is None


@pytest.mark.accepts("AS-72")
async def test_a_loop_that_crashes_degrades_the_agent_and_goes_on(
    log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, crash = Client(log), iter((KeyError("bell"), KeyError("bell")))

    def fragile(*args: Any) -> Work:
        for error in crash:
            raise error
        return Work(*args)

    plain = replace(echo, initial="", schedules=())
    async with serving(log, plain, patience=0.5):
        await at(log, AgentStatus.SERVING)
        monkeypatch.setattr("pelton.runtime.executor.Work", fragile)
        context, task = await client.send("hello")
        await at(log, AgentStatus.DEGRADED)
        trouble = (await state_of(log)).trouble
        assert trouble is not None
        assert (trouble.event.stage, trouble.event.kind) == (Stage.SERVING, FailureClass.AGENT)
        assert trouble.event.detail == "KeyError: 'bell'"
        assert (await client.settled(context, task)).status.state is TaskState.COMPLETED
        await at(log, AgentStatus.SERVING)
    async with serving(log, plain):
        assert (await state_of(log)).trouble is None


async def test_a_loop_is_begun_later_each_time() -> None:
    pauses: list[float] = []
    left = [ValueError("a"), ValueError("b"), ValueError("c")]
    seen: list[str] = []

    async def loop() -> None:
        if left:
            raise left.pop(0)

    async def crashed(error: Exception) -> None:
        pauses.append(asyncio.get_running_loop().time())
        seen.append(str(error))

    async with asyncio.timeout(10):
        await supervised(loop, "test", world=WORLD, crashed=crashed)
    assert seen == ["a", "b", "c"]
    assert pauses[2] - pauses[1] > 1.5 * (pauses[1] - pauses[0])


@pytest.mark.parametrize(
    ("error", "cause", "detail", "kind"),
    [
        (
            AgentError("It needs more: No module named 'parrot'"),
            ModuleNotFoundError("No module named 'parrot'"),
            "It needs more: No module named 'parrot'",
            FailureClass.AGENT,
        ),
        (
            RuntimeError("it did not start"),
            OSError(13, "Permission denied"),
            "RuntimeError: it did not start; PermissionError: [Errno 13] Permission denied",
            FailureClass.AGENT,
        ),
        (
            InvalidInput("it cannot be imported"),
            ImportError("libparrot.so: cannot open shared object file"),
            "it cannot be imported; ImportError: libparrot.so: cannot open shared object file",
            FailureClass.DEPENDENCY,
        ),
        (TimeoutError(), None, "TimeoutError: ", FailureClass.TIMEOUT),
    ],
)
def test_what_an_error_and_its_causes_say_is_told_once(
    error: Exception, cause: Exception | None, detail: str, kind: FailureClass
) -> None:
    error.__cause__ = cause
    assert (detail_of(error), kind_of(error)) == (detail, kind)
