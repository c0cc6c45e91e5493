"""`pelton schedules` and `pelton agents`, as one uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.running import Dev, eventually


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with Dev(tmp_path_factory.mktemp("dev"), "--profile", "relaxed") as running:
        yield running.ready()


def listed(dev: Dev) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in dev.json("schedules", "list", "worker")["schedules"]}


@pytest.mark.accepts("AS-56")
def test_a_schedule_is_set_fires_pauses_and_goes(dev: Dev) -> None:
    done = dev.json("schedules", "set", "worker", "often", "hello", "--cron", "* * * * * *")
    assert done["decided"]
    assert done["next"].endswith("Z")
    eventually(lambda: bool(listed(dev)["often"]["last"]))
    context = listed(dev)["often"]["lastContext"]
    eventually(
        lambda: (
            [
                task["status"]["state"]
                for task in dev.json("tasks", "worker", "--context", context)["tasks"]
            ]
            == ["TASK_STATE_COMPLETED"]
        )
    )
    assert len(dev.run("schedules", "next", "worker", "often").stdout.splitlines()) == 5
    paused = dev.json("schedules", "pause", "worker", "often")
    assert paused["next"] == "never: it is off"
    assert listed(dev)["often"]["next"] is None
    assert dev.json("schedules", "resume", "worker", "often")["schedule"]["enabled"]
    assert listed(dev)["often"]["next"]
    assert "often" in dev.run("schedules", "list").stdout
    assert dev.run("schedules", "remove", "worker", "often").returncode == 0
    assert listed(dev) == {}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["pause", "worker", "none"], 3, "has no schedule 'none'"),
        (["set", "worker", "a", "x"], 2, "either cron or at"),
        (["set", "worker", "a", "x", "--cron", "often"], 2, "is no cron expression"),
        (["set", "worker", "a", "x", "--at", "soon"], 2, "is no time"),
        (["set", "worker", "a", "x", "--cron", "* * * * *", "--zone", "Mars"], 2, "no time zone"),
        (["set", "worker", "a", "x", "--cron", "* * * * *", "--missed", "x"], 2, "skip, once, all"),
        (["set", "Worker!", "a", "x", "--cron", "* * * * *"], 2, "cannot name an agent"),
    ],
)
def test_what_cannot_be_set_is_said(dev: Dev, arguments: list[str], code: int, words: str) -> None:
    done = dev.run("schedules", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr


@pytest.mark.accepts("AS-48")
def test_agents_tells_how_they_stand(dev: Dev) -> None:
    eventually(lambda: dev.json("agents")["agents"][0]["status"] == "serving")
    eventually(lambda: dev.json("agents")["agents"][0]["activeTurns"] == 0)
    [worker] = dev.json("agents")["agents"]
    assert worker["life"] == 1
    assert [each["beat"] for each in worker["executors"]] == ["serving"] * len(worker["executors"])
    assert worker["initialPrompt"] is None
    head, line = dev.run("agents").stdout.splitlines()
    assert head.split()[:5] == ["AGENT", "STATUS", "SINCE", "EXECUTORS", "TURNS"]
    assert line.split()[:2] == ["worker", "serving"]


def test_an_agent_is_removed(tmp_path: Path) -> None:
    with Dev(tmp_path, "--profile", "relaxed") as running:
        dev = running.ready()
        assert dev.run("agents", "remove", "nobody").returncode == 3
        assert dev.json("agents", "remove", "worker")["status"] == "removed"
        assert dev.json("agents")["agents"] == []
        eventually(
            lambda: "there is no agent 'worker'" in dev.run("send", "worker", "hello").stderr
        )
        assert dev.run("agents", "remove", "worker").returncode == 3
