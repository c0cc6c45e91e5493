"""Claude Code, with the SDK where that is installed: `make test-frameworks ONLY=claude`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks.claude import ClaudeAdapter
from pelton.adapters.frameworks.claude import adapter as adapter_module
from pelton.adapters.frameworks.claude.cut import Cut
from pelton.adapters.frameworks.claude.transcript import (
    Line,
    Place,
    Run,
    Written,
    lines_before,
    lines_so_far,
)
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.a2a import TaskState, text_of
from pelton.events.events import AnyEvent, StepCompleted, StepFailed, StepStarted, TurnStarted
from pelton.events.step import StepKind
from pelton.runtime.agents import Agent
from pelton.runtime.equipment_settings import PolicySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.outfit import Outfit
from pelton.runtime.policies import Policy
from pelton.testing.models import Asked, Play, ScriptedModel, call, calls, say
from tests.adapters.frameworks.kits import KITS, TERMS
from tests.adapters.frameworks.test_crash import POINTS, doomed
from tests.runtime.clients import WORLD, Client, only

KIT = KITS["claude"]


@pytest.fixture
def sdk() -> None:
    pytest.importorskip("claude_agent_sdk", reason="make test-frameworks ONLY=claude")


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


# Its own tools


def bash(command: str) -> Play:
    return call("Bash", command=command, description="a test")


def steps(events: Sequence[AnyEvent]) -> list[str]:
    return [e.name for e in events if isinstance(e, StepStarted) and e.kind is StepKind.TOOL]


def equipped(url: str, **rules: str) -> Agent:
    outfit = Outfit(policies=(Policy(PolicySettings(rules=rules)),))
    return replace(KIT.agent(url), outfit=lambda: outfit)


@pytest.mark.usefixtures("sdk")
async def test_what_its_own_tools_do_is_recorded(
    log: JetStreamLog, model: ScriptedModel, tmp_path: Path
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    read, edit = {"file_path": str(file)}, {"old_string": "one", "new_string": "two"}
    model.script(
        calls(("Read", read), text="Let me see."),
        call("Edit", **read, **edit),
        bash("echo hello; exit 3"),
        say("Done."),
    )
    client = Client(log, KIT.name)
    async with KIT.served(log, model.url):
        context, id_ = await client.send("go on")
        task = await client.settled(context, id_, within=30)
        events = await client.events(context)
    assert text_of(only(task).parts) == "Let me see.\n\nDone."
    assert file.read_text() == "two"
    assert steps(events) == ["tool Read", "tool Edit", "tool Bash"]
    done = {e.key.split(":")[0]: e.result for e in events if isinstance(e, StepCompleted)}
    assert done["tool Read"]["file"]["content"] == "one"
    assert done["tool Edit"]["newString"] == "two"
    (failed,) = [e for e in events if isinstance(e, StepFailed)]
    assert "Exit code 3" in failed.failure.message


@pytest.mark.accepts("AS-58")
@pytest.mark.usefixtures("sdk")
async def test_a_policy_denies_one_of_its_own_tools(
    log: JetStreamLog, model: ScriptedModel, effects: Path
) -> None:
    model.script(bash(f"echo ran > {effects}"), say("I may not."))
    client = Client(log, KIT.name)
    agent = equipped(model.url, none="call.tool == 'Bash' ? 'deny' : 'allow'")
    async with KIT.served(log, model.url, agent):
        context, id_ = await client.send("go on")
        task = await client.settled(context, id_, within=30)
    assert text_of(only(task).parts) == "I may not."
    assert not effects.read_text()
    (told,) = [line.text for line in model.asked[1].lines if line.role == "tool"]
    assert "This was not done." in told


@pytest.mark.accepts("AS-57", "AS-58")
@pytest.mark.usefixtures("sdk")
@pytest.mark.timeout(120)
async def test_a_person_is_asked_about_one_of_its_own_tools_and_another_process_goes_on(
    log: JetStreamLog, model: ScriptedModel, effects: Path
) -> None:
    """Two calls at once: what ran before is not run again, and nobody is asked about it."""
    first, second = f"echo 1 >> {effects}", f"echo 2 >> {effects}"
    wanted = [("Bash", {"command": each, "description": "x"}) for each in (first, second)]
    model.script(calls(*wanted, text="Let me see."), say("Done."))
    rule = "call.tool == 'Bash' && call.before > 0 ? 'ask' : 'allow'"
    agent, client = equipped(model.url, some=rule), Client(log, KIT.name)
    async with KIT.served(log, model.url, agent):
        context, id_ = await client.send("go on")
        await client.asked(context, id_, within=30)
        await client.until(context, lambda state: not state.turning)  # it is suspended
    assert effects.read_text() == "1\n"
    async with KIT.served(log, model.url, agent):
        await client.send("approved", context, task=id_, id_=WORLD.new_id())
        task = await client.settled(context, id_, within=30)
        events = await client.events(context)
    assert text_of(only(task).parts) == "Let me see.\n\nDone."
    assert effects.read_text() == "1\n2\n"
    assert steps(events) == ["tool Bash", "tool Bash"]
    assert len(model.asked) == 2


@pytest.mark.accepts("AS-11")
@pytest.mark.usefixtures("sdk")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("ran", [True, False])
async def test_what_its_own_tools_have_done_is_not_done_again(
    nats_url: str, log: JetStreamLog, effects: Path, *, ran: bool
) -> None:
    """Its executor is killed once a command has ended, or before anybody knows whether it has."""
    wait = "" if ran else "; exec sleep 60"
    command, dies = f"echo ran >> {effects}{wait}", asyncio.Event()
    wanted = calls(("Bash", {"command": command, "description": "x"}), text="Let me see.")

    def play(asked: Asked) -> Play:
        done = [line.text for line in asked.lines if line.role == "tool"]
        if not done:
            return wanted
        if ran and not dies.is_set():
            dies.set()
            return say("", stall=True)
        return say("Done.")

    client = Client(log, KIT.name)
    async with ScriptedModel(play) as model:
        async with doomed(nats_url, model, KIT) as process:
            context, id_ = await client.send("go on")
            if ran:
                await model.until(2, within=60)
            else:
                async with asyncio.timeout(60):
                    while not effects.read_text():
                        await asyncio.sleep(0.05)
            process.kill()
            await process.wait()
        async with KIT.served(log, model.url, patience=1.0):
            if not ran:
                await client.asked(context, id_, within=60)
                await client.send('done "it ran"', context, task=id_, id_=WORLD.new_id())
            task = await client.settled(context, id_, within=60)
    assert effects.read_text() == "ran\n"
    assert text_of(only(task).parts) == "Let me see.\n\nDone."
    said = [line.text for line in model.asked[-1].lines if line.role == "tool"]
    assert len(said) == 1
    assert ran or said == ["it ran"]


# Processes that are kept


@pytest.mark.accepts("AS-45")
@pytest.mark.usefixtures("sdk")
@pytest.mark.timeout(120)
async def test_a_process_is_kept_unless_the_log_has_moved_on(
    log: JetStreamLog, model: ScriptedModel
) -> None:
    model.script(*(say(f"answer {number}") for number in range(4)))
    client, adapter = Client(log, KIT.name), KIT.make(model.url)
    assert isinstance(adapter, ClaudeAdapter)
    agent = as_agent(adapter, name=KIT.name, terms=TERMS)
    async with KIT.served(log, model.url, agent):
        context, id_ = await client.send("one")
        await client.settled(context, id_, within=30)
        (first,) = running(context)
        _, id_ = await client.send("two", context)
        await client.settled(context, id_, within=30)
        assert running(context) == [first]
        kept = adapter.warm.take(context)
        assert kept is not None
        kept.heard = frozenset()  # another executor has run a turn
        await adapter.warm.put(context, kept)
        _, id_ = await client.send("three", context)
        await client.settled(context, id_, within=30)
        assert running(context) != [first]
        adapter.warm.idle = 0.1
        _, id_ = await client.send("four", context)
        await client.settled(context, id_, within=30)
        async with asyncio.timeout(10):
            while running(context):
                await asyncio.sleep(0.05)
    whole = [line.text for line in model.asked[-1].lines if line.text]
    for text in ("one", "answer 0", "two", "answer 1", "three", "answer 2", "four"):
        assert sum(each.endswith(text) for each in whole) == 1


# Without the SDK


def written(run: Run, *lines: Line) -> dict[str, Any]:
    return {run.key(number): msgspec.to_builtins(line) for number, line in enumerate(lines)}


def entry(name: str) -> Line:
    return Line({"of": name})


def test_of_a_run_that_was_begun_again_counts_what_was_written_last() -> None:
    first, cut, again = Run("t/1", 0, 1, 1), Run("t/2", 0, 1, 1), Run("t/2", 0, 2, 1)
    second, now = Run("t/2", 1, 2, 1), Run("t/2", 2, 2, 1)
    runs = (first, cut, again, second, now)
    kept: dict[str, Any] = {"beside": {"of": "another adapter"}}
    for run in runs:
        kept |= written(run, entry(f"{run} 1"), entry(f"{run} 2"))
    found = [line.entry["of"] for line in lines_before(kept, now)]
    assert found == [f"{run} {number}" for run in (first, again, second) for number in (1, 2)]
    assert lines_before({}, now) == []


def test_of_a_run_that_goes_on_counts_what_was_written_before() -> None:
    one, two, three = (Run("t/1", 0, 1, 1), Run("t/1", 0, 2, 1), Run("t/1", 0, 3, 1))
    kept = written(one, entry("a"), entry("b"), entry("lost"))
    kept |= written(two, Line(after=Place(1, 1, 1)), entry("c"), entry("lost"))
    kept |= written(three, Line(after=Place(2, 1, 1)), entry("d"))
    found = [each.line.entry["of"] for each in lines_so_far(kept, Run("t/1", 0, 4, 1))]
    assert found == ["a", "b", "c", "d"]


def said(id_: str, *content: Any) -> Line:
    return Line({"type": "assistant", "message": {"id": id_, "content": [*content]}})


def use(id_: str, name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": {}}


def got(id_: str) -> Line:
    return Line({"message": {"content": [{"type": "tool_result", "tool_use_id": id_}]}})


TEXT = {"type": "text", "text": "Hm."}
CUTS: dict[str, tuple[list[Line], int, list[str]]] = {
    "nothing had an effect": ([said("m", TEXT), said("m", use("a", "Read")), got("a")], 0, []),
    "its last words are said again": (
        [said("m", use("a", "Bash")), got("a"), said("n", TEXT)],
        2,
        [],
    ),
    "what came to nothing is called again": (
        [said("m", use("a", "Bash")), got("a"), said("n", TEXT), said("n", use("b", "Read"))],
        2,
        [],
    ),
    "a call is open": ([said("m", use("a", "Bash"))], 1, ["a"]),
    "one of two is open": (
        [said("m", use("a", "Bash")), said("m", use("b", "Read")), got("a")],
        3,
        ["b"],
    ),
    "of what was broken off nothing is kept": (
        [said("m", use("a", "Bash")), got("a"), Line({"message": {"content": "Interrupted"}})],
        2,
        [],
    ),
}


@pytest.mark.parametrize("case", CUTS)
def test_where_a_run_goes_on(case: str) -> None:
    lines, kept, left = CUTS[case]
    places = [Written(Place(1, 1, number), line) for number, line in enumerate(lines)]
    cut = Cut.of(places, lasting=lambda call: call.name == "Bash")
    assert len(cut.lines) == kept
    assert [call.id for call in cut.open] == left


def test_a_reference(tmp_path: Path) -> None:
    (tmp_path / "system.md").write_text("Be brief.")
    found = load_agent(f"claude:claude-sonnet-4-5?system={tmp_path}/system.md&allowed=Read,Grep")
    assert found.name == "claude"
    assert found.options == {"model": "claude-sonnet-4-5", "prompt": "Be brief."}


@pytest.mark.parametrize(
    ("sdk", "detail", "fix"),
    [
        (None, "claude-agent-sdk is not installed", "pip install 'pelton[claude]'"),
        (ModuleSpec("claude_agent_sdk", None), "no-such-program", "install it"),
    ],
    ids=["the SDK", "its program"],
)
async def test_it_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, sdk: ModuleSpec | None, detail: str, fix: str
) -> None:
    def found(_: str) -> ModuleSpec | None:
        return sdk

    monkeypatch.setattr(adapter_module, "find_spec", found)
    health = await ClaudeAdapter(program="no-such-program").health()
    assert not health.ok
    assert detail in health.detail
    assert health.fix == fix
