"""Agents elsewhere as the record has them: nobody asks them when a task is gone on with."""

from __future__ import annotations

import asyncio

import pytest

from pelton.events.a2a import TaskState, text_of
from pelton.runtime.agents import agent
from pelton.runtime.answers import DelegationFailed
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.replay.session import task_session
from pelton.runtime.turn import Turn
from tests.runtime.clients import WORLD, Client, reply
from tests.runtime.replay.test_trial import SOON, played, said
from tests.runtime.test_remote import URL, Far, sent


@pytest.mark.accepts("AS-21")
async def test_agents_elsewhere_are_played_from_the_record(log: JetStreamLog) -> None:
    """Before the fork or after it, in one message or several; what is not recorded they refuse."""
    far = Far()

    @agent(name="echo", terms=SOON)
    async def asks(turn: Turn) -> str:
        first = await turn.delegate(URL, f"one, {turn.text}")
        if first.state is TaskState.INPUT_REQUIRED:
            first = await turn.delegate(URL, "two", task=first.task_id)
        return f"{first.text} {[text_of(each.parts) for each in first.artifacts]}"

    client = Client(log)
    executor = Executor(log, [asks], world=WORLD, remote=far)
    running = asyncio.create_task(executor.run())
    context, task = await client.send("please")
    await sent(far)
    far.end("task-1", TaskState.INPUT_REQUIRED, "which?")
    await sent(far, 2)
    far.end("task-1", TaskState.COMPLETED, "done", bulk="paper")
    ended = await client.settled(context, task)
    executor.stop()
    await asyncio.wait((running,))
    session = await task_session(log, task)
    ran, missed = await asyncio.to_thread(played, session, task, asks)
    assert said(ran) == reply(ended) == "paperdone ['paper']"
    assert (missed, len(far.sent)) == ([], 2), "nobody was asked"

    @agent(name="echo", terms=SOON)
    async def asks_otherwise(turn: Turn) -> str:
        try:
            return (await turn.delegate(URL, "something else")).text
        except DelegationFailed as failed:
            return failed.report.text

    ran, _ = await asyncio.to_thread(played, session, task, asks_otherwise)
    assert said(ran) == "The record has no such message to the agent elsewhere."
