"""What `docs/moving.md` shows works as it stands there: each way leads to an answer."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.acceptance.running import Dev
from tests.cluster import free_ports
from tests.docs.test_docs import Block, blocks, text_of

BLOCKS: Final = list(blocks(text_of("moving.md"), "moving.md"))
SENT: Final = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "Ada"}]}


def block(containing: str) -> str:
    [found] = [each.code for each in BLOCKS if _is_python(each) and containing in each.code]
    return found


def _is_python(block: Block) -> bool:
    return block.info[:1] == ("python",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of the page."""
    (tmp_path / "greeter.py").write_text(block("class Greeter"))
    (tmp_path / "server.py").write_text(block("lifespan=handler.lifespan"))
    (tmp_path / "several.py").write_text(block('profile="cluster"'))
    return tmp_path


async def greeting(url: str, name: str = "Greeter") -> str:
    async with httpx.AsyncClient(timeout=30) as client:
        headers = {"A2A-Version": "1.0"}
        answer = await client.post(f"{url}/message:send", json={"message": SENT}, headers=headers)
        card = await client.get(f"{url}/.well-known/agent-card.json")
    assert card.json()["name"] == name
    told: str = answer.json()["task"]["status"]["message"]["parts"][0]["text"]
    return told


@pytest.mark.parametrize("option", [("--agent",), ()], ids=["option", "argument"])
async def test_an_executor_runs_as_it_is(folder: Path, option: tuple[str, ...]) -> None:
    with Dev(folder, agents=(*option, "sdk:greeter:Greeter")) as dev:
        assert await greeting(dev.ready().url) == "Hello, Ada!"


async def test_an_application_is_durable_in_two_lines(folder: Path) -> None:
    [port] = free_ports(1)
    async with serving(folder, port):
        assert await greeting(f"http://127.0.0.1:{port}") == "Hello, Ada!"
        assert (folder / ".pelton" / "nats").is_dir()


@asynccontextmanager
async def serving(folder: Path, port: int) -> AsyncGenerator[None]:
    """Run the application of the page on a port, as its makers would."""
    greeter = folder / "greeter.py"
    assert "127.0.0.1:8000/" in greeter.read_text()
    greeter.write_text(greeter.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    command = ("-m", "uvicorn", "server:app", "--port", str(port), "--log-level", "warning")
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=folder)
    try:
        async with asyncio.timeout(40):
            await listening(port)
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def test_a_server_may_stay_behind_an_agent(folder: Path) -> None:
    [port] = free_ports(1)
    front = block("async def front")
    assert "http://127.0.0.1:9000/greeter" in front
    behind = f"http://127.0.0.1:{port}"
    (folder / "front.py").write_text(front.replace("http://127.0.0.1:9000/greeter", behind))
    async with serving(folder, port):
        with Dev(
            folder, "--data", "front", agents=("front.py",), PELTON_EXECUTOR_REMOTES=behind
        ) as dev:
            assert await greeting(dev.ready().url, "Front") == "Hello, Ada!"


async def test_one_for_several_processes_can_be_made(folder: Path) -> None:
    """It is not opened: there is no such server."""
    command = (sys.executable, "-W", "error", "several.py")
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=dict(os.environ))
    assert await asyncio.wait_for(process.wait(), 40) == 0
