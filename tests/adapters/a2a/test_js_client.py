"""The official JavaScript client against a real bridge and executor, on every binding."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from examples import conformance_agent
from pelton.runtime.jetstream import JetStreamLog
from tests.adapters.a2a.world import executing, served
from tests.adapters.push.receiver import pushing

FOLDER = Path(__file__).parents[3] / "examples" / "js-client"
NODE = shutil.which("node")


@pytest.mark.skipif(
    NODE is None or not (FOLDER / "node_modules").is_dir(),
    reason="NOT TESTED: install Node.js 20 and run `make node`",
)
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON", "GRPC"])
async def test_the_official_javascript_client_works(
    log: JetStreamLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binding: str
) -> None:
    assert NODE is not None
    monkeypatch.setattr(conformance_agent, "STREAMING_TIMEOUT", 0.5)
    async with (
        executing(log, conformance_agent.conformance),
        pushing(tmp_path) as push,
        served(log, tmp_path, grpc=True, push=push) as url,
    ):
        process = await asyncio.create_subprocess_exec(
            NODE,
            "client.mjs",
            f"{url}/conformance",
            binding,
            cwd=FOLDER,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(40):
                said, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, errors.decode()
    streamed = ["task", "statusUpdate", "artifactUpdate", "statusUpdate"]
    assert json.loads(said) == {
        "text": "Generated text content",
        "same": True,
        "listed": 1,
        "skills": ["conformance", "more"],
        "hooks": ["http://localhost:9/hook", 1, 0],
        "message": "Direct message response",
        "streamed": streamed,
        "canceled": True,
        "subscribed": ["task", "statusUpdate"],
        "whole": ["task", "statusUpdate", "statusUpdate"],
        "once": True,
        "missing": "TASK_NOT_FOUND",
        "ended": "TASK_NOT_CANCELABLE",
    }
