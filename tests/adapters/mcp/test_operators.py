"""The operator's tools: all that the API has, looking back, and a few that act."""

from __future__ import annotations

from pathlib import Path

import pytest

from pelton.adapters.api.routes import ROUTES
from pelton.adapters.cli.references import load_agent
from pelton.adapters.mcp.operators import ACTING, READING
from pelton.events.events import FailureClass
from pelton.runtime.agents import agent
from pelton.runtime.failures import AgentError
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.turn import Turn
from tests.adapters.a2a.world import executing
from tests.adapters.identity.people import KEYS, give_key, key
from tests.adapters.mcp.clients import connected
from tests.adapters.mcp.test_agents import bridge
from tests.runtime.clients import Client

LOUD = """
from pelton.runtime import Turn, agent


@agent
async def loud(turn: Turn) -> str:
    await turn.step("shouted", str.upper, turn.text)
    return turn.text.upper()
"""


@agent
async def echo(turn: Turn) -> str:
    """Say it again, ask, or fail."""
    if turn.text == "fail":
        raise AgentError("It is broken.", kind=FailureClass.VALIDATION)
    return str(await turn.ask("what?")) if turn.text == "ask" else turn.text


@pytest.mark.accepts("AS-22", "AS-30", "AS-39")
async def test_an_operator_looks_back_and_acts(log: JetStreamLog, tmp_path: Path) -> None:
    await give_key(log, "olga", "default", "operator")
    reading = ("tasks:read", "tasks:every", "tenant:read")
    await give_key(log, "rita", "default", "operator", scopes=reading)
    client = Client(log)
    async with bridge(log, tmp_path, KEYS) as url, executing(log, echo, tenant="default"):
        said = [await client.send(text) for text in ("one", "two", "ask", "fail")]
        one, two, ask, fail = (task for _, task in said)
        await client.settled(*said[1])
        await client.settled(*said[3])
        await client.asked(*said[2])
        path = f"{url}/v1/mcp/operator"
        async with connected(path, key("rita")) as tools:
            names = {tool.name for tool in (await tools.client.list_tools()).tools}
            assert names == {tool.name for tool in READING}
            assert len(READING) == len(ROUTES) + 3
            listed = await tools("list_tasks", pageSize=1)
            assert listed["totalSize"] == 4
            more = await tools("list_tasks", pageSize=100, pageToken=listed["nextPageToken"])
            assert len(more["items"]) == 3
            assert (await tools.error("list_tasks", pageSize=101))["code"] == "validation-denied"
            assert (await tools("get_task", task=one))["task"]["id"] == one
            (dead,) = (await tools("list_dead_letters"))["items"]
            assert dead["taskId"] == fail
            first = await tools("get_timeline", task=one, pageSize=2)
            rest = await tools("get_timeline", task=one, pageToken=first["nextPageToken"])
            found = [each["name"] for each in (*first["items"], *rest["items"])]
            assert found[0] == "TaskSubmitted"
            assert found[-1] == "TurnEnded"
            assert first["items"][0]["cause"] == "SendMessage"
            at = rest["items"][-1]["sequence"]
            state = await tools("get_task_state", task=one, sequence=at)
            assert state["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
            assert (await tools.error("get_task_state", task=one, sequence=1))[
                "code"
            ] == "task-not-found"
            compared = await tools("diff_tasks", left=one, right=two)
            assert not compared["equal"]
            assert compared["differ"] == len(compared["differences"])
            assert (await tools.error("get_timeline", task="x-0123456789abcdef"))[
                "code"
            ] == "task-not-found"
            with pytest.raises(Exception, match="there is no tool"):
                await tools("cancel_task", task=ask)
        async with connected(path, key("olga")) as tools:
            answered = await tools("answer_question", task=ask, text="that")
            assert answered == {"task": ask, "decided": True}
            assert await tools("answer_question", task=ask, text="that") == answered
            await client.settled(*said[2])
            redriven = await tools("redrive_task", task=fail)
            assert (await tools("redrive_task", task=fail))["task"] == redriven["task"]
            error = await tools.error("cancel_task", task=one)
            assert error["code"] == "task-not-cancelable"
            assert (await tools.error("rerun_task", task=one))["code"] == "unsupported-operation"


@pytest.mark.accepts("AS-23")
async def test_recorded_code_is_run_again_by_the_record(log: JetStreamLog, tmp_path: Path) -> None:
    file = tmp_path / "loud.py"
    file.write_text(LOUD)
    await give_key(log, "olga", "default", "operator")
    loud, client = load_agent(str(file)), Client(log, "loud")
    async with (
        bridge(log, tmp_path, KEYS, code=(str(file),)) as url,
        connected(f"{url}/v1/mcp/operator", key("olga")) as tools,
        executing(log, loud, tenant="default"),
    ):
        sent = await client.send("hello")
        await client.settled(*sent)
        assert (await tools("rerun_task", task=sent[1]))["equal"]
        file.write_text(LOUD.replace("shouted", "cried"))
        assert not (await tools("rerun_task", task=sent[1]))["equal"]


def test_tools_that_act_say_so() -> None:
    assert {tool.name for tool in ACTING if tool.writes} == {tool.name for tool in ACTING}
