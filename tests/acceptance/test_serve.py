"""`pelton serve`: the parts one by one, against a server that is not ours."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import grpc
import pytest
from a2a.types import a2a_pb2 as pb
from a2a.types.a2a_pb2_grpc import A2AServiceStub

from tests.acceptance.running import (
    PELTON,
    WORKER,
    ask,
    environment,
    eventually,
    get,
    message,
    pelton,
)


@contextlib.contextmanager
def serving(
    cwd: Path, *arguments: str, **variables: str
) -> Generator[tuple[subprocess.Popen[str], dict[str, Any]], None, None]:
    """Give a part that is ready, and what it says of itself."""
    with subprocess.Popen(
        [*PELTON, "serve", *arguments, "--json"],
        cwd=cwd,
        env=environment(EFFECTS=str(cwd / "effects.txt"), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as part:
        try:
            assert part.stdout is not None
            assert part.stderr is not None
            line = part.stdout.readline()
            assert line, part.stderr.read()
            yield part, json.loads(line)
        finally:
            part.kill()


@pytest.mark.accepts("AS-61", "AS-63")
def test_the_parts_serve_against_any_server_and_end_in_order(tmp_path: Path, nats_url: str) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    given = {"PELTON_NATS_URL": nats_url, "PELTON_NATS_PROFILE": "relaxed"}
    with contextlib.ExitStack() as stack:
        here = stack.enter_context
        executor, facts = here(serving(tmp_path, "executor", "worker.py", **given))
        assert facts["agents"] == ["worker"]
        projector, _ = here(serving(tmp_path, "projector", **given))
        both = {**given, "PELTON_BRIDGE_GRPC": "127.0.0.1:0"}
        bridge, facts = here(serving(tmp_path, "bridge", "--http", "127.0.0.1:0", **both))
        url = facts["url"]
        eventually(lambda: get(f"{url}/readyz")[0] == 200)
        answer = ask(f"{url}/worker", "SendMessage", message("served"))
        card = get(f"{url}/worker/.well-known/agent-card.json")[1]
        assert card["supportedInterfaces"][-1]["url"] == facts["grpc"]
        with grpc.insecure_channel(facts["grpc"]) as channel:
            asked = pb.ListTasksRequest(tenant="worker")
            version = (("a2a-version", "1.0"),)
            stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]

            def listed_over_grpc() -> bool:
                return bool(stub.ListTasks(asked, metadata=version).total_size == 1)

            eventually(listed_over_grpc)
        assert answer["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        listed = ask(f"{url}/worker", "ListTasks", {})
        assert [task["id"] for task in listed["tasks"]] == [answer["task"]["id"]]
        shown = pelton("show", answer["task"]["id"], "--json", cwd=tmp_path, **given)
        assert json.loads(shown.stdout)["agent"] == "worker"
        for part in (bridge, executor, projector):
            part.send_signal(signal.SIGTERM)
            assert part.wait(15) == 0


@pytest.mark.accepts("S23", "AS-40")
def test_nothing_that_is_printed_holds_the_password(tmp_path: Path) -> None:
    url = "nats://user:canary-password@127.0.0.1:1"
    for arguments in (["serve", "projector"], ["agents"], ["doctor", "--json"]):
        done = pelton(*arguments, cwd=tmp_path, PELTON_NATS_URL=url, PELTON_LOG_LEVEL="debug")
        assert done.returncode != 0
        assert "canary" not in done.stdout + done.stderr
