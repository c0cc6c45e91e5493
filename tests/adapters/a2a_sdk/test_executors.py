"""An `AgentExecutor` of the official SDK, unmodified, as an agent of pelton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from pelton.adapters.a2a_sdk import executors
from pelton.adapters.cli.references import load_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from tests.adapters.a2a.world import Rpc, executing, message, served
from tests.adapters.a2a_sdk import sample

REFERENCE = "sdk:tests.adapters.a2a_sdk.sample:SampleAgentExecutor"


@pytest_asyncio.fixture
async def rpc(nats_url: str, tmp_path: Path) -> AsyncIterator[Rpc]:
    async with (
        JetStreamLog.open(nats_url, profile=RELAXED) as log,
        executing(log, executors.load(REFERENCE)),
        served(log, tmp_path) as url,
        httpx.AsyncClient(timeout=20) as client,
    ):
        yield Rpc(f"{url}/sdk-sample", client)


async def send(rpc: Rpc, text: str, **members: Any) -> dict[str, Any]:
    result: dict[str, Any] = await rpc.result("SendMessage", **message(text, **members))
    return result


def told(task: dict[str, Any]) -> tuple[str, str]:
    """Return the state of a task and the text of its status."""
    status = task["status"]
    parts = status.get("message", {}).get("parts", [{"text": ""}])
    return status["state"].removeprefix("TASK_STATE_"), parts[0]["text"]


async def test_its_card_says_what_it_is(rpc: Rpc) -> None:
    card = (await rpc.client.get(f"{rpc.url}/.well-known/agent-card.json")).json()
    assert (card["name"], card["version"]) == ("Sdk Sample", "7.1")
    assert card["skills"][0]["id"] == "s"
    assert card["defaultInputModes"] == ["text/plain"]


async def test_turns_and_endings(rpc: Rpc) -> None:
    assert (await send(rpc, "message"))["message"]["parts"] == [{"text": "just a message"}]
    task = (await send(rpc, "hello"))["task"]
    assert told(task) == ("COMPLETED", "hello, after 0")
    assert [each["parts"][0]["text"] for each in task["history"]] == ["hello", "working on it"]
    asked = (await send(rpc, "ask"))["task"]
    assert told(asked) == ("INPUT_REQUIRED", "what?")
    again = (await send(rpc, "more", taskId=asked["id"]))["task"]
    assert told(again) == ("COMPLETED", "more, after 3")
    assert told((await send(rpc, "say failed"))["task"]) == ("FAILED", "it failed")
    state, text = told((await send(rpc, "fail"))["task"])
    assert (state, "secret" in text) == ("FAILED", False)
    assert told((await send(rpc, "reject"))["task"])[0] == "REJECTED"
    assert told((await send(rpc, "no status"))["task"]) == ("COMPLETED", "no status, after 0")


async def test_it_may_stay_until_somebody_has_signed_in(rpc: Rpc) -> None:
    sample.signed_in.clear()
    sent = asyncio.create_task(send(rpc, "sign in"))
    task = (await sent)["task"]  # who waits is answered, while the executor waits itself
    assert told(task) == ("AUTH_REQUIRED", "over there")
    events = rpc.events("SubscribeToTask", {"id": task["id"]})
    _, first = await anext(events)
    assert told(first["task"]) == ("AUTH_REQUIRED", "over there")
    sample.signed_in.set()
    rest = [event async for _, event in events]
    assert told(rest[-1]["statusUpdate"])[0] == "COMPLETED"


async def test_or_it_returns_and_is_asked_again(rpc: Rpc) -> None:
    task = (await send(rpc, "sign in and come again"))["task"]
    assert told(task) == ("AUTH_REQUIRED", "over there")
    again = (await send(rpc, "done", taskId=task["id"]))["task"]
    assert told(again)[0] == "COMPLETED"
    said = [each["parts"][0]["text"] for each in again["history"]]
    assert said.count("over there") == 1


async def test_artifacts_are_streamed(rpc: Rpc) -> None:
    events = [event async for _, event in rpc.events("SendStreamingMessage", message("stream"))]
    last = events[-1]["statusUpdate"]
    assert last["status"]["state"] == "TASK_STATE_COMPLETED"
    task = await rpc.result("GetTask", id=last["taskId"])
    whole = {each["artifactId"]: each for each in task["artifacts"]}
    assert whole["a"]["parts"] == [{"text": "0 1 2 "}]
    assert whole["a"]["name"] == "numbers"
    assert whole["b"]["parts"] == [{"raw": "eA==", "filename": "f"}]


@pytest.mark.accepts("AS-33")
async def test_it_can_be_canceled(rpc: Rpc) -> None:
    now = message("wait", configuration={"returnImmediately": True})
    task = (await rpc.result("SendMessage", **now))["task"]["id"]
    canceled = await rpc.result("CancelTask", id=task)
    assert canceled["status"]["state"] == "TASK_STATE_CANCELED"


@pytest.mark.accepts("AS-31")
async def test_it_survives_its_process(nats_url: str, tmp_path: Path) -> None:
    """What it has begun, the next process goes on with: nothing of this is in the SDK."""
    async with (
        JetStreamLog.open(nats_url, profile=RELAXED) as log,
        served(log, tmp_path) as url,
        httpx.AsyncClient(timeout=20) as client,
    ):
        rpc = Rpc(f"{url}/sdk-sample", client)
        async with executing(log, executors.load(REFERENCE), patience=1.0):
            asked = (await send(rpc, "ask"))["task"]
        follow = asyncio.create_task(send(rpc, "more", taskId=asked["id"]))
        async with executing(log, executors.load(REFERENCE), patience=1.0):
            assert told((await follow)["task"]) == ("COMPLETED", "more, after 3")


@pytest.mark.parametrize(
    "reference",
    [
        "sdk:tests.adapters.a2a_sdk.sample:NoExecutor",
        "sdk:tests.adapters.a2a_sdk.sample:Nothing",
        "sdk:tests.adapters.nowhere:X",
        "sdk:",
        "sdk:a",
    ],
)
def test_what_is_no_executor_is_refused(reference: str) -> None:
    with pytest.raises(InvalidInput, match="sdk:"):
        executors.load(reference)


def test_an_executor_may_be_in_a_file(tmp_path: Path) -> None:
    """As with agents of all other kinds; and an agent file names it beside itself."""
    (tmp_path / "greeter.py").write_text(Path(sample.__file__).read_text())
    file = tmp_path / "greeter.toml"
    file.write_text('name = "greeter"\nadapter = "sdk:greeter.py:SampleAgentExecutor"')
    named = executors.load(f"sdk:{tmp_path}/greeter.py:SampleAgentExecutor")
    assert (named.name, named.profile.version) == ("sdk-sample", "7.1")
    assert load_agent(str(file)).name == "greeter"


@pytest.mark.parametrize("code", ["1 / 0", "class Broken:\n def __init__(self): 1 / 0"])
def test_code_that_fails_says_why(tmp_path: Path, code: str) -> None:
    (tmp_path / "broken.py").write_text(code)
    with pytest.raises(InvalidInput, match=r"broken\.py.*ZeroDivisionError: division by zero"):
        executors.load(f"sdk:{tmp_path}/broken.py:Broken")
