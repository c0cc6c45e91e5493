"""`pelton new`: what it writes runs, and its test passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.running import environment, pelton


@pytest.mark.timeout(120)
def test_the_agent_that_it_writes_passes_the_test_that_it_writes(tmp_path: Path) -> None:
    done = pelton("new", "word-counter", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"agent": "word_counter.py", "test": "test_word_counter.py"}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_word_counter.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout


def test_it_says_what_to_run_next_and_overwrites_nothing(tmp_path: Path) -> None:
    done = pelton("new", "mine", cwd=tmp_path)
    assert "pelton dev mine.py" in done.stdout
    assert 'pelton send mine "' in done.stdout
    (tmp_path / "mine.py").write_text("# precious")
    again = pelton("new", "mine", cwd=tmp_path)
    assert again.returncode == 1
    assert "'mine.py' is there already" in again.stderr
    assert (tmp_path / "mine.py").read_text() == "# precious"


@pytest.mark.parametrize("name", ["../etc", "A", "a.b", "", "x" * 64])
def test_a_name_that_no_agent_can_have_is_refused(tmp_path: Path, name: str) -> None:
    done = pelton("new", name, cwd=tmp_path)
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("adapter", ["model", "cli", "langgraph"])
def test_it_writes_a_file_for_an_adapter(tmp_path: Path, adapter: str) -> None:
    done = pelton("new", "mine", "--adapter", adapter, cwd=tmp_path)
    assert "pelton check agent.toml" in done.stdout
    checked = pelton("check", "agent.toml", "--json", cwd=tmp_path)
    found = {each["name"]: each["state"] for each in json.loads(checked.stdout)["checks"]}
    expected = {
        "model": ("environment", "wrong"),
        "cli": ("adapter", "ok"),
        "langgraph": ("agent", "wrong"),
    }
    name, state = expected[adapter]
    assert found[name] == state
    assert pelton("new", "mine", "--adapter", adapter, cwd=tmp_path).returncode == 1


def test_an_adapter_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = pelton("new", "mine", "--adapter", "parrot", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no adapter 'parrot'" in done.stderr
