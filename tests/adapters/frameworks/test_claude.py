"""Claude Code, with the SDK where that is installed: `make test-claude`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from uuid import UUID

import pytest

from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks.claude import ClaudeAdapter
from pelton.adapters.frameworks.claude.transcript import Line, Run, Store, lines_before, made_of
from pelton.adapters.frameworks.conversation import Spoken
from pelton.events.a2a import TaskState, text_of
from pelton.events.events import StepCompleted, TurnStarted
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.testing.models import ScriptedModel, calls, say
from tests.adapters.frameworks.kits import KITS
from tests.adapters.frameworks.test_crash import POINTS, doomed
from tests.runtime.clients import WORLD, Client, only

KIT = KITS["claude"]


@pytest.fixture
def sdk() -> None:
    pytest.importorskip("claude_agent_sdk", reason="make test-claude")


@pytest.mark.accepts("AS-11", "AS-60")
@pytest.mark.usefixtures("sdk")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", POINTS)
async def test_nothing_that_is_recorded_is_done_again(
    nats_url: str, log: JetStreamLog, effects: Path, point: str
) -> None:
    """Its executor is killed: another one runs the program again, on what is recorded."""
    wanted = calls(("add", {"a": 1, "b": 2}), text="Let me see.")
    client = Client(log, KIT.name)
    async with ScriptedModel(
        lambda asked: (
            say("It is 3.") if any(line.role == "tool" for line in asked.lines) else wanted
        )
    ) as model:
        async with doomed(nats_url, model, KIT, point) as process:
            context, id_ = await client.send("1 + 2")
            async with asyncio.timeout(60):
                assert await process.wait() == -9
        before = [e.key for e in await client.events(context) if isinstance(e, StepCompleted)]
        asked = len(model.asked)
        async with KIT.served(log, model.url, patience=1.0):
            task = await client.settled(context, id_, within=60)
        recorded = sum(key.startswith("model") for key in before)
        assert len(model.asked) - asked <= 2 - recorded
    events = await client.events(context)
    assert task.status.state is TaskState.COMPLETED
    assert text_of(only(task).parts) == "Let me see.\n\nIt is 3."
    keys = [e.key for e in events if isinstance(e, StepCompleted)]
    assert len(keys) == len(set(keys))
    assert [e.attempt for e in events if isinstance(e, TurnStarted)] == [1, 2]
    if any(key.startswith("tool") for key in before):
        assert effects.read_text() == "add\n"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
@pytest.mark.accepts("AS-60")
@pytest.mark.usefixtures("sdk")
@pytest.mark.timeout(180)
async def test_the_program_does_not_outlive_its_executor(nats_url: str, log: JetStreamLog) -> None:
    client = Client(log, KIT.name)
    async with ScriptedModel([say("a beginning", stall=True)]) as model:
        async with doomed(nats_url, model, KIT) as process:
            context, _ = await client.send("go on")
            asked = await model.until(1, within=60)
            assert running(context)
            process.kill()
            await process.wait()
        await asyncio.wait_for(asked.gone.wait(), 5)
        began = WORLD.monotonic()
        while running(context):
            assert WORLD.monotonic() - began < 5
            await asyncio.sleep(0.01)


def running(context: str) -> list[int]:
    """Return the processes that run for a context."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes()
            except OSError:
                continue  # it has ended meanwhile, or is somebody else's
            if f"PELTON_CONTEXT={context}".encode() in variables:
                found.append(int(entry.name))
    return found


@pytest.mark.usefixtures("sdk")
async def test_no_directory_of_it_is_left(
    log: JetStreamLog, model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model.script(say("one"), say("two"))
    client = Client(log, KIT.name)
    async with KIT.served(log, model.url):
        context, task = await client.send("1")
        await client.settled(context, task, within=30)
        _, task = await client.send("2", context)
        ended = await client.settled(context, task, within=30)
    assert ended.status.state is TaskState.COMPLETED
    assert not [*tmp_path.glob("*claude*")]


# Without the SDK


def entries(*runs: Run) -> dict[str, object]:
    return {
        run.key(number): {"entry": {"of": f"{run}", "number": number}}
        for run in runs
        for number in (1, 2)
    }


def test_of_a_run_that_was_begun_again_counts_what_was_written_last() -> None:
    first, cut, again = Run("t/1", 0, 1, 1), Run("t/2", 0, 1, 1), Run("t/2", 0, 2, 1)
    second, now = Run("t/2", 1, 2, 1), Run("t/2", 2, 2, 1)
    kept = entries(first, cut, again, second, now) | {"beside": {"of": "another adapter"}}
    found = [line.entry["of"] for line in lines_before(kept, now)]
    assert found == [f"{run}" for run in (first, again, second) for _ in (1, 2)]
    assert lines_before({}, now) == []


async def test_a_store_has_what_was_before() -> None:
    made = made_of(
        [Spoken("user", "hi"), Spoken("assistant", "yes"), Spoken("assistant", "")],
        UUID(int=7),
        "/work",
    )
    store = Store(None, Run("t/1", 0, 1, 1), [*made, Line({"type": "x"}, "subagents/a")])  # type: ignore[arg-type]
    own = await store.load({})
    assert own is not None
    assert [each["type"] for each in own] == ["user", "assistant"]
    assert own[1]["parentUuid"] == own[0]["uuid"]
    assert await store.list_subkeys({}) == ["subagents/a"]
    assert await store.load({"subpath": "subagents/b"}) is None


def test_a_reference(tmp_path: Path) -> None:
    (tmp_path / "system.md").write_text("Be brief.")
    found = load_agent(f"claude:claude-sonnet-4-5?system={tmp_path}/system.md&allowed=Read,Grep")
    assert found.name == "claude"
    assert found.options == {"model": "claude-sonnet-4-5", "prompt": "Be brief."}


async def test_it_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = ClaudeAdapter(program="no-such-program")
    health = await adapter.health()
    assert not health.ok
    assert "install" in health.detail
