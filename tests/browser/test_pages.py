"""What pages in a real browser can do with a bridge, and cannot: `make test-browser`.

Chromium is started headless, is told that all names are this machine, and opens pages of one that
may and of one that may not. A page sends what it found to the server that it came from.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pelton.runtime.jetstream import JetStreamLog
from tests.adapters.identity import conftest
from tests.adapters.identity.people import ACME, Town, key, town
from tests.browser.driving import chromium

pytestmark = pytest.mark.browser

logs = conftest.logs

DOCUMENTED = re.search(
    r"```js\n(?P<code>.*?)```",
    (Path(__file__).parents[2] / "docs" / "live.md").read_text("utf-8"),
    re.DOTALL,
)


class Pages:
    """A server of pages on a port of its own; each name that leads to it is another origin."""

    def __init__(self) -> None:
        self.script = ""
        self.found: asyncio.Queue[Any] = asyncio.Queue()
        self.port = 0

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[None]:
        """Serve while the block lasts."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = b""
        if length := re.search(r"content-length: (\d+)", head, re.IGNORECASE):
            body = await reader.readexactly(int(length[1]))
        if head.startswith("POST /found "):
            self.found.put_nowait(json.loads(body))
        page = f"<!doctype html><script type=module>{self.script}</script>" if not body else ""
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(page.encode()), page.encode())
        )
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def pages() -> AsyncIterator[Pages]:
    pages = Pages()
    async with pages.serve():
        yield pages


@pytest_asyncio.fixture
async def place(
    logs: Mapping[str, JetStreamLog], tmp_path: Path, pages: Pages
) -> AsyncIterator[Town]:
    allowed = f"http://app.example:{pages.port}"
    async with town(logs, tmp_path, origins=[allowed]) as found:
        yield found


async def visit(pages: Pages, name: str, script: str, profile: Path) -> Any:
    """Open a page of a name in a browser, and return what its script finds."""
    pages.script = f"""
        const say = found => fetch("/found", {{method: "POST", body: JSON.stringify(found)}});
        try {{ await say(await (async () => {{ {script} }})()); }}
        catch (error) {{ await say({{failed: String(error)}}); }}"""
    process = await asyncio.create_subprocess_exec(
        chromium(),
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--host-resolver-rules=MAP *.example 127.0.0.1", f"--user-data-dir={profile / name}"),
        f"http://{name}:{pages.port}/",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return await asyncio.wait_for(pages.found.get(), 40)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)


OPEN = """
    const open = (url, offers) => new Promise(done => {
        const socket = new WebSocket(url, offers);
        socket.onmessage = event => { socket.onclose = null; socket.close(); done(event.data); };
        socket.onclose = event => done(event.code);
    });
"""
"""Resolves to the first frame of a WebSocket, or to the code that it was closed with."""


@pytest.mark.accepts("S20", "AS-32")
async def test_the_documented_page_follows_a_task(
    place: Town, pages: Pages, tmp_path: Path
) -> None:
    task = (await place.send("anna", "ask"))["id"]
    url = f"{place.url.replace('http', 'ws')}/echo/tasks/{task}:subscribe"
    assert DOCUMENTED
    script = f"""
        {DOCUMENTED["code"]}
        const seen = [];
        return await new Promise(done => {{
            follow({json.dumps(url)}, {json.dumps(key("anna")["X-API-Key"])}, event => {{
                seen.push(event);
                if (event.statusUpdate?.status.state === "TASK_STATE_COMPLETED") done(seen);
            }}, 0);
        }});"""
    visiting = asyncio.create_task(visit(pages, "app.example", script, tmp_path))
    await place.send("anna", "an answer", taskId=task)
    [first, *rest] = await visiting
    assert first["task"]["id"] == task
    states = [event["statusUpdate"]["status"]["state"] for event in rest if "statusUpdate" in event]
    assert states[-2:] == ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"]


@pytest.mark.accepts("S20")
async def test_other_pages_reach_nothing(place: Town, pages: Pages, tmp_path: Path) -> None:
    """Not even with a good key: over WebSockets, fetched, posted as a form, or by another name."""
    task = (await place.send("anna", "ask"))["id"]
    before = await place.logs[ACME].extent()
    port = place.url.rpartition(":")[2]
    offers = json.dumps(["pelton.v1", "pelton.bearer." + key("anna")["X-API-Key"]])
    path = f"/echo/tasks/{task}:subscribe"
    script = f"""
        {OPEN}
        const tried = [];
        for (const host of ["127.0.0.1", "localhost", "evil.example", "app.example"])
            tried.push(await open(`ws://${{host}}:{port}{path}`, {offers}));
        const headers = {{"X-API-Key": {json.dumps(key("anna")["X-API-Key"])}}};
        for (const [host, options] of [
            ["127.0.0.1", {{headers}}], ["evil.example", {{headers}}],
            ["127.0.0.1", {{method: "POST", body: "{{}}", mode: "no-cors"}}],
        ]) tried.push(await fetch(`http://${{host}}:{port}/echo/tasks`, options)
            .then(answer => answer.type === "opaque" ? 0 : answer.status, () => 0));
        return tried;"""
    assert await visit(pages, "evil.example", script, tmp_path) == [1006] * 4 + [0] * 3
    allowed = f'{OPEN} return await open("ws://127.0.0.1:{port}{path}", {offers});'
    frame = json.loads(await visit(pages, "app.example", allowed, tmp_path))
    assert frame["data"]["task"]["id"] == task, "and it is the origin that makes the difference"
    denied = f'{OPEN} return await open("ws://127.0.0.1:{port}{path}", ["pelton.v1"]);'
    frame = json.loads(await visit(pages, "app.example", denied, tmp_path))
    assert frame["error"]["details"][0]["reason"] == "AUTH_DENIED"
    assert await place.logs[ACME].extent() == before
