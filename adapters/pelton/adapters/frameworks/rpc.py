"""JSON-RPC 2.0 with an agent's process: one object on a line, requests both ways.

What workers, the Agent Client Protocol and codex's app-server have in common.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final, Protocol, cast

import msgspec
import structlog

from pelton.adapters.frameworks.contract import AgentDied
from pelton.adapters.frameworks.processes import Process, Processes
from pelton.events.events import FailureClass
from pelton.runtime.failures import AgentError
from pelton.runtime.model_gateway import ModelDoor

Json = dict[str, Any]


def member(value: Any, *names: str) -> Any:
    """Return what stands at a path in JSON, or None if there is nothing."""
    for name in names:
        value = cast("Json", value).get(name) if isinstance(value, dict) else None
    return value


def elements(value: Any) -> list[Any]:
    """Return the elements of a JSON array, none if it is no array."""
    return [*value] if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


NO_METHOD: Final = -32601
BAD_PARAMS: Final = -32602
FAILED: Final = -32000

_READS: Final = 30.0  # seconds in which a process has to read what it is sent
_TAIL: Final = 4000  # characters of what it says on standard error that an operator gets to see

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Refused(AgentError):
    """An agent's process has answered a request with an error, or is answered with one.

    `number` and `data` are those of JSON-RPC. Look into the executor's log for what it wrote.
    """

    code: ClassVar[str] = "agent-refused"

    def __init__(
        self,
        message: str,
        *,
        number: int = FAILED,
        data: Mapping[str, Any] | None = None,
        kind: FailureClass = FailureClass.AGENT,
    ) -> None:
        super().__init__(message, kind=kind)
        self.number, self.data = number, dict(data or {})


class Ear(Protocol):
    """Who hears what a process says of its own accord."""

    async def told(self, method: str, params: Json) -> None:
        """Hear a notification. They come one after the other, each when the one before is done."""
        ...

    async def asked(self, id_: int | str, method: str, params: Json) -> Any:
        """Answer a request. Requests run side by side; they begin in the order of the lines.

        Raises:
            Refused: this is the answer.
            Exception: the process cannot be gone on with; whoever waits for it gets this.
        """
        ...


class Peer:
    """A process that speaks JSON-RPC. `ear` hears it; `open` makes one."""

    def __init__(self, process: Process, program: str) -> None:
        self._process, self._program = process, program
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._last = 0
        self._tail = b""
        self._broken: BaseException | None = None
        self._gone = asyncio.Event()
        self.ear: Ear | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        processes: Processes,
        command: Sequence[str],
        *,
        more: Mapping[str, str] | None = None,
        directory: str | None = None,
        route: ModelDoor | None = None,
    ) -> AsyncGenerator[Peer]:
        """Run a command for the duration of the block, and speak with it."""
        async with processes.run(
            command, given=None, more=more, directory=directory, route=route
        ) as process:
            peer = cls(process, command[0])
            tasks = [
                asyncio.create_task(peer._listen(), name="rpc"),
                asyncio.create_task(peer._complaints(), name="stderr"),
            ]
            try:
                yield peer
            finally:
                tasks += peer._answering
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                peer._break(AgentDied("The agent's process was ended."))

    @property
    def alive(self) -> bool:
        """Whether it can still be spoken with."""
        return self._broken is None

    async def gone(self) -> None:
        """Wait until it can be spoken with no more."""
        await self._gone.wait()

    @property
    def complaint(self) -> str:
        """The end of what it has said on standard error."""
        return self._tail.decode(errors="replace")

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask for something, and return the answer; cancelled, the answer is not waited for.

        Raises:
            Refused: it is an error.
            AgentDied: the process ends without one, or does not read.
        """
        if self._broken is not None:
            raise self._broken
        self._last += 1
        id_, found = self._last, asyncio.get_running_loop().create_future()
        self._pending[id_] = found
        try:
            await self._send({"id": id_, "method": method, "params": dict(params)})
            return await found
        finally:
            del self._pending[id_]

    async def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Say something that has no answer."""
        await self._send({"method": method, "params": dict(params)})

    async def _send(self, message: Json) -> None:
        line = msgspec.json.encode({"jsonrpc": "2.0", **message})
        try:
            async with asyncio.timeout(_READS):
                self._process.stdin.write(line + b"\n")
                await self._process.stdin.drain()
        except (ConnectionError, TimeoutError) as error:
            self._break(AgentDied("The agent's process does not read."))
            raise AgentDied("The agent's process does not read.") from error

    async def _listen(self) -> None:
        try:
            async for line in self._process.stdout:
                await self._heard(line)
        except ValueError:  # so says the standard library of a line that is too long
            self._break(AgentDied("The agent's process has printed a line that is too long."))
            return
        except Exception as error:  # noqa: BLE001  whoever waits for the process has it
            self._break(error)
            return
        code = await self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"has ended with exit code {code}"
        logger.warning("agent-ended", program=self._program, code=code, stderr=self.complaint)
        self._break(AgentDied(f"The agent's process {how}."))

    async def _complaints(self) -> None:
        while data := await self._process.stderr.read(65536):
            self._tail = (self._tail + data)[-_TAIL:]

    async def _heard(self, line: bytes) -> None:
        try:
            message = cast("Json", msgspec.json.decode(line))
        except msgspec.DecodeError:
            return  # many a program prints what is no message
        match message:
            case {"method": str(method), "id": id_}:
                task = asyncio.create_task(self._answer(id_, method, _params(message)), name=method)
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            case {"method": str(method)}:
                if self.ear is not None:
                    await self.ear.told(method, _params(message))
            case {"id": int(id_)} if id_ in self._pending and not self._pending[id_].done():
                if isinstance(message.get("error"), dict):
                    self._pending[id_].set_exception(_refused(message["error"]))
                else:
                    self._pending[id_].set_result(message.get("result"))
            case _:
                logger.debug("agent-said-nothing-known", program=self._program)

    async def _answer(self, id_: int | str, method: str, params: Json) -> None:
        try:
            if self.ear is None:
                raise Refused("no turn is running")
            result = await self.ear.asked(id_, method, params)
            await self._send({"id": id_, "result": result})
        except Refused as error:
            data = {"data": error.data} if error.data else {}
            await self._send(
                {"id": id_, "error": {"code": error.number, "message": str(error), **data}}
            )
        except Exception as error:  # noqa: BLE001  whoever waits for the process has it
            self._break(error)

    def _break(self, error: BaseException) -> None:
        self._broken = self._broken or error
        self._gone.set()
        for found in self._pending.values():
            if not found.done():
                found.set_exception(self._broken)


def _params(message: Json) -> Json:
    found = message.get("params")
    return cast("Json", found) if isinstance(found, dict) else {}


def _refused(error: Json) -> Refused:
    data = error.get("data")
    number = error.get("code")
    return Refused(
        str(error.get("message", "")),
        number=number if isinstance(number, int) else FAILED,
        data=cast("Json", data) if isinstance(data, dict) else {"data": data},
    )
