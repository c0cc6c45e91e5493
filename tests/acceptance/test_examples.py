"""The examples without a key: as a user runs them, where that is soon there."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from pelton.adapters.cli.references import load_agent
from pelton.runtime.jetstream import RELAXED, JetStreamLog
from pelton.testing.models import ScriptedModel
from tests.acceptance.running import Dev
from tests.runtime.clients import Client, reply, serving

EXAMPLES = Path(__file__).parents[2] / "examples"


async def test_a_graph_and_another_agent_share_a_conversation(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = runpy.run_path(str(EXAMPLES / "offline_model.py"))["answer"]
    agents = [load_agent(f"{EXAMPLES / 'pair.py'}:{name}") for name in ("editor", "researcher")]
    async with (
        ScriptedModel(answer) as model,
        JetStreamLog.open(nats_url, profile=RELAXED) as log,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", f"{model.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        client, said = Client(log, "editor"), list[str]()
        for question in ("What is a bell?", "And a lease?"):
            async with serving(log, *agents):  # each question meets other executors
                context, task = await client.send(question, "talk")
                said.append(reply(await client.settled(context, task, within=20)))
    first, second = said
    assert first.startswith("You have asked 1 times: What is a bell?.")
    assert second.startswith("You have asked 2 times: What is a bell?; And a lease?.")
    assert second.endswith("(checked by the editor, who was asked 2 times)")


@pytest.mark.timeout(120)
def test_a_coding_command_line_is_reached_over_a2a(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("node_modules")
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=ignored)
    with Dev(tmp_path, agents=("cli+jsonl:examples/coder.py {prompt}",)) as dev:
        dev.ready()
        first = dev.json("send", "coder", "write a function that adds")["task"]
        more = ("--context", first["contextId"])
        again = dev.json("send", "coder", "test it", *more)["task"]
    answers = [each["artifacts"][0]["parts"][0]["text"] for each in (first, again)]
    assert answers[0] == "write_a_function_that_adds.py is written, after 0 lines of talk."
    assert answers[1].startswith("test_it.py is written, after ")
    assert " 0 lines" not in answers[1]
