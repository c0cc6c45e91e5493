"""`pelton dev`: ready soon, supervised, stopped in order, outlived by nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.acceptance.running import Dev, alive, ask, eventually, get, message, pelton_itself


def environment_of(pid: int) -> str:
    """Return the environment that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_text()


@pytest.mark.accepts("AS-63", "S20")
def test_it_says_what_survives_and_is_ready_when_the_bridge_is(tmp_path: Path) -> None:
    with Dev(tmp_path) as dev:
        dev.ready()
        print(f"ready after {dev.seconds:.2f} s")
        assert dev.lines[0].startswith("profile durable: an accepted message survives kill of any")
        assert get(f"{dev.url}/readyz") == (
            200,
            {
                "status": "ok",
                "detail": dict.fromkeys(("log", "agents", "keys", "lists", "loops"), True),
            },
        )
        assert get(f"{dev.url}/healthz") == (200, {"status": "ok"})
        assert (tmp_path / ".pelton" / "dev.json").stat().st_mode & 0o777 == 0o600
        names = {"bridge", "projector", "executor-1", "nats-server"}
        assert set(dev.pids()) == names
        if sys.platform == "linux":  # those that wake up interrupt nobody
            assert {os.sched_getscheduler(pid) for pid in dev.pids().values()} == {os.SCHED_BATCH}
        dev.await_line("debug ")
        link = next(line[6:] for line in dev.lines if line.startswith("debug "))
        page, _, token = link.partition("?token=")
        assert page == f"{dev.url}/debug"
        told = [name for name, pid in dev.pids().items() if token in environment_of(pid)]
        assert told == ["bridge"], "no agent's process knows the token"
        assert dev.stop() == 0


@pytest.mark.accepts("AS-61")
def test_it_ends_in_order_and_leaves_nothing_running(tmp_path: Path) -> None:
    with Dev(tmp_path) as dev:
        pids = dev.ready().pids()
        assert dev.stop(signal.SIGINT) == 0
        assert dev.lines[-1] == "stopped"
        assert not any(map(alive, pids.values()))
        assert not (tmp_path / ".pelton" / "dev.json").exists()


@pytest.mark.accepts("AS-61")
@pytest.mark.parametrize("after", [0.0, 0.2, 0.5, 1.0, 1.5])
def test_told_to_end_at_any_moment_of_its_start_it_ends(tmp_path: Path, after: float) -> None:
    with Dev(tmp_path) as dev:
        eventually(lambda: bool(dev.lines))  # from here on signals are heeded
        time.sleep(after)  # the moment is the parameter
        began = time.monotonic()
        assert dev.stop() == 0
        assert time.monotonic() - began < 15


@pytest.mark.accepts("AS-61", "G1")
def test_what_runs_when_it_is_told_to_end_is_finished_after_the_next_start(tmp_path: Path) -> None:
    with Dev(tmp_path, STEP_SECONDS="20", PELTON_EXECUTOR_STOP_WITHIN="0.3") as dev:
        dev.ready()
        task = ask(
            f"{dev.url}/worker",
            "SendMessage",
            {**message("long"), "configuration": {"returnImmediately": True}},
        )["task"]["id"]
        dev.await_state(task, "WORKING")
        assert dev.stop() == 0
        assert "stopped" in dev.lines
    with Dev(tmp_path) as again:
        again.ready()
        again.await_state(task, "COMPLETED")
        assert sorted(again.effects.read_text().split()) == ["long-first", "long-second"]


@pytest.mark.accepts("AS-61")
def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with Dev(tmp_path, STEP_SECONDS="30", PELTON_EXECUTOR_STOP_WITHIN="60") as dev:
        dev.ready()
        pids = dev.pids()
        ask(
            f"{dev.url}/worker",
            "SendMessage",
            {**message("long"), "configuration": {"returnImmediately": True}},
        )
        dev.process.terminate()
        dev.await_line("once more to end at once")
        time.sleep(0.6)  # a second one within half a second is the first, sent twice
        began = time.monotonic()
        assert dev.stop() == 1
        assert time.monotonic() - began < 5
        eventually(lambda: not any(map(alive, pids.values())))


def test_killed_it_takes_all_its_children_with_it(tmp_path: Path) -> None:
    with Dev(tmp_path, "--executors", "2") as dev:
        pids = dev.ready().pids()
        assert len(pids) == 5
        dev.kill()
        eventually(lambda: not any(map(alive, pids.values())), within=5)


@pytest.mark.accepts("AS-72")
def test_what_ends_is_started_again_and_said(tmp_path: Path) -> None:
    with Dev(tmp_path) as dev:
        dev.ready()
        for name in ("executor-1", "bridge", "projector"):
            before = dev.strike(name)
            dev.await_restart(name, before)
        assert dev.said("executor-1  | was ended by SIGKILL; starts again in 0.2 s")
        before = dev.strike("nats-server")
        dev.await_line("nats-server | is ready again")
        dev.await_restart("nats-server", before)
        eventually(lambda: get(f"{dev.url}/readyz")[0] == 200)
        answer = ask(f"{dev.url}/worker", "SendMessage", message("after all"))
        assert answer["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


@pytest.mark.accepts("AS-72")
def test_what_ends_again_and_again_is_started_later_and_later(tmp_path: Path) -> None:
    with Dev(tmp_path) as dev:
        dev.ready()
        for pause in ("0.2", "0.4", "0.8"):
            eventually(lambda: "executor-1" in dev.pids())
            dev.strike("executor-1")
            dev.await_line(f"was ended by SIGKILL; starts again in {pause} s")


def test_a_second_one_on_the_same_directory_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with Dev(tmp_path) as dev:
        dev.ready()
        second = dev.run("dev", "--http", "127.0.0.1:0")
        assert second.returncode == 4
        assert second.stderr.startswith("pelton: another nats-server is running on this data")
        assert len(second.stderr.splitlines()) == 1
        assert get(f"{dev.url}/readyz")[0] == 200


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("missing.py", "there is no file 'missing.py'"),
        ("nothing:here", "there is no module 'nothing'"),
        ("two.py", "'two.py' holds 2 agents: name the one, as in two.py:name"),
    ],
)
def test_an_agent_that_is_none_is_an_error_of_usage(tmp_path: Path, agent: str, said: str) -> None:
    one = "@agent\nasync def {}(turn): ...\n"
    two = "from pelton.runtime import agent\n" + one.format("a") + one.format("b")
    (tmp_path / "two.py").write_text(two)
    done = pelton_itself("dev", agent, "--http", "127.0.0.1:0", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_an_error_of_settings(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = pelton_itself("dev", "--http", where, "--json", cwd=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "settings"
    assert error["message"].startswith(f"bridge.http: {where} cannot be listened on")


def test_json_lines_say_what_happens(tmp_path: Path) -> None:
    with Dev(tmp_path, "--json", "--profile", "relaxed") as dev:
        dev.await_line('"event":"ready"')
        assert dev.stop() == 0
        events = [json.loads(line) for line in dev.lines if line.startswith('{"event"')]
        assert [event["event"] for event in events] == ["profile", "ready", "stopped"]


@pytest.mark.accepts("AS-61", "G1")
def test_told_to_end_while_many_ask_it_loses_nothing_that_it_accepted(tmp_path: Path) -> None:
    accepted: list[str] = []

    def send(url: str, number: int) -> None:
        for round_ in range(40):
            try:
                answer = ask(url, "SendMessage", message(f"m{number}-{round_}"))
            except (OSError, RuntimeError):
                return
            accepted.append(answer["task"]["id"])

    with Dev(tmp_path, "--profile", "relaxed") as dev:
        url = f"{dev.ready().url}/worker"
        senders = [threading.Thread(target=send, args=(url, number)) for number in range(4)]
        for sender in senders:
            sender.start()
        eventually(lambda: len(accepted) > 20)
        assert dev.stop() == 0
        for sender in senders:
            sender.join(10)
    with Dev(tmp_path, "--profile", "relaxed") as again:
        again.ready()
        for task in accepted[-5:]:
            again.await_state(task, "COMPLETED")
        lines = again.effects.read_text().split()
        assert len(lines) == len(set(lines)), "an effect happened twice"
