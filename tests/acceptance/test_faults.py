"""Parts are killed while people ask: what was accepted is answered, once (G1)."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.running import Dev, ask, eventually, get, message


class Senders:
    """Clients that send one message after another; what is refused or cut off, they send again.

    A message is sent again under the same id, into the same context, until it is accepted: the
    answers then name one task (law 6).
    """

    def __init__(self, url: str, *, clients: int, messages: int) -> None:
        self._url, self._messages = url, messages
        self.accepted: dict[str, set[str]] = {}
        self.refused = 0
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def _send(self, client: int) -> None:
        for number in range(self._messages):
            text = f"c{client}-{number}"
            until = time.monotonic() + 50
            while time.monotonic() < until:
                try:
                    said = message(text, contextId=f"context-{text}")
                    task = ask(f"{self._url}/worker", "SendMessage", said)["task"]["id"]
                except (OSError, RuntimeError):
                    self.refused += 1
                    time.sleep(0.1)  # a client's own patience
                    continue
                self.accepted.setdefault(text, set()).add(task)
                break

    def await_some(self) -> None:
        """Wait until more is accepted than was; there must be more to come."""
        seen = len(self.accepted)
        assert seen < len(self._threads) * self._messages, "all was sent before the fault"
        eventually(lambda: len(self.accepted) > seen)

    def join(self) -> None:
        """Wait until all is sent."""
        for thread in self._threads:
            thread.join(55)
            assert not thread.is_alive()


def ends(dev: Dev) -> Counter[str]:
    """Return how often the log ends each task."""
    done = dev.run("tail", "evt.worker.>", "--from", "start", "--no-follow", "--json")
    commits = [json.loads(line)["record"] for line in done.stdout.splitlines()]
    return Counter(
        event["taskId"]
        for commit in commits
        for event in commit["data"]["events"]
        if event["type"].startswith("TaskStatusUpdated")
        and event["status"]["state"] == "TASK_STATE_COMPLETED"
    )


@pytest.mark.accepts("AS-11", "G1")
@pytest.mark.timeout(120)
def test_executors_are_killed_while_people_ask(tmp_path: Path) -> None:
    with Dev(tmp_path, "--executors", "2", "--profile", "relaxed", STEP_SECONDS="0.2") as dev:
        dev.ready()
        senders = Senders(dev.url, clients=4, messages=10)
        kills = 0
        for name in ("executor-1", "executor-2", "executor-1"):
            senders.await_some()
            before = dev.strike(name)
            kills += 1
            dev.await_restart(name, before)
        senders.join()
        assert len(senders.accepted) == 40
        tasks = {task for found in senders.accepted.values() for task in found}
        for task in tasks:
            dev.await_state(task, "COMPLETED")
        assert ends(dev) == Counter(dict.fromkeys(tasks, 1))
        effects = Counter(dev.effects.read_text().split())
        wanted = {f"{text}-{part}" for text in senders.accepted for part in ("first", "second")}
        assert set(effects) == wanted
        # A step that was killed between its effect and its record is run again, no other is.
        assert sum(effects.values()) - len(wanted) <= 4 * kills


@pytest.mark.accepts("AS-31")
def test_the_bridge_is_killed_and_its_clients_come_back(tmp_path: Path) -> None:
    with Dev(tmp_path, "--profile", "relaxed", STEP_SECONDS="2") as dev:
        url = f"{dev.ready().url}/worker"
        later = {"configuration": {"returnImmediately": True}}
        kept = ask(url, "SendMessage", {**message("kept"), **later})["task"]["id"]
        dropped = ask(url, "SendMessage", {**message("dropped"), **later})["task"]["id"]
        before = dev.strike("bridge")
        dev.await_restart("bridge", before)
        eventually(lambda: get(f"{dev.url}/readyz")[0] == 200)
        assert dev.state(kept) == "WORKING"
        assert ask(url, "CancelTask", {"id": dropped})["status"]["state"] == "TASK_STATE_CANCELED"
        body = {"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": kept}}
        request = urllib.request.Request(
            url,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "A2A-Version": "1.0"},
        )
        with urllib.request.urlopen(request, timeout=30) as stream:
            events = [json.loads(line[5:])["result"] for line in stream if line[:5] == b"data:"]
        assert events[0]["task"]["id"] == kept
        assert events[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert dev.state(dropped) == "CANCELED"


@pytest.mark.accepts("AS-62", "AS-63", "G1")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_the_server_is_away_for_a_while_and_all_recovers(
    tmp_path: Path, fault: signal.Signals
) -> None:
    with Dev(tmp_path, "--profile", "relaxed") as dev:
        dev.ready()
        senders = Senders(dev.url, clients=3, messages=30)
        senders.await_some()
        server = dev.pids()["nats-server"]
        os.kill(server, fault)
        if fault is signal.SIGSTOP:
            eventually(lambda: get(f"{dev.url}/readyz")[0] == 503, within=20)
            assert get(f"{dev.url}/healthz") == (200, {"status": "ok"})
            os.kill(server, signal.SIGCONT)
        eventually(lambda: get(f"{dev.url}/readyz")[0] == 200)
        senders.join()
        assert len(senders.accepted) == 90
        tasks = {task for found in senders.accepted.values() for task in found}
        for task in tasks:
            dev.await_state(task, "COMPLETED")
        assert set(ends(dev).values()) == {1}
        assert set(ends(dev)) >= tasks
