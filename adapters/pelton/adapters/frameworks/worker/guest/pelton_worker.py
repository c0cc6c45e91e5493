"""A worker of pelton in Python: an agent in an environment of its own (`worker-protocol.md`).

It needs nothing but the standard library of Python 3.10 or newer, and is on the path of each worker
that is started by pelton:

```python
from pelton_worker import Turn, serve

async def agent(turn: Turn) -> str:
    answer = await turn.step("model", ask, turn.text, idempotent=True)
    return answer

serve(agent)
```

What is printed goes to standard error: standard output is the protocol's.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import json
import os
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar, cast

PROTOCOL = 1
LINE = 16 * 1024 * 1024

Json = dict[str, Any]
T = TypeVar("T")


class Failed(Exception):
    """Raised by an agent to say how it failed; clients read the text.

    `kind` is one of pelton's classes of failures, such as `provider`, `timeout`, `validation`.
    """

    def __init__(self, message: str, kind: str = "agent", cause: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.cause = kind, cause


class Turn:
    """A message in the hands of an agent; see `Turn` of pelton, whose part this is."""

    def __init__(self, wire: Wire, told: Json) -> None:
        self._wire = wire
        self.task: str = told["task"]
        self.context: str = told["context"]
        self.number: int = told["number"]
        self.session: str = told["session"]
        self.lines: list[Json] = told["lines"]
        self.entries: Json = told.get("entries") or {}
        self.message: Json = told.get("message") or {}

    @property
    def text(self) -> str:
        """What is said now."""
        return str(self.lines[-1]["text"])

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        given: list[Any] | None = None,
        key: str = "",
        idempotent: bool = False,
        speaks: bool = False,
        deadline: float | None = None,
        kind: str = "code",
    ) -> Any:
        """Run `fn(*args)` once, and record what it returns, which is JSON.

        `kind` is `model` or `tool` if that is what it calls.

        `given` is recorded in place of arguments that are no JSON. A plain function runs in a
        thread, with the context variables that are set here.
        """
        asked = {
            "name": name,
            "args": list(args) if given is None else given,
            "key": key,
            "idempotent": idempotent,
            "speaks": speaks,
            "deadline": deadline,
            "kind": kind,
        }
        body: Callable[[], Any] = partial(fn, *args)
        if not inspect.iscoroutinefunction(fn):
            body = partial(contextvars.copy_context().run, body)
        return await self._wire.call("step", asked, body)

    def wait(self, doing: Coroutine[Any, Any, T]) -> T:
        """Wait for one of these calls from within a thread."""
        if threading.current_thread() is self._wire.thread:
            doing.close()
            raise RuntimeError("this would wait for itself: call it in a thread, or await it")
        return asyncio.run_coroutine_threadsafe(doing, self._wire.loop).result()

    async def awaited(self, doing: Coroutine[Any, Any, T]) -> T:
        """Wait for one of these calls, in whatever event loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(doing, self._wire.loop))

    def say(self, text: str) -> None:
        """Let the answer go on, from any thread."""
        if text:
            self._wire.send({"method": "say", "params": {"text": text}})

    def beat(self) -> None:
        """Say that it gets on."""
        self._wire.send({"method": "beat", "params": {}})

    def usage(self, model: str, **counts: float) -> None:
        """Say what a call of a model took; to be called after its step, not within."""
        self._wire.send({"method": "usage", "params": {"model": model, **counts}})

    async def ask(self, question: str, **more: Any) -> str:
        """Ask a person, and return the answer."""
        return str(await self._wire.call("ask", {"question": question, **more}))

    async def approve(self, what: str, **more: Any) -> Json:
        """Ask a person whether something may be done; returns `approved` and `reason`."""
        found: Json = await self._wire.call("approve", {"what": what, **more})
        return found

    async def put(self, key: str, value: Any) -> None:
        """Store a value, which later turns of the conversation have in `entries`."""
        await self._wire.call("put", {"key": key, "value": value})

    async def request(self, method: str, **params: Any) -> Any:
        """Ask for what else the protocol has, such as `delegate`, `sleep` or `now`."""
        return await self._wire.call(method, params)


Agent = Callable[[Turn], Awaitable[Any]]


class Wire:
    """Lines of JSON-RPC to the executor and from it."""

    def __init__(self, out: int, start: Callable[[str], Any]) -> None:
        self._out, self._start = out, start
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._bodies: dict[int, Callable[[], Any]] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._turn: asyncio.Task[None] | None = None
        self._agent: Agent | None = None
        self.loop, self.thread = asyncio.get_running_loop(), threading.current_thread()

    def send(self, message: Json) -> None:
        """Write a line; from any thread."""
        data = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._out, data) :]

    async def call(self, method: str, params: Json, body: Callable[[], Any] | None = None) -> Any:
        """Ask for something, and return what is answered."""
        id_ = next(self._ids)
        found = self._pending[id_] = self.loop.create_future()
        if body is not None:
            self._bodies[id_] = body
        try:
            self.send({"id": id_, "method": method, "params": params})
            return await found
        finally:
            self._pending.pop(id_, None)
            self._bodies.pop(id_, None)

    async def hear(self, lines: asyncio.StreamReader) -> None:
        """Hear until the executor is gone."""
        while line := await lines.readline():
            message = json.loads(line)
            method, id_ = message.get("method"), message.get("id")
            params: Json = message.get("params") or {}
            if method == "start":
                await self._reply(id_, self._started(params))
            elif method == "turn":
                self._turn = asyncio.ensure_future(self._reply(id_, self._taken(params)))
            elif method == "run":
                step: int = params["step"]
                task = asyncio.ensure_future(self._reply(id_, self._run(step)))
                self._running[step] = task
                task.add_done_callback(partial(self._ran, step))
            elif method == "cancel":
                task_ = self._running.get(params["step"]) if "step" in params else self._turn
                if task_ is not None:
                    task_.cancel()
            elif method is None and id_ in self._pending and not self._pending[id_].done():
                if error := message.get("error"):
                    data: Json = error.get("data") or {}
                    failed = Failed(error["message"], data.get("kind", "agent"), id_)
                    self._pending[id_].set_exception(failed)
                else:
                    self._pending[id_].set_result(message.get("result"))

    def _ran(self, step: int, _: object) -> None:
        self._running.pop(step, None)

    async def _reply(self, id_: int, doing: Awaitable[Any]) -> None:
        try:
            message: Json = {"result": await doing}
        except Failed as failed:
            data = {"kind": failed.kind} | ({"cause": failed.cause} if failed.cause else {})
            message = {"error": {"code": -32000, "message": str(failed), "data": data}}
        except asyncio.CancelledError:
            message = {"error": {"code": -32000, "message": "it was cancelled"}}
        except BaseException as error:  # noqa: BLE001  whoever asked has an answer
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
            message = {"error": {"code": -32000, "message": text}}
        self.send({"id": id_, **message})

    async def _started(self, params: Json) -> Json:
        if params["protocol"] != PROTOCOL:
            raise Failed(f"it speaks version {PROTOCOL} of the protocol", "validation")
        found = self._start(params.get("agent") or "")
        self._agent = await found if inspect.isawaitable(found) else found
        return {"protocol": PROTOCOL, "name": getattr(self._agent, "__name__", "")}

    async def _taken(self, params: Json) -> Json:
        if self._agent is None:
            raise Failed("it was not started", "validation")
        found = await self._agent(Turn(self, params))
        return {"answer": found or ""} if isinstance(found, str | None) else {"data": found}

    async def _run(self, step: int) -> Any:
        body: Any = self._bodies[step]
        function: Any = body.func if isinstance(body, partial) else body
        if inspect.iscoroutinefunction(function):
            return cast("Any", await body())
        found: Any = await asyncio.to_thread(cast("Callable[[], Any]", body))
        return await found if inspect.isawaitable(found) else found


def serve(agent: Agent | None = None, *, start: Callable[[str], Any] | None = None) -> None:
    """Serve an agent until the executor is gone; `start` makes it of a reference instead."""
    given, out, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # no framework reads what is for us,
    os.dup2(2, 1)  # and what it prints is no message
    asyncio.run(_serve(given, out, start or (lambda _: agent)))


async def _serve(given: int, out: int, start: Callable[[str], Any]) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE)
    protocol = asyncio.StreamReaderProtocol(lines)
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(given, "rb"))
    loop.add_signal_handler(signal.SIGINT, os._exit, 130)
    await Wire(out, start).hear(lines)
    os._exit(0)  # threads of a framework hold nobody up
