"""Forks as the debugger makes them: by the command, in processes that do not outlive their wait."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from pelton.adapters.debug.debugger import Debugger
from pelton.adapters.debug.forks import ForkBusy, ForkFailed, Forking, ForkNotFound, Forks
from pelton.events.errors import InvalidInput
from pelton.events.ids import task_id
from pelton.runtime.agents import load
from pelton.runtime.jetstream import JetStreamLog
from pelton.runtime.settings import load as load_settings
from tests.adapters.a2a import conftest
from tests.adapters.a2a.world import HEADERS, WORLD, executing, message, served

log = conftest.log
TOKEN = "the-token-of-this-run"
SECRET = "what nobody else on this machine is to read"
CODE = '''
import os, pathlib, time
from pelton.runtime import Turn, agent

@agent
async def shop(turn: Turn) -> str:
    """Looks what there is, and remembers it."""
    found = await turn.step("look", list, "ab", idempotent=True)
    note = await turn.memory.commit(f"{len(found)} of {turn.text}", step="look")
    if len(found) > 5:
        pathlib.Path(os.environ["HOLD"]).write_text(str(os.getpid()))
        time.sleep(600)
    told = await turn.memory.get(note.memory_id)
    return told.content
'''


@dataclass
class Place:
    """A bridge with a debugger that makes forks, and somebody who may."""

    url: str
    client: httpx.AsyncClient
    forks: Forks
    data: Path
    task: dict[str, Any]

    async def get(self, name: str, **query: Any) -> Any:
        """Return what is under a path of the API."""
        answer = await self.client.get(f"{self.url}/debug/api/{name}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def fork(self, **asked: Any) -> httpx.Response:
        """Ask for a fork of the task."""
        body = {"task": self.task["id"], **asked}
        return await self.client.post(f"{self.url}/debug/api/forks/new", json=body)

    async def looked(self) -> tuple[int, int]:
        """Return where the step has ended."""
        steps = (await self.get("conversations/c1/steps"))["items"]
        [end] = [each["end"] for each in steps if each["key"] == "look#1"]
        return end[0], end[1]


@pytest_asyncio.fixture
async def place(
    log: JetStreamLog, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    code, hold, data = tmp_path / "shop.py", tmp_path / "hold", tmp_path / "data"
    code.write_text(CODE)
    monkeypatch.setenv("HOLD", str(hold))
    settings = load_settings(
        None,
        environment={},
        flags={
            "data": str(data),
            "nats.url": nats_url,
            "nats.profile": "relaxed",
            "executor.agents": [f"{code}:shop"],
        },
    )
    forks = Forks(settings, world=WORLD)
    debug = partial(Debugger, token=TOKEN, world=WORLD, forks=forks)
    async with (
        executing(log, load(f"{code}:shop")),
        served(log, tmp_path, debug=debug) as url,
        httpx.AsyncClient(timeout=55) as client,
    ):
        await client.get(f"{url}/debug", params={"token": TOKEN})
        params = message("jam", messageId="m1", contextId="c1")
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
        answer = await client.post(f"{url}/shop", json=body, headers=HEADERS)
        yield Place(url, client, forks, data, answer.json()["result"]["task"])


@pytest.mark.accepts("AS-22")
async def test_a_fork_stands_beside_its_original(place: Place, log: JetStreamLog) -> None:
    before = await log.extent()
    sequence, event = await place.looked()
    task = place.task["id"]
    done = await place.fork(sequence=sequence, event=event, results={"look#1": ["a"]})
    assert done.status_code == 200, done.text
    fork = done.json()
    assert fork["task"] == fork["original"] == task
    assert (fork["state"], fork["changed"]) == ("TASK_STATE_COMPLETED", ["result of look#1"])
    assert (await place.get("forks"))["items"] == [fork]
    found = await place.get("diff", left=task, right=task, rightFork=fork["id"])
    first = found["rows"][found["first"]]
    assert first["what"] == "turn 1 StepCompleted look#1"
    assert [each["path"] for each in first["fields"]] == ["result[1]"]
    says = next(e for e in found["rows"] if e["what"] == "turn 1 TaskStatusUpdated completed")
    [change] = says["fields"]
    assert (change["before"]["value"], change["after"]["value"]) == ("2 of jam", "1 of jam")
    same = await place.get("diff", left=task, right=task)
    assert (same["first"], same["differ"]) == (-1, 0)
    view = await place.get("conversations/c1", fork=fork["id"])
    assert view["tasks"][0]["says"] == "1 of jam"
    [memory] = (await place.get("conversations/c1/memories", fork=fork["id"]))["items"]
    assert (memory["content"], memory["version"]) == ("1 of jam", 1)
    assert {each["made"] for each in memory["touches"]} == {True, False}
    assert await log.extent() == before, "the original is only read"
    files = sorted((place.data / "forks").iterdir())
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
    files[-1].write_bytes(files[-1].read_bytes().replace(b"jam", b"ham"))
    damaged = Forks(
        load_settings(None, environment={}, flags={"data": str(place.data)}), world=WORLD
    )
    with pytest.raises(Exception, match="altered"):
        await damaged.session(fork["id"])


async def test_a_fork_forks_too(place: Place, log: JetStreamLog) -> None:
    """With a stub in the place of the step, and without the memory that was given."""
    [memory] = (await place.get("conversations/c1/memories"))["items"]
    told = await place.fork(stubs={"look": ["a", "b", "c"]}, live=["note"], tools="refused")
    assert told.status_code == 200, told.text
    first = told.json()
    assert first["of"] == ""
    assert first["changed"] == ["look without running", "note run", "other steps refused"]
    view = await place.get("conversations/c1", fork=first["id"])
    assert view["tasks"][0]["says"] == "3 of jam"
    steps = (await place.get("conversations/c1/steps", fork=first["id"]))["items"]
    [(sequence, event)] = [each["end"] for each in steps if each["key"] == "look#1"]
    there: dict[str, Any] = {"sequence": sequence, "event": event, "results": {"look#1": []}}
    second = (await place.fork(of=first["id"], **there)).json()
    assert second["of"] == first["id"]
    view = await place.get("conversations/c1", fork=second["id"])
    assert view["tasks"][0]["says"] == "0 of jam"
    assert view["fork"] == second, "which tells what stands beside it"
    assert (await place.get("conversations/c1"))["fork"] is None
    sides = {"left": first["task"], "right": second["task"]}
    found = await place.get("diff", **sides, leftFork=first["id"], rightFork=second["id"])
    assert found["rows"][found["first"]]["what"] == "turn 1 StepCompleted look#1"
    assert [each["id"] for each in (await place.get("forks"))["items"]] == [
        second["id"],
        first["id"],
    ]
    dropped = await place.fork(drop=[memory["id"]], message="tea")
    assert dropped.status_code == 400
    assert "has no memory" in dropped.json()["error"]["message"], "it was not there before"
    said = await place.fork(
        sequence=(await log.extent()).last, drop=[memory["id"]], message="tea", tools="live"
    )
    assert said.status_code == 200, said.text
    left = (await place.get("conversations/c1/memories", fork=said.json()["id"]))["items"]
    assert [each["content"] for each in left if each["version"]] == ["2 of tea"]


async def test_what_cannot_be_is_told(place: Place) -> None:
    sequence, event = await place.looked()
    wrong = await place.fork(sequence=sequence, event=event, results={"pay#1": 1})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "fork-failed")
    assert "no step pay#1 has a result" in wrong.json()["error"]["message"]
    assert not list((place.data / "forks").iterdir())
    for asked in (
        *({"tools": "ask"}, {"sequence": 0}, {"results": {"a=b": 1}}, {"more": 1}),
        *({"stubs": {"a=b": 1}}, {"drop": ["../x"]}, {"of": "../shop"}),
    ):
        answer = await place.fork(**asked)
        assert answer.status_code == 400, asked
    nowhere = await place.client.get(
        f"{place.url}/debug/api/conversations/c1", params={"fork": "../../shop"}
    )
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "fork-not-found")
    with pytest.raises(ForkNotFound):
        await place.forks.session("..")


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_one_is_made_at_a_time_and_ends_with_whoever_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pelton.adapters.debug.forks._ENDS", 0.2)  # its code does not listen
    hold = Path(os.environ["HOLD"])
    sequence, event = await place.looked()
    asked = Forking(
        task=place.task["id"],
        sequence=sequence,
        event=event,
        results={"look#1": [SECRET] * 6},
    )
    making = asyncio.create_task(place.forks.make(asked))
    until = time.monotonic() + 40
    while not hold.exists() or not hold.read_text():
        assert not making.done(), making.result()
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    pid = int(hold.read_text())
    assert SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    with pytest.raises(ForkBusy):
        await place.forks.make(asked)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert not _alive(pid)
    assert place.forks.all() == []


async def test_a_fork_has_a_deadline(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pelton.adapters.debug.forks.WITHIN", 0.0)
    monkeypatch.setattr("pelton.adapters.debug.forks._SLACK", 0.05)
    with pytest.raises(ForkFailed, match=r"not done within 0\.05 s"):
        await place.forks.make(Forking(task=place.task["id"]))
    assert place.forks.all() == []


def test_what_is_asked_for_is_told_to_the_command() -> None:
    task = task_id("c1", "m1")
    asked = Forking(task=task, message="--out=x", prompt="a\nb", model="m", live=("s",))
    told = asked.arguments(Path("/x.pelton"))
    assert told[-2:] == ["--", task]
    assert {"--message=--out=x", '--option=prompt="a\\nb"', "--model=m", "--live=s"} < set(told)
    with pytest.raises(InvalidInput):
        Forking(task="no task").arguments(Path("/x.pelton"))
