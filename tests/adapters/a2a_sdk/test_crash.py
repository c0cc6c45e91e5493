"""A server of the SDK that is killed in the middle of its work, and started again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest
from a2a.client import Client, ClientCallContext, ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as pb

from tests.cluster import free_ports


async def start(data: Path, port: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.adapters.a2a_sdk.durable_process"),
        *(str(data), str(port), str(data / "effects")),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            while await process.stdout.readline() != b"up\n":
                assert process.returncode is None
    except BaseException:
        process.kill()
        raise
    return process


def client_of(port: int, http: httpx.AsyncClient) -> Client:
    interface = pb.AgentInterface(
        url=f"http://127.0.0.1:{port}/", protocol_binding="JSONRPC", protocol_version="1.0"
    )
    card = pb.AgentCard(name="Worker", supported_interfaces=[interface])
    card.capabilities.streaming = True
    return ClientFactory(ClientConfig(httpx_client=http)).create(card)


@pytest.mark.accepts("AS-11", "AS-31")
async def test_what_was_begun_ends_after_a_kill(tmp_path: Path) -> None:
    """The first gap of the SDK's own server: there, the task stays as it was for ever."""
    [port] = free_ports(1)
    said = pb.Message(message_id="m", role=pb.ROLE_USER, parts=[pb.Part(text="work")])
    process = await start(tmp_path, port)
    try:
        async with httpx.AsyncClient(timeout=30) as http:
            client = client_of(port, http)
            sent = client.send_message(pb.SendMessageRequest(message=said))
            task = (await anext(sent)).task.id
            while not (await anext(sent)).HasField("artifact_update"):
                pass
            process.kill()
            await process.wait()
            process = await start(tmp_path, port)
            whole = ClientCallContext(
                service_parameters={"last-event-id": "0"}
            )  # it may have ended
            asked = pb.SubscribeToTaskRequest(id=task)
            updates = [update async for update in client.subscribe(asked, context=whole)]
            assert updates[-1].status_update.status.state == pb.TASK_STATE_COMPLETED
            found = await client.get_task(pb.GetTaskRequest(id=task))
            assert found.artifacts[0].parts[0].text == "half done"
        assert (tmp_path / "effects").read_text() == "worked\nworked\n"
    finally:
        process.kill()
        await process.wait()
