"""Agents by reference: what is written where an agent is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pelton.adapters.cli.references import kind_of, load_agent
from pelton.adapters.frameworks.model import Endpoint, reference
from pelton.events.a2a import TaskState, text_of
from pelton.events.errors import InvalidInput
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.testing.models import ScriptedModel, call, say
from tests.runtime.clients import Client, only, serving

TOOLS = """
from pelton.adapters.frameworks.model import tool

@tool
def add(a: int, b: int) -> int:
    "Adds."
    return a + b

tools = [add]
nonsense = 7
"""


async def test_a_model(model: ScriptedModel, log: JetStreamLog, tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "system.md").write_text("You add.")
    model.script(call("add", a=1, b=2), say("3"))
    found = reference.load(
        f"model:openai/gpt?name=adder&system={tmp_path}/system.md&tools={tmp_path}/tools.py:tools",
        environ={"OPENAI_BASE_URL": f"{model.url}/v1", "OPENAI_API_KEY": "sk-secret"},
    )
    assert found.name == "adder"
    client = Client(log, "adder")
    async with serving(log, found):
        context, task = await client.send("1 + 2?")
        ended = await client.settled(context, task)
    assert text_of(only(ended).parts) == "3"
    assert model.asked[0].said == [("system", "You add."), ("user", "1 + 2?")]
    assert model.asked[0].model == "gpt"
    assert model.asked[0].headers["authorization"] == "Bearer sk-secret"


def test_a_key_is_not_shown() -> None:
    assert "sk-secret" not in repr(Endpoint("openai", "http://127.0.0.1", "gpt", "sk-secret"))


async def test_a_command(log: JetStreamLog, tmp_path: Path) -> None:
    script = tmp_path / "shout.sh"
    script.write_text('#!/bin/sh\necho "you said:"\necho "$1" | tr a-z A-Z\n')
    script.chmod(0o755)
    found = load_agent(f"cli:{script} '{{text}}'")
    client = Client(log, "shout")
    async with serving(log, found):
        for said, heard in (("$(id); {text}", "$(ID); {TEXT}"), ("it's", "IT'S")):
            context, task = await client.send(said)
            ended = await client.settled(context, task)
            assert ended.status.state is TaskState.COMPLETED
            assert text_of(only(ended).parts) == f"you said:\n{heard}"


async def test_a_command_that_reads(log: JetStreamLog) -> None:
    client = Client(log, "cat")
    async with serving(log, load_agent("cli:cat -")):
        context, task = await client.send("to standard input")
        ended = await client.settled(context, task)
    assert text_of(only(ended).parts) == "to standard input"


async def test_a_program_beside_the_user_is_named_as_a_shell_would_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "answer.sh").write_text("#!/bin/sh\n")
    (tmp_path / "answer.sh").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    health = await load_agent("cli:answer.sh").health()
    assert (health.ok, health.fix) == (False, "write ./answer.sh")
    assert (await load_agent("cli:./answer.sh").health()).ok


async def test_why_a_command_has_failed_is_for_operators(log: JetStreamLog, tmp_path: Path) -> None:
    (tmp_path / "said.jsonl").write_text('{"error": "no quota in /srv"}')
    client = Client(log, "cat")
    with capture_logs() as lines:
        async with serving(log, load_agent(f"cli+jsonl:cat {tmp_path}/said.jsonl")):
            context, task = await client.send("go")
            ended = await client.settled(context, task)
    assert ended.status.message is not None
    assert text_of(ended.status.message.parts) == "The command has failed."
    [line] = [each for each in lines if each["event"] == "command-failed"]
    assert line["error"] == "no quota in /srv"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("model:openai/", "write model:openai/NAME"),
        ("model:nobody/x", "write model:openai/NAME"),
        ("model:openai/x?nmae=y", "no option is called 'nmae'"),
        ("model:openai/x?system=/nowhere/at-all.md", "cannot be read"),
        ("model:openai/x?tools=json:nothing", "has no 'nothing'"),
        ("model:openai/x?tools=json:loads", "is no tool"),
        ("cli:'", "No closing quotation"),
        ("cli: ", "a command needs a program"),
        ("cli+klingon:cat {text}", "no command speaks 'klingon'"),
        ("cli+text+jsonl:cat {text}", "one dialect"),
        ("worker: ", "a worker needs a program"),
        ("worker:'", "No closing quotation"),
        ("acp: ", "an agent needs a program"),
        ("acp+away:gemini --acp", "none of again, home, policy"),
        ("codex+away:", "none of again, home, policy"),
        ("crewai::crew", "write crewai:module:name"),
        ("crewai:my:crew?asks=pay", "no option is called 'asks'"),
        ("hermes:", "write hermes:MODEL"),
        ("crewai:crew", "write crewai:module:name"),
    ],
)
def test_what_leads_nowhere_says_so(reference: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        load_agent(reference)


@pytest.mark.parametrize("reference", ["cli:agent", "codex:o3", "claude:opus", "hermes:any"])
def test_a_word_is_a_model_or_a_program_unless_there_is_a_module_of_that_name(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, _, name = reference.partition(":")
    assert kind_of(reference) == kind
    (tmp_path / f"{kind}.py").write_text(f"async def {name}(turn: object) -> str: ...\n")
    monkeypatch.chdir(tmp_path)
    assert kind_of(reference) == ""
    assert kind_of(f"{reference} {name}") == kind
