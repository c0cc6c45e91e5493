"""`pelton check` and `pelton run`: an agent by file, as its users meet it."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

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
    listed = pelton("agents", cwd=folder, **given).stdout
    assert "preflight failed: " in listed
    assert "not started" in listed


@pytest.mark.accepts("AS-69")
def test_what_cannot_be_started_is_never_ready(folder: Path, nats_url: str) -> None:
    """Its program is there, as its preflight finds, and ends before it says anything."""
    given = {"PELTON_NATS_URL": nats_url, "PELTON_NATS_PROFILE": "relaxed"}
    (folder / "agent.toml").write_text('name = "quitter"\nadapter = "worker:./quit.sh"')
    (folder / "quit.sh").write_text("#!/bin/sh\necho no more paper >&2\nexit 3\n")
    (folder / "quit.sh").chmod(0o755)
    done = pelton("run", "agent.toml", cwd=folder, **given)
    assert (done.returncode, done.stdout) == (1, "")
    [shown] = json.loads(pelton("agents", "--json", cwd=folder, **given).stdout)["agents"]
    error = shown["lastError"]
    assert (error["stage"], error["kind"]) == ("adapter", "dependency-unavailable")
    assert "no more paper" in error["detail"]


@pytest.mark.accepts("AS-69")
def test_a_start_that_fails_is_all_that_is_told_of_it(folder: Path) -> None:
    """And not that the other parts were ended for it."""
    (folder / "agent.toml").write_text('name = "quitter"\nadapter = "worker:./quit.sh"')
    (folder / "quit.sh").write_text("#!/bin/sh\necho no more paper >&2\nexit 3\n")
    (folder / "quit.sh").chmod(0o755)
    done = pelton("run", "agent.toml", "--http", "127.0.0.1:0", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("pelton: worker: The agent's process has ended")
    assert "SIGKILL" not in done.stderr


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


class Serving:
    """A running `pelton run` or `serve` in a folder, and the lines that it prints."""

    def __init__(self, folder: Path, *words: str, **given: str) -> None:
        self._command = [*PELTON, *words, "--json"]
        self._folder, self._given = folder, given
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=environment(**self._given),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        eventually(lambda: self.said('"event":"ready"'))
        return self

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(lines)

    def said(self, *texts: str) -> bool:
        """Whether it has printed a line that holds all these texts."""
        return any(all(text in line for text in texts) for line in tuple(self.lines))

    def anew(self, *texts: str) -> None:
        """Have it read its files anew, and wait until it says so."""
        self.lines.clear()
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.said(*texts))

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(15) == 0
        finally:
            self.process.kill()
            self._reader.join()


@pytest.mark.accepts("AS-58", "AS-69")
def test_what_a_file_says_anew_holds_from_the_next_turn_on(folder: Path, nats_url: str) -> None:
    given = {"PELTON_NATS_URL": nats_url, "PELTON_NATS_PROFILE": "relaxed", "VOICE": "loud"}
    file, settings = folder / "agent.toml", folder / "pelton.toml"

    def shown() -> dict[str, Any]:
        [found] = json.loads(pelton("agents", "--json", cwd=folder, **given).stdout)["agents"]
        return dict(found)

    with Serving(folder, "run", "agent.toml", **given) as run:
        file.write_text(FILE.replace("{text}", "again") + 'version = "2"\n[policy]\nmax_steps = 3')
        run.anew('"reloaded"', '"settings"')
        assert (shown()["profile"]["version"], shown()["lastError"]) == ("2", None)

        file.write_text(FILE + "[policy]\nmax_steps = true")
        run.anew('"not-reloaded"', "$.policy.max_steps")
        assert shown()["profile"]["version"] == "2"
        assert "it goes on as it was: agent.toml: $.policy.max_steps" in str(shown()["lastError"])

        file.write_text(FILE.replace("shouter", "other"))
        run.anew('"not-reloaded"', "$.name: it is 'shouter' until a restart")

        file.write_text(FILE)
        settings.write_text("[executor]\ncapacity = 3\n[policy]\nrules.no = '1 +'")
        run.anew('"not-reloaded"', "the rule 'no'")
        assert run.said('"restart-needed"', '"executor.capacity"')
        settings.write_text("[policy]\nmax_stepz = 1")
        run.anew('"not-reloaded"', "policy.max_stepz", "did you mean")
        settings.unlink()
        run.anew('"reloaded"', '"equipment": []')
        assert shown()["lastError"] is None


def test_a_bridge_says_what_waits_for_a_restart(tmp_path: Path, nats_url: str) -> None:
    given = {"PELTON_NATS_URL": nats_url, "PELTON_NATS_PROFILE": "relaxed"}
    with Serving(tmp_path, "serve", "bridge", "--http", "127.0.0.1:0", **given) as bridge:
        (tmp_path / "pelton.toml").write_text("[bridge]\nanswer_within = 9\n[limits]\nx = 1")
        bridge.anew('"not-reloaded"', "limits.x")
        (tmp_path / "pelton.toml").write_text("[bridge]\nanswer_within = 9")
        bridge.anew('"restart-needed"', '"bridge.answer_within"')


def test_dev_sees_that_a_file_has_changed(folder: Path) -> None:
    with Dev(folder, agents=("agent.toml",), VOICE="loud") as dev:
        dev.ready()
        (folder / "agent.toml").write_text(FILE.replace("{text}", "again"))
        eventually(lambda: dev.said(" reloaded "))
        answer = ask(f"{dev.url}/shouter", "SendMessage", message("hello"))
        [artifact] = answer["task"]["artifacts"]
        assert artifact["parts"] == [{"text": "AGAIN"}]
        listed = pelton("plugins", "list", "--agent", "shouter", "--json", cwd=folder)
        assert json.loads(listed.stdout) == {"equipment": [], "hooks": []}
        (folder / "pelton.toml").write_text("[policy]\nrules.no = '1 +'")
        eventually(lambda: dev.said("the rule 'no'"))


def test_dev_takes_a_file_among_others(folder: Path) -> None:
    with Dev(folder, agents=("worker.py", "agent.toml"), VOICE="loud") as dev:
        dev.ready()
        answer = ask(f"{dev.url}/shouter", "SendMessage", message("hello"))
        [artifact] = answer["task"]["artifacts"]
        assert artifact["parts"] == [{"text": "HELLO"}]
