"""Work that is handed to agents elsewhere: once, followed by whoever has the turn, to its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from pelton.events.a2a import Artifact, Message, Part, Role, Task, TaskState, TaskStatus, text_of
from pelton.events.delegation import check_target, origin
from pelton.events.errors import InvalidInput
from pelton.events.events import (
    DelegationAccepted,
    DelegationReported,
    Failure,
    FailureClass,
    TaskDelegated,
    TurnStarted,
)
from pelton.runtime.agents import Terms, agent
from pelton.runtime.answers import DelegationFailed, Report
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.remote import RemoteFailed
from pelton.runtime.turn import Turn
from tests.runtime.clients import WORLD, Client, reply, serving

URL = "https://far.example/worker"
SOON = Terms(suspend_after=0.1)
GONE = RemoteFailed(Failure(kind=FailureClass.DEPENDENCY, message="It is away."), passes=True)
FORBIDDEN = RemoteFailed(Failure(kind=FailureClass.AUTHORISATION, message="No."), passes=False)


@dataclass
class Far:
    """An agent elsewhere, as its client tells of it: tasks end when the test says so."""

    tasks: dict[str, Task] = field(default_factory=dict[str, Task])
    sent: list[Message] = field(default_factory=list[Message])
    deadlines: list[str] = field(default_factory=list[str])
    canceled: list[str] = field(default_factory=list[str])
    troubles: list[Exception] = field(default_factory=list[Exception])
    lists: bool = True
    bare: bool = False
    looked: Counter[str] = field(default_factory=Counter[str])
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def allows(self, url: str) -> bool:
        return url == URL

    async def send(self, url: str, message: Message, *, deadline: str) -> Task | Message:
        assert url == URL
        self.sent.append(message)
        self.deadlines.append(deadline)
        if self.troubles:
            raise self.troubles.pop(0)
        if self.bare:
            return Message(message_id="a", role=Role.AGENT, parts=(Part(text="at once"),))
        id_ = message.task_id or f"task-{len(self.tasks) + 1}"
        before = self.tasks.get(id_)
        history = (*(before.history if before else ()), message)
        status = replace(before.status, message=None) if before else status_of(TaskState.SUBMITTED)
        self.tasks[id_] = Task(
            id=id_, context_id=message.context_id, status=status, history=history
        )
        return self.tasks[id_]

    async def find(self, url: str, message: Message) -> Task | None:
        assert url == URL
        self.looked["find"] += 1
        for task in self.tasks.values() if self.lists else ():
            if any(each.message_id == message.message_id for each in task.history):
                return task
        return None

    async def get(self, url: str, task_id: str) -> Task:
        assert url == URL
        self.looked["get"] += 1
        if task_id not in self.tasks:
            raise RemoteFailed(
                Failure(kind=FailureClass.DEPENDENCY, message="It knows no such task."),
                passes=False,
            )
        return self.tasks[task_id]

    async def changed(self, url: str, task_id: str) -> None:
        assert (url, bool(task_id)) == (URL, True)
        self.moved.clear()
        async with asyncio.timeout(5):
            await self.moved.wait()

    async def cancel(self, url: str, task_id: str) -> None:
        assert url == URL
        self.canceled.append(task_id)

    def end(self, task_id: str, state: TaskState, text: str, *, bulk: str = "") -> None:
        """Let a task come to rest."""
        artifacts = (Artifact(artifact_id="bulk", parts=(Part(text=bulk),)),) if bulk else ()
        self.tasks[task_id] = replace(
            self.tasks[task_id], status=status_of(state, text), artifacts=artifacts
        )
        self.moved.set()


def status_of(state: TaskState, text: str = "") -> TaskStatus:
    said = Message(message_id=f"said {text}", role=Role.AGENT, parts=(Part(text=text),))
    return TaskStatus(state=state, message=said if text else None)


async def sent(far: Far, count: int = 1) -> None:
    """Wait until so many messages were sent."""
    async with asyncio.timeout(10):
        while len(far.sent) < count:
            await asyncio.sleep(0.01)


async def suspended(client: Client, context: str) -> None:
    """Wait until no process runs the context's turn."""
    await client.until(context, lambda s: s.open is not None and s.open.turn.suspended)  # type: ignore[union-attr]


def of(events: Sequence[Any], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@agent(name="boss", terms=SOON)
async def boss(turn: Turn) -> str:
    """Hand it on, and say what came of it."""
    try:
        report = await turn.delegate(URL, turn.text)
    except DelegationFailed as failed:
        return f"{failed.failure.kind}: {failed.report.text}"
    return f"{report.state} {report.task_id}: {report.text[-20:]}"


@pytest.mark.accepts("AS-50", "AS-52")
async def test_the_end_finds_a_turn_that_no_process_holds(log: JetStreamLog) -> None:
    far, client = Far(), Client(log, "boss")
    async with serving(log, boss, remote=far):
        context, task = await client.send("it")
        await suspended(client, context)
        far.end("task-1", TaskState.COMPLETED, "done", bulk="x" * 40_000)
        ended = await client.settled(context, task)
    assert reply(ended) == f"TASK_STATE_COMPLETED task-1: {'x' * 16}done"
    (message,) = far.sent
    assert text_of(message.parts) == "it"
    assert origin(message) == "boss"
    events = await client.events(context)
    (handed,), (taken,) = of(events, TaskDelegated), of(events, DelegationAccepted)
    assert (handed.agent, handed.child, taken.child) == (URL, "", "task-1")
    assert (message.message_id, message.context_id) == (handed.command_id, handed.context_id)
    assert len(of(events, DelegationReported)) == 1


@pytest.mark.accepts("AS-50")
async def test_another_executor_follows_when_the_one_that_did_is_gone(
    nats_url: str, log: JetStreamLog
) -> None:
    far, client = Far(), Client(log, "boss")
    async with JetStreamLog.open(nats_url) as one, JetStreamLog.open(nats_url) as two:
        async with serving(one, boss, remote=far, patience=0.5):
            context, task = await client.send("it")
            await suspended(client, context)
        far.end("task-1", TaskState.COMPLETED, "done")  # while nobody listens
        async with serving(two, boss, remote=far, patience=0.5):
            ended = await client.settled(context, task)
    assert reply(ended) == "TASK_STATE_COMPLETED task-1: done"
    assert len(far.sent) == 1
    assert len(of(await client.events(context), DelegationReported)) == 1


@pytest.mark.accepts("AS-10", "AS-50")
@pytest.mark.parametrize("lists", [True, False])
async def test_what_may_have_been_sent_is_looked_for_before_it_is_sent_again(
    nats_url: str, log: JetStreamLog, *, lists: bool
) -> None:
    """The first executor stops between the sending and the record of it."""
    reached, client = asyncio.Event(), Client(log, "boss")

    class Stuck(Far):
        async def send(self, url: str, message: Message, *, deadline: str) -> Task | Message:
            await super().send(url, message, deadline=deadline)
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError

    stuck = Stuck(lists=lists)
    async with JetStreamLog.open(nats_url) as one, JetStreamLog.open(nats_url) as two:
        first = Executor(one, [boss], world=WORLD, remote=stuck)
        running = asyncio.create_task(first.run(budget=0.0))
        await first.ready.wait()
        context, task = await client.send("it")
        await asyncio.wait_for(reached.wait(), 10)
        first.stop()
        await asyncio.wait_for(running, 10)
        far = Far(tasks=stuck.tasks, lists=lists)
        async with serving(two, boss, remote=far):
            if not lists:  # it cannot tell: the same message under the same key
                await sent(far)
                assert far.sent == stuck.sent
            far.end(list(far.tasks)[-1], TaskState.COMPLETED, "done")
            ended = await client.settled(context, task)
    assert reply(ended).endswith("done")
    assert len(far.sent) == (0 if lists else 1)
    assert far.looked["find"] == 1


async def test_an_agent_that_is_away_is_asked_again_and_one_that_refuses_is_not(
    log: JetStreamLog,
) -> None:
    far, client = Far(troubles=[GONE, GONE]), Client(log, "boss")
    async with serving(log, boss, remote=far):
        context, task = await client.send("it")
        await sent(far, 3)
        assert len({each.message_id for each in far.sent}) == 1
        far.end("task-1", TaskState.COMPLETED, "back")
        assert reply(await client.settled(context, task)).endswith("back")
        far.troubles.append(FORBIDDEN)
        context, task = await client.send("it")
        assert reply(await client.settled(context, task)) == "authorisation: No."
        (reported,) = of(await client.events(context), DelegationReported)
        assert reported.failure == FORBIDDEN.failure


async def test_a_task_that_its_agent_has_forgotten_fails(log: JetStreamLog) -> None:
    far, client = Far(), Client(log, "boss")
    async with serving(log, boss, remote=far):
        context, task = await client.send("it")
        await suspended(client, context)
        far.tasks.clear()
        far.moved.set()
        ended = await client.settled(context, task)
    assert reply(ended) == "dependency-unavailable: It knows no such task."
    assert len(far.sent) == 1


async def test_an_answer_without_a_task_is_an_end(log: JetStreamLog) -> None:
    far, client = Far(bare=True), Client(log, "boss")
    async with serving(log, boss, remote=far):
        context, task = await client.send("it")
        assert reply(await client.settled(context, task)) == "TASK_STATE_COMPLETED : at once"


async def test_a_question_comes_back_as_a_report_and_its_answer_goes_on_with_the_task(
    log: JetStreamLog,
) -> None:
    @agent(name="boss", terms=SOON)
    async def asking(turn: Turn) -> str:
        report = await turn.delegate(URL, "when?")
        assert report.state is TaskState.INPUT_REQUIRED
        assert report.text == "which day?"
        again = await turn.delegate(URL, "monday", task=report.task_id)
        return again.text

    far, client = Far(), Client(log, "boss")
    async with serving(log, asking, remote=far):
        context, task = await client.send("go")
        await sent(far)
        far.end("task-1", TaskState.INPUT_REQUIRED, "which day?")
        await sent(far, 2)  # it still reads as waiting, until its agent takes it up
        assert far.tasks["task-1"].status.state is TaskState.INPUT_REQUIRED
        assert far.sent[1].task_id == "task-1"
        await suspended(client, context)
        far.end("task-1", TaskState.COMPLETED, "on monday")
        assert reply(await client.settled(context, task)) == "on monday"
    assert len(of(await client.events(context), DelegationReported)) == 2


async def test_cancellation_and_deadline_travel(log: JetStreamLog) -> None:
    far, client = Far(), Client(log, "boss")
    async with serving(log, boss, remote=far):
        context, task = await client.send("it", deadline="2099-01-01T00:00:00.000Z")
        await suspended(client, context)
        assert far.deadlines == ["2099-01-01T00:00:00.000Z"]
        await client.cancel(context, task)
        assert (await client.settled(context, task)).status.state is TaskState.CANCELED
        async with asyncio.timeout(5):
            while not far.canceled:
                await asyncio.sleep(0.01)
    assert far.canceled == ["task-1"]


async def test_no_url_is_asked_that_is_not_allowed(log: JetStreamLog) -> None:
    @agent(name="boss")
    async def straying(turn: Turn) -> str:
        return (await turn.delegate(turn.text, "x")).text

    far, client = Far(), Client(log, "boss")
    for remote in (far, None):
        async with serving(log, straying, remote=remote):
            context, task = await client.send("http://169.254.169.254/latest")
            ended = await client.settled(context, task)
            assert ended.status.state is TaskState.FAILED
            assert "executor.remotes" in reply(ended)
            assert not of(await client.events(context), TaskDelegated)
    assert not far.sent


@pytest.mark.accepts("AS-59")
async def test_agents_here_and_elsewhere_are_gathered_alike(log: JetStreamLog) -> None:
    @agent(name="worker")
    async def near(turn: Turn) -> str:
        return f"near {turn.text}"

    @agent(name="boss", terms=SOON)
    async def gathering(turn: Turn) -> str:
        found = await turn.gather(
            *(turn.delegate(who, str(n)) for n, who in enumerate(("worker", URL, URL)))
        )
        return " | ".join(f.text if isinstance(f, Report) else type(f).__name__ for f in found)

    far, client = Far(), Client(log, "boss")
    async with serving(log, gathering, near, remote=far):
        context, task = await client.send("go")
        await sent(far, 2)
        first, second = sorted(far.tasks, key=lambda id_: text_of(far.tasks[id_].history[0].parts))
        far.end(second, TaskState.FAILED, "no")
        far.end(first, TaskState.COMPLETED, "far 1")
        ended = await client.settled(context, task)
    assert reply(ended) == "near 0 | far 1 | DelegationFailed"
    starts = of(await client.events(context), TurnStarted)
    assert [each.attempt for each in starts] == [*range(1, len(starts) + 1)]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/agent",
        "https://",
        "https://user@host/agent",
        "https://user:secret@host/agent",
        "https://host/agent?x=1",
        "https://host/agent#x",
        "https://host/a/../b",
        "https://host/a/%2e%2E/b",
        "https://host/a b",
        "https://host\\@other/agent",
        "https://host:99999/agent",
        "https://host/\n",
        "https://hést/agent",
        "https://host/" + "a" * 2048,
        "Upper",
    ],
)
def test_targets_that_none_can_be_asked_under(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_target(url)
