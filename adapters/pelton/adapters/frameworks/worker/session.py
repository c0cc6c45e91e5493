"""One attempt of a turn in a worker: what it asks for, it is given from the turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

import msgspec
import structlog

from pelton.adapters.frameworks.contract import SessionLost, not_done
from pelton.adapters.frameworks.conversation import Conversation, Spoken
from pelton.adapters.frameworks.rpc import BAD_PARAMS, NO_METHOD, Json, Peer, Refused
from pelton.adapters.frameworks.speech import Speech
from pelton.adapters.frameworks.worker import protocol
from pelton.events.a2a import Part
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.step import StepKind
from pelton.runtime.failures import AgentError, NondeterminismError, RecordedError
from pelton.runtime.guard import CallDenied
from pelton.runtime.model_gateway import ModelRoute, opened
from pelton.runtime.turn import Turn

T = TypeVar("T")

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class WorkerSession:
    """The session of an attempt, and the ear of its worker.

    `token` is what the worker has for its models, if it has no key. `release` is told whether the
    worker may take another turn.
    """

    def __init__(
        self,
        peer: Peer,
        conversation: Conversation,
        told: protocol.Told,
        *,
        retry: Retry | None,
        token: str,
        release: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._peer, self._conversation, self._told = peer, conversation, told
        self._retry, self._token, self._release = retry, token, release
        self._route: ModelRoute | None = None
        self._turn: Turn
        self._speech: Speech
        self._failed: dict[int | str, RecordedError] = {}
        self._well = False
        self._over = asyncio.Event()

    async def turn(self, turn: Turn) -> None:
        """Let the worker run the turn."""
        self._turn, self._speech = turn, Speech(turn)
        self._peer.ear = self
        async with self._way(turn) as self._route:
            ended = await self._ended()
        if ended.answer and ended.answer != self._speech.last:
            await self._speech.end(ended.answer)
        await self._speech.close()
        if ended.data is not msgspec.UNSET:
            await turn.artifact([Part(data=ended.data)], name="result")
        self._conversation.new.append(Spoken("assistant", ended.answer or self._speech.last))
        await self._conversation.keep()
        self._well = True

    def _way(self, turn: Turn) -> AbstractAsyncContextManager[ModelRoute | None]:
        """Open the way to its models, if it has not their keys."""
        return opened(turn, anew=False, token=self._token) if self._token else nullcontext()

    async def _ended(self) -> protocol.Ended:
        try:
            found = await self._peer.call("turn", msgspec.to_builtins(self._told))
            return msgspec.convert(found, protocol.Ended)
        except Refused as error:
            raise self._fault(error) from error
        except msgspec.ValidationError as error:
            raise AgentError(f"The worker's answer is none: {error}") from error
        finally:
            self._over.set()

    async def cancel(self) -> None:
        """Tell the worker to stop, and wait until it has."""
        if self._peer.alive:
            await self._peer.tell("cancel", {})
            await self._over.wait()

    async def close(self) -> None:
        """Give the worker back if the turn has ended well; else it is ended."""
        self._peer.ear = None
        await self._release(self._well)

    async def told(self, method: str, params: Json) -> None:
        """Hear what the worker says: text of its answer, what a model took, that it gets on."""
        match method:
            case "say":
                await self._speech.say(_read(params, protocol.Text).text)
            case "usage":
                used = _read(params, protocol.Usage)
                if self._route is None or not self._route.asked:  # else it is counted call by call
                    self._turn.usage(**msgspec.structs.asdict(used))
            case "beat":
                self._turn.beat()
            case _:
                logger.warning("worker-says-nothing-known", method=method[:80])

    async def asked(self, id_: int | str, method: str, params: Json) -> Any:
        """Do what the worker asks for; errors that are recorded are told to it, and remembered."""
        try:
            return await self._done(id_, method, params)
        except NondeterminismError:
            raise
        except RecordedError as error:
            self._failed[id_] = error
            raise Refused(str(error), data={"kind": error.failure.kind}) from error

    async def _done(self, id_: int | str, method: str, params: Json) -> Any:
        turn = self._turn
        match method:
            case "step":
                return await self._step(id_, _read(params, protocol.Step))
            case "ask":
                ask = _read(params, protocol.Ask)
                return await turn.ask(
                    ask.question, choices=ask.choices, approvers=ask.approvers, within=ask.within
                )
            case "approve":
                approve = _read(params, protocol.Approve)
                return msgspec.to_builtins(
                    await turn.approve(
                        approve.what,
                        tool=approve.tool,
                        args=approve.args,
                        approvers=approve.approvers,
                        within=approve.within,
                    )
                )
            case "delegate":
                wanted = _read(params, protocol.Delegate)
                report = await turn.delegate(wanted.agent, wanted.text, within=wanted.within)
                return {"text": report.text, "task": report.task_id, "state": report.state}
            case "sleep":
                return await turn.sleep(_read(params, protocol.Sleep).seconds)
            case "put":
                put = _read(params, protocol.Put)
                if "/" in put.key:
                    raise Refused("keys have no slash", number=BAD_PARAMS)
                return await turn.session.put(put.key, put.value)
            case "status":
                return await turn.status(_read(params, protocol.Text).text)
            case "artifact":
                made = _read(params, protocol.Artifact)
                part = Part(data=made.data) if made.text is None else Part(text=made.text)
                return await turn.artifact([part], name=made.name)
            case _:
                return self._value(method)

    def _value(self, method: str) -> Any:
        """Return what every attempt gets alike."""
        match method:
            case "now":
                return self._turn.now().isoformat()
            case "random":
                return self._turn.random()
            case "uuid":
                return str(self._turn.uuid())
            case _:
                raise Refused(f"there is no method {method[:80]!r}", number=NO_METHOD)

    async def _step(self, id_: int | str, step: protocol.Step) -> Any:
        async def running(*_: object) -> Any:
            if step.speaks:
                await self._speech.begin()
            try:
                return await self._peer.call("run", {"step": id_})
            except Refused as error:
                raise self._fault(error) from error
            except asyncio.CancelledError:
                if self._peer.alive:
                    await self._peer.tell("cancel", {"step": id_})
                raise

        try:
            found = await self._turn.step(
                step.name,
                running,
                *step.args,
                key=step.key,
                idempotent=step.idempotent,
                retry=self._retry if step.idempotent else None,
                deadline=step.deadline,
                kind=step.kind,
            )
        except CallDenied as denied:
            if step.kind is not StepKind.TOOL:
                raise
            return not_done(denied)  # for its model to read
        if step.speaks:
            text = str(found.get("text", "")) if hasattr(found, "get") else str(found or "")
            await self._speech.end(text)
        return found

    def _fault(self, error: Refused) -> Exception:
        """Return what an error of the worker's means."""
        try:
            fault = msgspec.convert(error.data, protocol.Fault)
        except msgspec.ValidationError:
            fault = protocol.Fault()
        if fault.cause in self._failed:
            return self._failed[fault.cause]
        if fault.kind is FailureClass.SESSION_LOST:
            return SessionLost()
        if self._route is not None and self._route.failure is not None:
            return self._route.failure
        if fault.kind is not None:
            return AgentError(str(error)[:2000], kind=fault.kind)
        logger.warning("worker-failed", error=str(error), stderr=self._peer.complaint)
        return AgentError("The agent has failed.")


def _read(params: Json, kind: type[T]) -> T:
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        raise Refused(str(error), number=BAD_PARAMS) from error
