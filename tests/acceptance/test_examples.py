"""The examples without a key: as a user runs them, where that is soon there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.running import Dev, ask, environment, eventually, message, pelton

EXAMPLES = Path(__file__).parents[2] / "examples"

WRITERS = '''\
from pelton.events.a2a import Role
from pelton.runtime import Turn, agent


@agent
async def writers(turn: Turn) -> str:
    """Stands for the crew, where CrewAI is not installed."""
    told = 1 + sum(message.role is Role.USER for message in turn.history)
    return f"Article {told}. {turn.text}"
'''


@pytest.fixture
def variables() -> Generator[dict[str, str]]:
    """Run the scripted model, and return what it says leads to it."""
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "offline_model.py"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as model:
        try:
            assert model.stdout is not None
            yield dict(each.split("=", 1) for each in model.stdout.readline().split()[1:])
        finally:
            model.terminate()


def copied(folder: str, to: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES / folder, to / folder))


def asked(dev: Dev, agent: str, text: str, context: str = "") -> dict[str, Any]:
    """Return the task that a message has come to."""
    body = message(text)
    if context:
        body["message"]["contextId"] = context
    found: dict[str, Any] = ask(f"{dev.url}/{agent}", "SendMessage", body, within=100)["task"]
    assert found["status"]["state"] == "TASK_STATE_COMPLETED", found["status"]
    return found


def reply(task: dict[str, Any]) -> str:
    return str(task["status"]["message"]["parts"][0]["text"])


@pytest.mark.timeout(180)
@pytest.mark.accepts("AS-50")
def test_a_graph_and_others_share_a_conversation(tmp_path: Path, variables: dict[str, str]) -> None:
    room = copied("newsroom", tmp_path)
    (room / "writers.py").write_text(WRITERS)
    agents = ("editor.py", "researcher.toml", "writers.py")
    with Dev(room, agents=agents, **variables) as dev:
        eventually(lambda: dev.said("ready http"), within=90)  # its framework is slow to load
        dev.ready()
        first = asked(dev, "editor", "bakeries")
        question = "What is new about bakeries?"
        notes = f"Write about bakeries, from these notes: You have asked 1 times: {question}."
        assert reply(first) == f"BAKERIES\nArticle 1. {notes}"
        second = reply(asked(dev, "editor", "mills", first["contextId"]))
        assert f"You have asked 2 times: {question}; What is new about mills?." in second
        assert second.startswith("MILLS\nArticle 2.")
        found = {each["agent"] for each in dev.json("tasks")["tasks"]}
        assert found == {"editor", "researcher", "writers"}


@pytest.mark.timeout(300)
@pytest.mark.skipif(
    "crewai" not in os.environ.get("TEST_FRAMEWORKS", "").split(","),
    reason="CrewAI is not installed: make test-frameworks ONLY=crewai",
)
def test_a_graph_and_a_crew_of_crewai_share_a_conversation(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    place = {"PELTON_EXECUTOR_ENVIRONMENTS": os.environ["PELTON_EXECUTOR_ENVIRONMENTS"]}
    with Dev(copied("newsroom", tmp_path), agents=(), **variables, **place) as dev:
        eventually(lambda: dev.said("ready http"), within=200)
        dev.ready()
        article = reply(asked(dev, "editor", "bakeries"))
        found = {each["agent"] for each in dev.json("tasks")["tasks"]}
    assert article.startswith("BAKERIES\nYou have asked 1 times:")
    assert found == {"editor", "researcher", "writers"}


@pytest.mark.timeout(180)
@pytest.mark.skipif(
    find_spec("claude_agent_sdk") is None,
    reason="the Claude Agent SDK is not installed: make test-frameworks ONLY=claude",
)
def test_an_agent_delegates_to_claude_code(tmp_path: Path, variables: dict[str, str]) -> None:
    shop = copied("workshop", tmp_path)
    with Dev(shop, agents=(), **variables) as dev:
        eventually(lambda: dev.said("ready http"), within=90)
        dev.ready()
        first = asked(dev, "lead", "write a greeting")
        assert reply(first).startswith("The coder says: You have asked 1 times:")
        assert "write a greeting" in (shop / "hello.md").read_text()
        second = reply(asked(dev, "lead", "write another", first["contextId"]))
        assert "You have asked 2 times:" in second
        tasks = [each for each in dev.json("tasks")["tasks"] if each["agent"] == "coder"]
        assert len(tasks) == 2
        assert "tool Write" in json.dumps(dev.json("show", tasks[0]["id"]))


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


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.toml")), ids=lambda path: path.name)
def test_every_file_says_what_it_lacks(file: Path) -> None:
    if file.name == "pelton.toml":
        return
    done = pelton("check", str(file), "--json", cwd=file.parent)
    assert done.returncode in (0, 1), done.stderr
    wrong = {each["name"] for each in json.loads(done.stdout)["checks"] if each["state"] == "wrong"}
    assert wrong <= {"environment", "packages", "adapter", "agent"}
