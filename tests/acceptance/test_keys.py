"""`pelton keys`, and a bridge that takes nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.running import Dev, pelton


@pytest.mark.accepts("S1", "AS-38")
def test_a_key_is_made_used_rotated_and_revoked(tmp_path: Path) -> None:
    with Dev(tmp_path, "--profile", "relaxed", PELTON_AUTH_ACCEPT="keys") as dev:
        dev.ready()
        refused = dev.run("send", "worker", "hello")
        assert refused.returncode == 1
        assert "set PELTON_CLIENT_KEY" in refused.stderr

        made = dev.json("keys", "create", "anna", "--days", "1")
        key_id, first = made["id"], made["key"]
        assert dev.run("keys", "create", "b", "--role", "emperor").returncode == 2

        def send(key: str) -> int:
            done = pelton("send", "worker", "hello", cwd=tmp_path, PELTON_CLIENT_KEY=key)
            assert first not in done.stdout + done.stderr
            return done.returncode

        assert send(first) == 0
        second = dev.json("keys", "rotate", key_id, "--overlap", "1")["key"]
        assert [send(first), send(second)] == [0, 0]
        third = dev.json("keys", "rotate", key_id, "--overlap", "0")["key"]
        assert [send(first), send(second), send(third)] == [1, 1, 0]

        [listed] = dev.json("keys", "list")["keys"]
        assert (listed["id"], listed["principal"], listed["state"]) == (key_id, "anna", "good")
        assert first not in json.dumps(listed)
        assert "anna" in dev.run("keys", "list").stdout
        assert "anna: client" in dev.run("tail", "--from", "start", "--no-follow").stdout

        assert dev.run("keys", "revoke", key_id).returncode == 0
        assert send(third) == 1
        assert dev.run("keys", "revoke", key_id).returncode == 3
        assert dev.json("keys", "list")["keys"][0]["state"] == "revoked"
        # What follows the id: a secret may have an underscore in it.
        secrets = [each.partition(f"_{key_id}_")[2].encode() for each in (first, second, third)]
        assert all(len(secret) == 43 for secret in secrets)
        for file in (tmp_path / ".pelton").rglob("*"):
            data = file.read_bytes() if file.is_file() else b""
            assert not any(secret in data for secret in secrets), file


@pytest.mark.accepts("AS-38")
def test_a_bridge_that_others_can_reach_does_not_start_without(tmp_path: Path) -> None:
    given = {"PELTON_NATS_URL": "nats://127.0.0.1:1"}
    done = pelton("serve", "bridge", "--http", "0.0.0.0:0", cwd=tmp_path, **given)
    assert done.returncode == 2
    assert "PELTON_AUTH_ACCEPT=keys" in done.stderr
