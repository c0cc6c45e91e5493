"""The README's five minutes end with the user's own agent answering, by its own commands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.running import PELTON, Dev, environment

ROOT = Path(__file__).parents[2]


def commands() -> list[str]:
    """Return the commands of the five minutes."""
    section = (ROOT / "README.md").read_text("utf-8").partition("## Five minutes")[2]
    section = section.partition("\n## ")[0]
    return [line[2:] for line in section.splitlines() if line.startswith("$ ")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here, as in the image")
@pytest.mark.timeout(120)
def test_the_five_minutes_end_with_an_answer(tmp_path: Path) -> None:
    makes, news, devs, sends, curls, tasks, tests = commands()
    assert makes == "make setup"  # it is what made the environment of this test

    def run(command: str) -> str:
        words = shlex.split(command)
        here = {".venv/bin/pelton": PELTON, ".venv/bin/python": [sys.executable]}
        done = subprocess.run(
            [*here.get(words[0], [words[0]]), *words[1:]],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "pelton dev mine/word_counter.py" in run(news)
    agent = shlex.split(devs)[2:]
    with Dev(tmp_path, agents=agent) as dev:
        dev.ready()
        assert run(sends) == "That was 3 words\n"
        answer = json.loads(run(curls.replace("http://127.0.0.1:8000", dev.url)))
        parts = answer["result"]["task"]["status"]["message"]["parts"]
        assert parts == [{"text": "That was 4 words"}]
        assert len(re.findall("completed", run(tasks))) == 2
    assert "1 passed" in run(tests)
