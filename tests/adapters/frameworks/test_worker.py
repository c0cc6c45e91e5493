"""Workers beside the suite: how they are started, kept, and how they die."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pelton.adapters.frameworks.contract import AdapterError
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.worker import WorkerAdapter
from pelton.events.a2a import TaskState, text_of
from pelton.events.events import FailureClass, TurnEnded
from pelton.runtime.jetstream.log import JetStreamLog
from tests.adapters.frameworks.kits import TERMS
from tests.runtime.clients import Client, only, serving

WORKER = """
import asyncio, os, sys
from pelton_worker import Failed, Turn, serve

async def agent(turn: Turn):
    match turn.text:
        case "who":
            return str(os.getpid())
        case "die":
            if not os.path.exists("dead"):
                open("dead", "w").close()
                os.kill(os.getpid(), 9)
            return "alive"
        case "long":
            turn.say("x" * 17_000_000)
        case "remember":
            await turn.put("count", turn.entries.get("count", 0) + 1)
            return str(turn.entries.get("count", 0))
        case "refuse":
            raise Failed("This is not to be had.", "policy")
        case "read":
            return repr(sys.stdin.read())
        case "data":
            return {"now": bool(await turn.request("now"))}
        case "nothing":
            await turn.request("no-such-method")
    raise ValueError("what nobody is to know")

serve(agent)
"""


@pytest.fixture
def adapter(tmp_path: Path) -> WorkerAdapter:
    (tmp_path / "worker.py").write_text(WORKER)
    return WorkerAdapter([sys.executable, "worker.py"], directory=str(tmp_path))


async def told(client: Client, *texts: str) -> list[str]:
    """Say something turn by turn, and return the answers; of a task that failed, the reason."""
    context, answers = None, list[str]()
    for text in texts:
        context, id_ = await client.send(text, context)
        task = await client.settled(context, id_)
        if task.status.state is TaskState.COMPLETED:
            answers.append(text_of(only(task).parts) or str(only(task).parts[0].data))
        else:
            (*_, ended) = [e for e in await client.events(context) if isinstance(e, TurnEnded)]
            assert ended.failure is not None
            answers.append(f"{ended.failure.kind}: {ended.failure.message}")
    return answers


async def test_a_process_is_kept_while_turns_end_well(
    log: JetStreamLog, adapter: WorkerAdapter
) -> None:
    async with serving(log, as_agent(adapter, name="worker", terms=TERMS)):
        one, two, failed, three = await told(Client(log, "worker"), "who", "who", "refuse", "who")
    assert one == two != three
    assert failed == f"{FailureClass.POLICY}: This is not to be had."


async def test_what_a_worker_may_do(log: JetStreamLog, adapter: WorkerAdapter) -> None:
    said = ("remember", "remember", "read", "data", "unknown")
    async with serving(log, as_agent(adapter, name="worker", terms=TERMS)):
        answers = await told(Client(log, "worker"), *said)
    assert answers[:4] == ["0", "1", "''", "{'now': True}"]
    assert answers[4] == f"{FailureClass.AGENT}: The agent has failed."  # the rest is logged


async def test_a_worker_that_dies_is_followed_by_another(
    log: JetStreamLog, adapter: WorkerAdapter
) -> None:
    async with serving(log, as_agent(adapter, name="worker", terms=TERMS)):
        assert await told(Client(log, "worker"), "die") == ["alive"]


async def test_a_line_that_is_too_long_ends_it(log: JetStreamLog, adapter: WorkerAdapter) -> None:
    async with serving(log, as_agent(adapter, name="worker", terms=TERMS)):
        (answer,) = await told(Client(log, "worker"), "long")
    assert answer.startswith(f"{FailureClass.INTERNAL}: ")
    assert "a line that is too long" in answer


ANOTHER_VERSION = """
import json
id = json.loads(input())["id"]
print(json.dumps({"id": id, "result": {"protocol": 2}}), flush=True)
input()
"""
NO_CREW = """
from pelton_worker import Failed, serve

def start(reference):
    raise Failed("there is no crew", "validation")

serve(start=start)
"""


@pytest.mark.accepts("AS-69")
@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("print('hello')", "ended with exit code 0"),
        (ANOTHER_VERSION, "it speaks version 2"),
        (NO_CREW, "there is no crew"),
    ],
)
async def test_why_it_cannot_start_is_said(program: str, says: str) -> None:
    adapter = WorkerAdapter([sys.executable, "-c", program])
    with pytest.raises(AdapterError, match=says):
        await adapter.start()


async def test_a_program_that_is_not_there_is_named() -> None:
    lost = await WorkerAdapter(["no-such-program"]).health()
    assert not lost.ok
    assert "no-such-program" in lost.detail
