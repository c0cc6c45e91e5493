"""A worker's adapter: processes that speak the protocol, kept warm between turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from pelton.adapters.frameworks import programs
from pelton.adapters.frameworks.contract import (
    AdapterError,
    AgentDied,
    Capability,
    Health,
    assured,
)
from pelton.adapters.frameworks.conversation import Conversation, told
from pelton.adapters.frameworks.processes import Processes
from pelton.adapters.frameworks.rpc import Peer, Refused
from pelton.adapters.frameworks.worker import protocol
from pelton.adapters.frameworks.worker.session import WorkerSession
from pelton.events.errors import InvalidInput
from pelton.events.retries import Retry
from pelton.runtime.model_gateway import ModelDoor, ModelGateway
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn

KEPT: Final = 2
"""How many processes without a turn are kept for the next one, unless it is told others."""

GUEST: Final = Path(__file__).with_name("guest")
"""What a worker in Python may import: `pelton_worker`, of the standard library alone."""


class WorkerAdapter:
    """A command that speaks `worker-protocol.md`; what it is asked for is the `agent`.

    A process has one turn at a time. It is kept for another turn when that has ended well, and
    ended otherwise; `keep` are kept at most. `retry` says how its idempotent steps are tried again
    (else by the class of the failure). It runs in `directory` with `more` in its environment, and
    without any variable of pelton's. What it asks of models goes through its executor's gateway, if
    that has one.
    """

    capabilities: frozenset[Capability] = frozenset(Capability) - {
        *(Capability.OPTIONS, Capability.RERUN)
    }
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        command: Sequence[str],
        *,
        agent: str = "",
        name: str = "worker",
        retry: Retry | None = None,
        keep: int = KEPT,
        directory: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        if not command:
            raise InvalidInput("a worker needs a program: write worker:PROGRAM ARGUMENT…")
        self.name, self.format = name, 1
        self.command, self.agent = tuple(command), agent
        self.retry, self.keep, self.directory = retry, keep, directory
        self.more = {"PYTHONPATH": str(GUEST), **(more or {})}
        self.processes = Processes()
        self._idle: list[_Worker] = []
        self._running = False
        self._gateway: ModelGateway | None = None

    def led(self, gateway: ModelGateway | None) -> None:
        """Have its processes ask their models through a gateway, as far as it leads to these."""
        self._gateway = gateway

    async def start(self) -> None:
        """Start a process, which shows whether its agent can be had.

        Raises:
            AdapterError: it cannot; the text is the worker's.
        """
        assured(await self.health())
        await self.processes.start()
        try:
            worker = await self._launched()
        except BaseException:
            await self.processes.stop()
            raise
        self._running, self.format = True, worker.started.format
        self._idle.append(worker)

    async def health(self) -> Health:
        """Look for the program."""
        return await programs.look(self.command[0], self.more.get("PATH"))

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> WorkerSession:
        """Read the conversation, and take a process for it.

        Raises:
            AdapterError: the adapter is not started, as when a task is run again from its record.
        """
        if not self._running:
            raise AdapterError(
                f"{self.name}: it is not started; an agent in a process of its own cannot be run"
                " again without effects"
            )
        conversation = Conversation(turn)
        await conversation.load(opening, await told(turn))
        entries = await turn.session.entries()
        shown = protocol.Told(
            task=turn.task_id,
            context=turn.context_id,
            number=turn.number,
            session=str(opening.id),
            lines=tuple(protocol.Line(each.role, each.text) for each in conversation.lines),
            entries={key: value for key, value in entries.items() if "/" not in key},
            message=msgspec.to_builtins(conversation.message),
        )
        worker = await self._taken()

        async def release(well: bool) -> None:  # noqa: FBT001
            if well and worker.peer.alive and self._running and len(self._idle) < self.keep:
                self._idle.append(worker)
            else:
                await worker.stack.aclose()

        return WorkerSession(
            worker.peer,
            conversation,
            shown,
            retry=self.retry,
            token="" if worker.door is None else worker.door.token,
            release=release,
        )

    async def stop(self) -> None:
        """End every process."""
        self._running = False
        while self._idle:
            await self._idle.pop().stack.aclose()
        await self.processes.stop()

    async def _taken(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.peer.alive:
                return worker
            await worker.stack.aclose()
        return await self._launched()

    async def _launched(self) -> _Worker:
        door = None if self._gateway is None else await self._gateway.door()
        async with AsyncExitStack() as stack:
            peer = await stack.enter_async_context(
                Peer.open(
                    self.processes,
                    self.command,
                    more=self.more,
                    directory=self.directory,
                    route=door,
                )
            )
            asked = {"protocol": protocol.VERSION, "agent": self.agent}
            try:
                found = await peer.call("start", asked)
                started = msgspec.convert(found, protocol.Started)
            except Refused as error:
                raise AdapterError(f"{self.name}: {error}") from error
            except AgentDied as error:
                said = peer.complaint.strip().rpartition("\n")[2]
                raise AdapterError(f"{self.name}: {error} {said}".rstrip()) from error
            except msgspec.ValidationError as error:
                raise AdapterError(f"{self.name}: this is no worker of ours: {error}") from error
            if started.protocol != protocol.VERSION:
                raise AdapterError(
                    f"{self.name}: it speaks version {started.protocol} of the protocol, and"
                    f" {protocol.VERSION} is spoken here"
                )
            return _Worker(peer, started, stack.pop_all(), door)
        raise AssertionError  # the block returns or raises


class _Worker:
    """A process that is ready for a turn; `stack` ends it, and `door` is where its models are."""

    def __init__(
        self,
        peer: Peer,
        started: protocol.Started,
        stack: AsyncExitStack,
        door: ModelDoor | None,
    ) -> None:
        self.peer, self.started, self.stack, self.door = peer, started, stack, door
