"""A model without a model: an endpoint on loopback that plays a script, for tests of agents.

```python
from pelton.testing.models import ScriptedModel, call, fail, say

async with ScriptedModel([call("add", a=1, b=2), fail(429), say("It is 3.")]) as model:
    ...  # an agent whose provider is at model.url, in any of four dialects
assert [asked.tools for asked in model.asked] == [("add",)] * 3
```

It speaks Anthropic Messages, OpenAI Chat Completions and Responses, and Gemini generateContent,
streamed or not, on one port: which one, the path of a request says, whatever comes before it.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, cast

import msgspec
import uvicorn

from pelton.adapters.quiet_server import Cut, QuietServer
from pelton.testing.dialects import DIALECTS
from pelton.testing.dialects.shape import Call, Dialect, Json, Line, Reply

_START: Final = 10.0  # seconds for the server to listen
_PIECES: Final = re.compile(r"\s*\S+\s*$|\s*\S+")


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """What the model does when it is asked once. `say`, `call` and `fail` make these.

    It waits `delay` seconds before each piece of its answer, and with `stall` for ever after the
    last of its text. With a `status` other than 200 it fails, and says to come again after
    `retry_after` seconds if that is given. With `cut` the connection ends after so many pieces of
    the answer; `garbled` is sent in place of the answer's body.
    """

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    status: int = 200
    retry_after: float | None = None
    delay: float = 0.0
    stall: bool = False
    cut: int | None = None
    garbled: str = ""


def say(text: str, **more: Any) -> Play:
    """Return what says a text; `more` are members of `Play`."""
    return Play(text=text, **more)


def call(tool: str, /, **arguments: Any) -> Play:
    """Return what calls one tool."""
    return Play(calls=((tool, arguments),))


def calls(*wanted: tuple[str, dict[str, Any]], text: str = "") -> Play:
    """Return what calls several tools at once, perhaps after a text."""
    return Play(calls=wanted, text=text)


def fail(status: int, *, retry_after: float | None = None) -> Play:
    """Return what fails with an HTTP status."""
    return Play(status=status, retry_after=retry_after)


class Asked:
    """One request as the model got it. `gone` is set if its client left before the answer's end."""

    def __init__(self, dialect: Dialect, body: Json, path: str, headers: dict[str, str]) -> None:
        match = dialect.path.search(path)
        assert match is not None  # it was found by it
        self.dialect = dialect.name
        self.path, self.headers, self.body = path, headers, body
        self.model = dialect.model(body, match)
        self.stream = dialect.streams(body, match)
        self.lines: tuple[Line, ...] = tuple(dialect.lines(body))
        self.tools: tuple[str, ...] = tuple(dialect.tools(body))
        self.gone = asyncio.Event()
        self.answered = asyncio.Event()

    @property
    def said(self) -> list[tuple[str, str]]:
        """The conversation as pairs of role and text, without what has no text."""
        return [(line.role, line.text) for line in self.lines if line.text]


Script = Sequence[Play] | Callable[[Asked], Play]
"""What is played: one after the other, or what a function says of each request."""


class ScriptedModel:
    """The endpoint, as an async context manager. `asked` are the requests so far.

    One that comes when the script is over is answered 400, which nobody tries again.
    """

    def __init__(self, script: Script = ()) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        """`http://127.0.0.1:PORT`, without a slash; clients add their own paths."""
        self._plays = list(script) if not callable(script) else []
        self._play = script if callable(script) else self._next
        self._changed = asyncio.Condition()
        self._server: QuietServer | None = None
        self._running: asyncio.Task[None] | None = None

    def script(self, *plays: Play) -> None:
        """Play these too, after what is left."""
        self._plays += plays

    async def until(self, count: int, within: float = 10.0) -> Asked:
        """Wait until it was asked so often, and return the last of these requests."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: len(self.asked) >= count)
        return self.asked[count - 1]

    async def __aenter__(self) -> Self:
        """Listen on a port that the system chooses."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        up = asyncio.Event()
        self._server = QuietServer(config, up.set)
        self._running = asyncio.create_task(self._server.serve([listening]), name="scripted model")
        async with asyncio.timeout(_START):
            await up.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; who still waits for an answer is cut off."""
        assert self._server is not None
        assert self._running is not None
        self._server.should_exit = self._server.force_exit = True
        await self._running

    def _next(self, _: Asked) -> Play:
        return self._plays.pop(0) if self._plays else fail(400)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        path, body = str(scope["path"]), await _read(receive)
        dialect = next((each for each in DIALECTS if each.path.search(path)), None)
        if dialect is None or scope["method"] != "POST":
            await _respond(send, 404, {"error": {"message": f"there is nothing at {path}"}})
            return
        pairs = cast("list[tuple[bytes, bytes]]", scope["headers"])
        headers = {name.decode(): value.decode("latin-1") for name, value in pairs}
        asked = Asked(dialect, msgspec.json.decode(body), path, headers)
        play = self._play(asked)
        async with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()
        answering = asyncio.ensure_future(self._answer(asked, play, dialect, send))
        leaving = asyncio.ensure_future(_gone(receive))
        await asyncio.wait((answering, leaving), return_when="FIRST_COMPLETED")
        if not answering.done():
            asked.gone.set()
        for task in (answering, leaving):
            task.cancel()
        await asyncio.wait((answering, leaving))
        if not answering.cancelled():
            answering.result()
            asked.answered.set()

    async def _answer(self, asked: Asked, play: Play, dialect: Dialect, send: Any) -> None:
        if play.stall and not play.text:
            await asyncio.Event().wait()
        await asyncio.sleep(play.delay)
        if play.status != 200:
            after = play.retry_after
            headers = [] if after is None else [(b"retry-after", f"{after:g}".encode())]
            await _respond(send, play.status, dialect.error(play.status, "as scripted"), headers)
            return
        if play.garbled:
            await _respond_bytes(send, 200, play.garbled.encode())
            return
        reply = self._reply(asked, play)
        if not asked.stream:
            await _respond(send, 200, dialect.whole(reply))
            return
        await _stream(dialect, reply, play, send)

    def _reply(self, asked: Asked, play: Play) -> Reply:
        number = len(self.asked)
        wanted = tuple(
            Call(name, arguments, f"call_{number}_{at}")
            for at, (name, arguments) in enumerate(play.calls)
        )
        pieces = tuple(_PIECES.findall(play.text))
        told = sum(len(line.text.split()) for line in asked.lines)
        return Reply(f"msg_{number}", asked.model, pieces, wanted, (told, len(pieces)))


async def _read(receive: Any) -> bytes:
    data, more = b"", True
    while more:
        message = await receive()
        data += message.get("body", b"")
        more = message.get("more_body", False)
    return data


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond(
    send: Any, status: int, body: Json, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    await _respond_bytes(send, status, msgspec.json.encode(body), headers)


async def _respond_bytes(
    send: Any, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    all_headers = [(b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(dialect: Dialect, reply: Reply, play: Play, send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number, (name, data) in enumerate(dialect.events(reply)):
        if play.cut is not None and number >= play.cut:
            raise Cut
        await asyncio.sleep(play.delay)
        head = f"event: {name}\n" if name else ""
        body = f"{head}data: {msgspec.json.encode(data).decode()}\n\n"
        await send({"type": "http.response.body", "body": body.encode(), "more_body": True})
        if play.stall and number + 1 >= dialect.head + len(reply.pieces):
            await asyncio.Event().wait()
    last = f"data: {dialect.end}\n\n" if dialect.end else ""
    await send({"type": "http.response.body", "body": last.encode()})
