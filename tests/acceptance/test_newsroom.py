"""The newsroom, whose agents are files: run as a user runs them, without a key."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.acceptance.running import Dev, ask, environment, eventually, message, pelton

EXAMPLES = Path(__file__).parents[2] / "examples"


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


@pytest.mark.timeout(180)
@pytest.mark.accepts("AS-50")
def test_an_editor_has_a_graph_find_out(tmp_path: Path, variables: dict[str, str]) -> None:
    room = Path(shutil.copytree(EXAMPLES / "newsroom", tmp_path / "newsroom"))
    with Dev(room, agents=(), **variables) as dev:
        eventually(lambda: dev.said("ready http"), within=90)  # its framework is slow to load
        dev.ready()
        answer = ask(f"{dev.url}/editor", "SendMessage", message("bakeries"), within=60)
        [part] = answer["task"]["status"]["message"]["parts"]
        asked = "What is new about bakeries?"
        assert part["text"] == f"BAKERIES: You have asked 1 times: {asked}."
        found = dev.json("tasks")["tasks"]
        assert {each["agent"] for each in found} == {"editor", "researcher"}


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.toml")), ids=lambda path: path.name)
def test_every_file_says_what_it_lacks(file: Path) -> None:
    if file.name == "pelton.toml":
        return
    done = pelton("check", str(file), "--json", cwd=file.parent)
    assert done.returncode in (0, 1), done.stderr
    wrong = {each["name"] for each in json.loads(done.stdout)["checks"] if each["state"] == "wrong"}
    assert wrong <= {"environment", "adapter", "agent"}
