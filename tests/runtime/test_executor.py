"""Executors against a real server: order, recorded steps, takeover, fencing, endings."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from pelton.events import subjects
from pelton.events.a2a import Message, Part, Role, TaskState, text_of
from pelton.events.commit import recorded
from pelton.events.events import (
    FailureClass,
    Outcome,
    StepStarted,
    TaskArtifactUpdated,
    TurnEnded,
    TurnStarted,
    type_of,
)
from pelton.events.retries import Retry
from pelton.events.upcast import decode_command, decode_commit
from pelton.runtime.agents import Terms, agent
from pelton.runtime.attempt import Attempt
from pelton.runtime.bulk import ContextBlobs, inline_task, offload
from pelton.runtime.executor import Executor
from pelton.runtime.failures import AgentError
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.recorder import Recorder
from pelton.runtime.steps import idempotency_key
from pelton.runtime.turn import Turn
from tests.garbage import left_alone
from tests.runtime.clients import WORLD, Client, only, reply, serving

Opened = Callable[[], Awaitable[JetStreamLog]]


@agent(name="echo")
async def echo(turn: Turn) -> str:
    """Say it again."""
    return f"{len(turn.history)}:{turn.text}"


async def test_a_short_turn_is_one_commit(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, echo):
        context, task = await client.send("hello")
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.COMPLETED
    assert reply(ended) == "0:hello"
    assert len(await log.read(subjects.commits("echo", context))) == 1


async def test_a_short_turn_leaves_nothing_for_the_collector(log: JetStreamLog) -> None:
    """Rings of references in what each turn makes cost a third of an executor's time."""
    client = Client(log)
    with left_alone():
        async with serving(log, echo) as executor:
            gc.disable()
            try:
                for _ in range(5):
                    await client.settled(*await client.send("hello"))
                async with asyncio.timeout(5):
                    while executor.active:
                        await asyncio.sleep(0.01)
                left = [each for each in gc.get_objects() if isinstance(each, Attempt | Recorder)]
            finally:
                gc.enable()
    assert not left


async def test_a_command_waits_for_the_first_executor(log: JetStreamLog) -> None:
    client = Client(log)
    context, task = await client.send("early")
    async with serving(log, echo):
        assert reply(await client.settled(context, task)) == "0:early"


@pytest.mark.accepts("AS-9")
async def test_the_same_command_twice_is_one_task(log: JetStreamLog) -> None:
    """Once more within the deduplication window, and once as if it were long over."""
    client = Client(log)
    async with serving(log, echo):
        context, task = await client.send("once", "ctx", id_="command-1")
        await client.settled(context, task)
        before = await client.events(context)
        await client.send("once", "ctx", id_="command-1")
        subject = subjects.commands("echo", context)
        first = (await log.read(subject))[0]
        again = await log.append(subject, first.data, id="another-id-for-the-same-command")
        state = await client.until(context, lambda state: state.handled >= again)
    assert await client.events(context) == before
    assert list(state.tasks) == [task]


@pytest.mark.accepts("AS-14")
async def test_commands_of_a_context_run_in_order_one_at_a_time(
    nats_url: str, log: JetStreamLog
) -> None:
    """Three executors, five contexts, eight messages each."""
    running: set[str] = set()
    overlaps: list[str] = []
    parallel = 0

    @agent(name="echo")
    async def slow(turn: Turn) -> str:
        nonlocal parallel
        if turn.context_id in running:
            overlaps.append(turn.context_id)
        running.add(turn.context_id)
        parallel = max(parallel, len(running))
        await asyncio.sleep(0.07)  # the work; nothing waits for it by time
        running.discard(turn.context_id)
        return turn.text

    async with (
        JetStreamLog.open(nats_url) as one,
        JetStreamLog.open(nats_url) as two,
        JetStreamLog.open(nats_url) as three,
        serving(one, slow),
        serving(two, slow),
        serving(three, slow),
    ):
        client = Client(log)
        sent = [
            await client.send(str(number), f"ctx-{context}")
            for number in range(8)
            for context in range(5)
        ]
        for context, task in sent:
            await client.settled(context, task, within=30)
        for context in {context for context, _ in sent}:
            state = await client.contexts.load("echo", context)
            said = [text_of(m.parts) for m in state.messages if m.role is Role.USER]
            assert said == [str(number) for number in range(8)]
    assert not overlaps
    assert parallel > 1


async def test_steps_are_recorded_and_served(nats_url: str, log: JetStreamLog) -> None:
    """An executor that stops hands its turn back; the next one runs no recorded step again."""
    ran: list[str] = []
    keys: list[str] = []
    hold = asyncio.Event()

    async def work(name: str) -> dict[str, str]:
        ran.append(name)
        keys.append(idempotency_key())
        return {"did": name}

    @agent(name="echo")
    async def stepping(turn: Turn) -> str:
        done: list[str] = []
        for number in range(3):
            result = await turn.step("work", work, f"{number}")
            await turn.stream(f"[{number}]")
            done.append(result["did"])
            if number == 1 and turn.attempt == 1:
                hold.set()
                await asyncio.Event().wait()
        return ",".join(done)

    async with JetStreamLog.open(nats_url) as one, JetStreamLog.open(nats_url) as two:
        client = Client(log)
        first = Executor(one, [stepping], world=WORLD)
        running = asyncio.create_task(first.run(budget=0.2))
        await first.ready.wait()
        context, task = await client.send("go")
        await asyncio.wait_for(hold.wait(), 5)
        async with serving(two, stepping):
            first.stop()
            await asyncio.wait_for(running, 10)
            ended = await client.settled(context, task, within=1.0)
    assert reply(ended) == "0,1,2"
    assert ran == ["0", "1", "2"]
    assert len(set(keys)) == 3
    assert only(ended).parts == (Part(text="[0][1][2]"),)
    events = await client.events(context)
    assert [e.attempt for e in events if isinstance(e, TurnStarted)] == [1, 2]
    chunks = [e for e in events if isinstance(e, TaskArtifactUpdated)]
    assert [text_of(e.artifact.parts) for e in chunks] == ["[0]", "[1]", "[2]"]


async def test_what_a_new_attempt_streams_replaces_what_differs(
    nats_url: str, log: JetStreamLog
) -> None:
    hold = asyncio.Event()

    @agent(name="echo")
    async def fickle(turn: Turn) -> None:
        await turn.stream("same ")
        await turn.stream(f"attempt {turn.attempt}")
        if turn.attempt == 1:
            await turn.artifact("scrap", name="scrap")
        await turn.step("flush", asyncio.sleep, 0)
        if turn.attempt == 1:
            hold.set()
            await asyncio.Event().wait()

    async with JetStreamLog.open(nats_url) as one, JetStreamLog.open(nats_url) as two:
        client = Client(log)
        first = Executor(one, [fickle], world=WORLD)
        running = asyncio.create_task(first.run(budget=0.0))
        await first.ready.wait()
        context, task = await client.send("go")
        await asyncio.wait_for(hold.wait(), 5)
        async with serving(two, fickle):
            first.stop()
            await asyncio.wait_for(running, 10)
            ended = await client.settled(context, task)
    assert only(ended).parts == (Part(text="same attempt 2"),)


@pytest.mark.accepts("G4")
async def test_a_fenced_executor_stops_and_writes_nothing(nats_url: str, log: JetStreamLog) -> None:
    """Its heart stops while it works; another takes over; what it still wants to say is refused."""
    started, go_on, refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @agent(name="echo")
    async def zombie(turn: Turn) -> str:
        await turn.step("begin", asyncio.sleep, 0)
        if turn.attempt == 1:
            started.set()
            await go_on.wait()
            try:
                await turn.step("late", asyncio.sleep, 0)
            finally:
                refused.set()
        return f"attempt {turn.attempt}"

    async with JetStreamLog.open(nats_url) as one, JetStreamLog.open(nats_url) as two:
        client = Client(log)
        first = Executor(one, [zombie], world=WORLD, capacity=1)  # its bell rings elsewhere
        first._beat = asyncio.Event().wait  # type: ignore[assignment,method-assign]  # noqa: SLF001
        running = asyncio.create_task(first.run(budget=1.0))
        await first.ready.wait()
        context, task = await client.send("go")
        await asyncio.wait_for(started.wait(), 5)
        async with serving(two, zombie):
            ended = await client.settled(context, task)
            assert reply(ended) == "attempt 2"
            before = await client.events(context)
            go_on.set()
            await asyncio.wait_for(refused.wait(), 5)
            first.stop()
            await asyncio.wait_for(running, 10)
    assert await client.events(context) == before


async def test_a_crash_in_the_agent_is_a_failed_task(log: JetStreamLog) -> None:
    @agent(name="echo")
    async def crash(turn: Turn) -> None:
        raise ValueError(f"a secret: {turn.text}")

    client = Client(log)
    async with serving(log, crash):
        context, task = await client.send("hunter2")
        ended = await client.settled(context, task)
        assert ended.status.state is TaskState.FAILED
        assert reply(ended) == "The agent failed (ValueError)."
        (end,) = [e for e in await client.events(context) if isinstance(e, TurnEnded)]
        assert end.failure is not None
        assert end.failure.exception == "ValueError"
        assert "secret" not in repr(end)


@pytest.mark.parametrize("wait", ["in a step", "in its first moment", "before it began"])
@pytest.mark.accepts("AS-33")
async def test_cancel_ends_the_turn_it_names(log: JetStreamLog, wait: str) -> None:
    started = asyncio.Event()
    ended_by: list[str] = []

    @agent(name="echo")
    async def endless(turn: Turn) -> str:
        if turn.text == "other":
            return "other"
        try:
            if wait == "in a step":
                await turn.step("begin", asyncio.sleep, 0)
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended_by.append("cancel")
            raise
        return "never"

    client = Client(log)
    context, task = "ctx", ""
    if wait == "before it began":
        context, task = await client.send("endless", context)
        await client.cancel(context, task)
    async with serving(log, endless):
        if wait != "before it began":
            context, task = await client.send("endless", context)
            await asyncio.wait_for(started.wait(), 5)
            await client.cancel(context, task)
        ended = await client.settled(context, task, within=3)
        context, other = await client.send("other", context)
        assert reply(await client.settled(context, other)) == "other"
    assert ended.status.state is TaskState.CANCELED
    ends = [e for e in await client.events(context) if isinstance(e, TurnEnded)]
    assert [e.outcome for e in ends] == [Outcome.CANCELED, Outcome.COMPLETED]
    assert ended_by == ["cancel"]


async def test_an_unknown_outcome_is_not_run_again(nats_url: str, log: JetStreamLog) -> None:
    started = asyncio.Event()
    ran: list[int] = []

    async def effect() -> None:
        ran.append(1)
        started.set()
        await asyncio.Event().wait()

    @agent(name="echo")
    async def risky(turn: Turn) -> None:
        await turn.step("pay", effect)

    async with JetStreamLog.open(nats_url) as one, JetStreamLog.open(nats_url) as two:
        client = Client(log)
        first = Executor(one, [risky], world=WORLD)
        running = asyncio.create_task(first.run(budget=0.0))
        await first.ready.wait()
        context, task = await client.send("risky")
        await asyncio.wait_for(started.wait(), 5)
        async with serving(two, risky):
            first.stop()
            await asyncio.wait_for(running, 10)
            asked = await client.asked(context, task)
            assert "nobody knows whether it was done" in reply(asked)
            await client.send("give-up", context, task=task)
            ended = await client.settled(context, task)
    assert ended.status.state is TaskState.FAILED
    assert ran == [1]
    starts = [e for e in await client.events(context) if isinstance(e, StepStarted)]
    assert len(starts) == 1


@pytest.mark.accepts("AS-16")
async def test_a_turn_that_ends_as_its_executor_begins_to_listen_is_put_down(
    log: JetStreamLog,
) -> None:
    """Whoever listens is cancelled about when the server answers, and must hear that.

    Once it did not, on Python 3.11: the context stayed in hand, and no second attempt ever came.
    """
    retries = {FailureClass.PROVIDER: Retry(attempts=2, first=0.01)}

    @agent(name="echo", terms=Terms(retries=retries))
    async def flaky(turn: Turn) -> str:
        """Fail once, soon after something was written."""
        await turn.status("working")
        await asyncio.sleep(int(turn.text) / 20_000)  # about as long as it takes to listen
        if turn.attempt == 1:
            raise AgentError("It may pass.", kind=FailureClass.PROVIDER)
        return "done"

    client = Client(log)
    async with serving(log, flaky) as executor:
        sent = [await client.send(str(number)) for number in range(60)]
        ended = [await client.settled(context, task, within=30.0) for context, task in sent]
        assert {reply(task) for task in ended} == {"done"}
        async with asyncio.timeout(5):
            while executor.active:
                await asyncio.sleep(0.01)


async def test_poison_does_not_block_what_is_behind_it(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, echo):
        await log.append(subjects.commands("echo", "ctx"), b"\xff not a command", id="poison-1")
        context, task = await client.send("fine", "ctx")
        assert reply(await client.settled(context, task)) == "0:fine"
        state = await client.contexts.load("echo", context)
        assert [r.code for r in state.rejected.values()] == ["damaged-record"]


async def test_a_command_where_no_context_is_harms_nobody(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, echo):
        for nowhere in ("cmd.echo.a.b", "cmd.echo._agent", "cmd.echo.=NOT-A-TOKEN"):
            await log.append(nowhere, b"{}", id=f"to {nowhere}")
        context, task = await client.send("fine")
        assert reply(await client.settled(context, task)) == "0:fine"


async def test_a_command_of_a_newer_version_waits_for_a_newer_executor(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, echo):
        newer = b'{"type":"pelton.SendMessage.v999","id":"newer"}'
        await log.append(subjects.commands("echo", "ctx"), newer, id="newer")
        context, task = await client.send("fine")
        assert reply(await client.settled(context, task)) == "0:fine"
        assert (await client.contexts.load("echo", "ctx")).handled == 0


async def test_bulk_goes_to_blobs_and_comes_back(log: JetStreamLog) -> None:
    """Megabytes in a message, a step, an artifact and a stream: no record comes near its limit."""
    large = "wheel " * 300_000

    @agent(name="echo")
    async def bulky(turn: Turn) -> str:
        assert await turn.step("read", asyncio.sleep, 0, large) == large
        await turn.artifact([Part(text=large), *[Part(text="x" * 9000) for _ in range(200)]])
        await turn.stream(large, last=True)
        return f"{len(turn.text)} and {sum(len(text_of(m.parts)) for m in turn.history)}"

    client = Client(log)
    message = Message(message_id="large", role=Role.USER, parts=(Part(text=large),))
    stored = await offload(ContextBlobs(log, "echo", "ctx"), message)
    assert stored.parts[0].blob is not None
    async with serving(log, bulky):
        for history in (0, 1):
            context, task = await client.send("", "ctx", message=stored)
            ended = await client.settled(context, task, within=30)
            assert reply(ended).startswith(f"{len(large)} and ")
            assert (reply(ended) == f"{len(large)} and 0") is (history == 0)
    whole = await inline_task(log, ended.view())
    texts = sorted(len(text_of(artifact.parts)) for artifact in whole.artifacts)
    assert texts == [len(large), len(large) + 200 * 9000]
    records = await log.read(subjects.commits("echo", "ctx"))
    assert max(len(record.data) for record in records) < 400 * 1024


@pytest.mark.accepts("AS-7", "AS-8")
async def test_all_that_follows_from_a_request_can_be_traced_to_it(log: JetStreamLog) -> None:
    client = Client(log)
    async with serving(log, echo):
        context, task = await client.send("trace me", id_="the-request")
        await client.settled(context, task)
    command, commit = (
        decode_command((await log.read(subjects.commands("echo", context)))[0].data),
        decode_commit((await log.read(subjects.commits("echo", context)))[0].data),
    )
    assert command.correlationid == command.id == "the-request"
    for entry in recorded(commit):
        about = entry.commit
        assert about.correlationid == about.causationid == "the-request"
        assert about.traceparent == command.traceparent
        for name in ("id", "source", "subject", "time", "tenant", "actor", "dataschema"):
            assert getattr(about, name)
        assert entry.id == f"{commit.id}/{entry.sequence}"
        assert type_of(entry.event)[-3:-1] == ".v"
