"""The example of delegation, run as a user runs it: one of the agents dies, and so does another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.running import Dev, ask, eventually, message

ROOT = Path(__file__).parents[2]
WHOLE = """About 'open a bakery':
- facts: three sources on 'What is known about this: open a bakery?'
- figures: {length} in all, after {attempts} attempts
- critic: nobody comes, or everybody"""
LENGTH = len("three sources on 'What does this cost: open a bakery?'")


class Example(Dev):
    """`pelton dev` with the agents of the example."""

    def tasks(self) -> list[dict[str, Any]]:
        """Return all tasks there are."""
        found: list[dict[str, Any]] = self.json("tasks")["tasks"]
        return found


@pytest.mark.timeout(120)
@pytest.mark.accepts("AS-50", "AS-59")
def test_the_answer_is_whole_though_processes_die(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    config = ("--config", "examples/orchestrator.toml", "--executors", "2")
    with Example(tmp_path, *config, agents=()) as dev:
        dev.ready()
        url, sent = f"{dev.url}/orchestrator", message("open a bakery")
        sent["configuration"] = {"returnImmediately": True}
        task = ask(url, "SendMessage", sent)["task"]["id"]
        # `figures` kills one executor; when it has, the one that took over is killed too
        eventually(lambda: dev.said("was ended by SIGKILL"))
        died = next(line for line in dev.lines if "was ended by SIGKILL" in line).split()[0]
        other = "executor-2" if died == "executor-1" else "executor-1"
        victim = dev.strike(other)

        def completed() -> Any:
            found = ask(url, "GetTask", {"id": task})
            return found if found["status"]["state"] == "TASK_STATE_COMPLETED" else None

        answer = eventually(completed, within=60)
        text = answer["status"]["message"]["parts"][0]["text"]
        attempts = text.partition(" attempts")[0].rpartition(" ")[2]
        assert text == WHOLE.format(length=LENGTH, attempts=attempts)
        assert int(attempts) >= 2
        dev.await_restart(other, victim)
        assert len(dev.tasks()) == 4  # nobody was asked twice
        # One that refuses changes nothing else, and the answer is merged in the same order.
        lines = dev.run("send", "orchestrator", "a flying bakery").stdout.splitlines()
        assert [line.partition(":")[0] for line in lines[-3:]] == [
            "- facts",
            "- figures",
            "- critic",
        ]
        assert lines[-1] == "- critic: (no answer: I do not comment on that.)"
