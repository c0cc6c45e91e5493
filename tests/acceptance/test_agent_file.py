"""`pelton check` and `pelton run`: an agent by file, as its users meet it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.running import PELTON, Dev, ask, environment, eventually, message, pelton

SHOUT = '#!/bin/sh\necho "$1" | tr a-z A-Z\n'
FILE = """
name = "shouter"
adapter = "cli:./shout.sh {text}"
initial = "wake up"
environment = ["VOICE"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agent.toml").write_text(FILE)
    (tmp_path / "shout.sh").write_text(SHOUT)
    (tmp_path / "shout.sh").chmod(0o755)
    return tmp_path


def checked(folder: Path, **variables: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code of `pelton check`, and its checks by name."""
    done = pelton("check", "agent.toml", "--json", cwd=folder, **variables)
    found = json.loads(done.stdout)
    assert found["agent"] == "shouter"
    assert found["ok"] is (done.returncode == 0)
    return done.returncode, {each["name"]: each for each in found["checks"]}


def test_a_check_says_what_is_wrong_and_ends_so(folder: Path) -> None:
    code, checks = checked(folder, VOICE="loud")
    assert code == 0
    assert checks["server"]["says"].startswith("none is named")
    code, checks = checked(folder)
    assert (code, checks["environment"]["says"]) == (1, "VOICE is not set")
    (folder / "shout.sh").unlink()
    code, checks = checked(folder, VOICE="loud")
    assert (code, checks["adapter"]["remedy"]) == (1, "install it")
    (folder / "shout.sh").write_text(SHOUT)
    (folder / "shout.sh").chmod(0o755)
    code, checks = checked(folder, VOICE="loud", PELTON_NATS_URL="nats://127.0.0.1:1")
    assert (code, checks["server"]["state"]) == (4, "wrong")
    (folder / "agent.toml").write_text(FILE + 'cron = "x"')
    done = pelton("check", "agent.toml", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("pelton: agent.toml: $.cron: there is no such key")


@pytest.mark.accepts("AS-69")
def test_a_start_that_fails_is_kept_in_the_words_of_the_system(folder: Path, nats_url: str) -> None:
    given = {"PELTON_NATS_URL": nats_url, "PELTON_NATS_PROFILE": "relaxed", "VOICE": "loud"}
    (folder / "shout.sh").chmod(0o644)
    for _ in range(2):
        done = pelton("run", "agent.toml", cwd=folder, **given)
        assert done.returncode == 1
        assert "Permission denied" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    [shown] = json.loads(pelton("agents", "--json", cwd=folder, **given).stdout)["agents"]
    error = shown["lastError"]
    assert (error["stage"], error["kind"]) == ("preflight", "dependency-unavailable")
    assert "Permission denied" in error["detail"]
    assert (shown["name"], shown["profile"], shown["life"]) == ("shouter", None, 0)
    assert "preflight failed: " in pelton("agents", cwd=folder, **given).stdout


@pytest.mark.accepts("AS-61")
def test_it_runs_against_a_server_and_ends_in_order(folder: Path, nats_url: str) -> None:
    given = {"PELTON_NATS_URL": nats_url, "PELTON_NATS_PROFILE": "relaxed", "VOICE": "loud"}
    with subprocess.Popen(
        [*PELTON, "run", "agent.toml", "--json"],
        cwd=folder,
        env=environment(**given),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["agents"] == ["shouter"]

            def woken() -> bool:
                [shown] = json.loads(pelton("agents", "--json", cwd=folder, **given).stdout)[
                    "agents"
                ]
                return bool(shown["initialPrompt"]["state"] == "TASK_STATE_COMPLETED")

            eventually(woken)
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0
        finally:
            process.kill()


def test_dev_takes_a_file_among_others(folder: Path) -> None:
    with Dev(folder, agents=("worker.py", "agent.toml"), VOICE="loud") as dev:
        dev.ready()
        answer = ask(f"{dev.url}/shouter", "SendMessage", message("hello"))
        [artifact] = answer["task"]["artifacts"]
        assert artifact["parts"] == [{"text": "HELLO"}]
