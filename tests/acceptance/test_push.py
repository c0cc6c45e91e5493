"""Push notifications as users meet them: `pelton dev`, a receiver here, `pelton push`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from pelton.adapters.push.signature import unspell, verify
from tests.acceptance.running import Dev, ask, eventually, get, message, pelton


class Receiver(HTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []

    def states(self) -> list[str]:
        """Return the states that it was told."""
        told = [json.loads(body).get("statusUpdate", {}).get("status", {}) for _, body in self.got]
        return [each["state"] for each in told if each]


class Handler(BaseHTTPRequestHandler):
    """Takes everything."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        cast("Receiver", self.server).got.append((dict(self.headers), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.accepts("S10")
def test_a_client_is_told_and_can_verify_it(tmp_path: Path, receiver: Receiver) -> None:
    with Dev(tmp_path, "--profile", "relaxed", PELTON_PUSH_ALLOW="http://localhost") as dev:
        dev.ready()
        _, card = get(f"{dev.url}/worker/.well-known/agent-card.json")
        assert card["capabilities"]["pushNotifications"] is True
        keys = tmp_path / ".pelton" / "push-keys.json"
        assert keys.stat().st_mode & 0o777 == 0o600
        to = {"url": f"http://localhost:{receiver.server_port}/canary", "token": "canary"}
        sent = message("hello") | {"configuration": {"taskPushNotificationConfig": to}}
        task = ask(f"{dev.url}/worker", "SendMessage", sent)["task"]["id"]
        eventually(lambda: "TASK_STATE_COMPLETED" in receiver.states())
        secret = dev.run("push", "secret", "anonymous").stdout.strip()
        ids = [
            verify(unspell(secret), headers, body, seconds=time.time())
            for headers, body in receiver.got
        ]
        assert len(set(ids)) == len(ids) >= 4

        def complete() -> bool:
            [config] = dev.json("push", "list", task)["configs"]
            return bool(config["standing"] == "complete")

        eventually(complete)
        assert f"http://localhost:{receiver.server_port}" in dev.run("push", "list", task).stdout
        assert dev.run("push", "list", "nope").returncode == 3
        assert dev.run("push", "list", "x-0123456789abcdef").returncode == 3
        told = dev.run("tail", "--from", "start", "--no-follow").stdout
        assert "PushConfigured" in told
        assert "PushEnded" in told
        assert "canary" not in told + json.dumps(dev.json("push", "list", task))
        made = dev.json("push", "key", str(keys))["keyId"]
        assert made in keys.read_text()
        assert dev.run("push", "secret", "anonymous").stdout.strip() != secret


def test_without_keys_commands_say_what_is_missing(tmp_path: Path) -> None:
    for command in (["push", "key"], ["push", "secret", "anna"]):
        done = pelton(*command, cwd=tmp_path)
        assert done.returncode == 2
        assert "push.keys" in done.stderr
    tmp_path.joinpath("other").write_text("{}")
    assert pelton("push", "key", "other", cwd=tmp_path).returncode == 2
    given = {"PELTON_NATS_URL": "nats://127.0.0.1:1", "PELTON_PUSH_KEYS": "missing"}
    done = pelton("serve", "bridge", "--http", "127.0.0.1:0", cwd=tmp_path, **given)
    assert done.returncode == 2
    assert "pelton push key" in done.stderr
