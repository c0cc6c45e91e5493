"""An agent elsewhere: each turn is posted to its endpoint, signed, and answered by it.

The endpoint is posted the same again, with the same key, when an answer did not come; so it is
handed a key to heed (`Idempotency-Key`) and everything that it needs to answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import msgspec.structs
import structlog

from pelton.adapters.frameworks.callback import Ask, Callback, Used
from pelton.adapters.frameworks.contract import AdapterError, Capability, Health, assured
from pelton.adapters.frameworks.conversation import Conversation, Spoken, told
from pelton.adapters.frameworks.providers import failure_kind
from pelton.adapters.frameworks.speech import Speech
from pelton.adapters.frameworks.streams import Garbled
from pelton.adapters.frameworks.webhook import wire
from pelton.adapters.push import signature
from pelton.adapters.push.addresses import Origin, target
from pelton.adapters.push.webhooks import Webhooks, open_webhooks
from pelton.events.errors import InvalidInput
from pelton.events.events import FailureClass
from pelton.events.ids import derive
from pelton.events.retries import Retry
from pelton.runtime.clock import RealWorld, World
from pelton.runtime.failures import AgentError
from pelton.runtime.sessions import Opening
from pelton.runtime.steps import idempotency_key
from pelton.runtime.turn import Turn
from pelton.runtime.waits import LONGEST

CONNECT: Final = 10.0
"""Seconds for a connection."""
SILENCE: Final = 120.0
"""Seconds that an endpoint may send nothing."""
WITHIN: Final = 3600.0
"""Seconds that an endpoint has to call back."""
_GONE_WITHIN: Final = aiohttp.ClientTimeout(total=1.0)

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class WebhookAdapter:
    """An endpoint at a URL, for which requests are signed with each of the `secrets`.

    It is reached only at public addresses, with https, or where `allowed` says so. `retry` says how
    it is posted to again when it fails (else by the class of the failure), `silence` for how many
    seconds it may send nothing, and `rounds` how often it may ask a person in one turn.
    With `callback`, the URL of a bridge of this log, it may answer there later, `within` seconds.
    """

    name: str = "webhook"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset(
        {
            Capability.STREAM,
            Capability.REPLAY,
            Capability.RERUN,
            Capability.HISTORY,
            Capability.ASK,
            Capability.USAGE,
        }
    )
    options: Mapping[str, Any] = {}

    def __init__(
        self,
        url: str,
        *,
        secrets: Sequence[bytes],
        allowed: Sequence[Origin] = (),
        retry: Retry | None = None,
        silence: float = SILENCE,
        rounds: int = 32,
        callback: str = "",
        within: float = WITHIN,
        world: World | None = None,
    ) -> None:
        if not secrets:
            raise InvalidInput("an endpoint needs a secret, by which it knows who posts")
        bridge = urlsplit(callback)
        if callback and (bridge.scheme not in {"http", "https"} or not bridge.hostname):
            raise InvalidInput("a callback is the URL of a bridge, as in https://host")
        if not 0 < within <= LONGEST:
            raise InvalidInput("an endpoint has some seconds to call back, a year at most")
        self.url, self.retry, self.rounds = url, retry, rounds
        self.within, self._callback = within, callback.rstrip("/")
        self._secrets, self._allowed = tuple(secrets), tuple(allowed)
        self._timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT, sock_read=silence)
        self._world = world or RealWorld()
        self._webhooks: Webhooks | None = None
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Make the connections' pool.

        Raises:
            AdapterError: the URL is refused.
        """
        assured(await self.health())
        opened = open_webhooks(self._allowed, world=self._world)
        self._webhooks = await self._stack.enter_async_context(opened)

    async def health(self) -> Health:
        """Look whether the endpoint may be posted to."""
        async with open_webhooks(self._allowed, world=self._world) as webhooks:
            try:
                await webhooks.check(self.url)
            except InvalidInput as error:
                return Health(ok=False, detail=str(error))
        return Health(ok=True)

    def here(self, turn: Turn) -> bool:  # noqa: ARG002
        """Return True: all of it is in the log."""
        return True

    async def open(self, turn: Turn, opening: Opening) -> _Session:
        """Read the conversation."""
        conversation = Conversation(turn)
        await conversation.load(opening, await told(turn))
        return _Session(self, turn, conversation)

    async def stop(self) -> None:
        """Close the connections."""
        self._webhooks = None
        await self._stack.aclose()

    async def post(
        self,
        turn: wire.TurnPosted,
        key: str,
        say: Callable[[str], Awaitable[None]],
        *,
        traceparent: str,
    ) -> wire.Answer:
        """Post a turn, and return the answer; `say` hears it as it comes.

        Raises:
            AgentError: there is none; its kind says whether it is asked again.
        """
        if self._callback:
            to = f"{self._callback}/v1/callbacks/{turn.agent}/{turn.task_id}"
            turn = msgspec.structs.replace(turn, callback=to)
        body = msgspec.json.encode(turn)
        headers = {"Accept": wire.TAKES, **self._headers(key, key, body)}
        if traceparent:
            headers["traceparent"] = traceparent
        try:
            async with self._open().exchange(
                "POST", self.url, headers, body, timeout=self._timeout
            ) as response:
                if response.status == 202 and self._callback:
                    return wire.Answer("", later=key)
                if response.status != 200:
                    raise AgentError(
                        f"The agent's endpoint has answered {response.status}.",
                        kind=failure_kind(response.status),
                    )
                async with aclosing(wire.pieces(response)) as pieces:
                    return await _heard(pieces, say)
        except InvalidInput as error:
            raise AgentError(
                "The agent's endpoint is where nothing may be posted.", kind=FailureClass.POLICY
            ) from error
        except TimeoutError as error:
            raise AgentError(
                "The agent's endpoint took too long.", kind=FailureClass.TIMEOUT
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise AgentError(
                "The agent's endpoint cannot be reached.", kind=FailureClass.DEPENDENCY
            ) from error
        except (Garbled, aiohttp.ClientError, msgspec.DecodeError) as error:
            raise AgentError(
                "The agent's endpoint has broken off, or what it said is no answer.",
                kind=FailureClass.PROVIDER,
            ) from error

    @property
    def origin(self) -> str:
        """The part of the URL that may be shown."""
        return target(self.url, self._allowed).origin

    async def delete(self, turn: wire.TurnCanceled, key: str) -> None:
        """Tell the endpoint that a post is not wanted any more; it need not care."""
        body = msgspec.json.encode(turn)
        headers = self._headers(derive(key, "cancel"), key, body)
        try:
            async with self._open().exchange(
                "DELETE", self.url, headers, body, timeout=_GONE_WITHIN
            ) as response:
                logger.info("webhook-canceled", status=response.status)
        except (InvalidInput, TimeoutError, aiohttp.ClientError) as error:
            logger.info("webhook-not-canceled", exception=type(error).__name__)

    def _headers(self, id_: str, key: str, body: bytes) -> dict[str, str]:
        seconds = int(self._world.now().timestamp())
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            **signature.headers(self._secrets, id=id_, seconds=seconds, body=body),
        }

    def _open(self) -> Webhooks:
        if self._webhooks is None:
            raise AdapterError("the adapter of a webhook is not started")
        return self._webhooks


class _Session:
    """One attempt of a turn."""

    def __init__(self, adapter: WebhookAdapter, turn: Turn, conversation: Conversation) -> None:
        self._adapter, self._conversation = adapter, conversation
        self._ids = (turn.agent, turn.context_id, turn.task_id, turn.number)
        self._key = ""

    async def turn(self, turn: Turn) -> None:
        speech, said = Speech(turn), self._conversation
        *before, last = said.lines
        history = tuple(wire.Said(each.role, each.text) for each in before if each.role != "tool")
        answers: list[wire.Answered] = []
        while True:
            posted = wire.TurnPosted(
                *self._ids,
                text=last.text,
                message=said.message,
                history=history,
                answers=tuple(answers),
            )
            answer = await self._asked(turn, posted, speech)
            await speech.end(answer.text)
            for used in answer.used:
                turn.usage(**msgspec.structs.asdict(used))
            if answer.ask is None:
                said.new.append(Spoken("assistant", answer.text))
                break
            if len(answers) >= self._adapter.rounds:
                raise AgentError("The agent has asked too often.", kind=FailureClass.POLICY)
            question = answer.ask.question
            reply = await turn.ask(question, choices=answer.ask.choices)
            answers.append(wire.Answered(answer.text, question, reply))
            asked = f"{answer.text}\n\n{question}".strip()
            said.new += [Spoken("assistant", asked), Spoken("user", reply)]
        await said.keep()
        await speech.close()

    async def cancel(self) -> None:
        """Tell the endpoint, if it has a turn in hand."""
        if self._key:
            await self._adapter.delete(wire.TurnCanceled(*self._ids), self._key)

    async def close(self) -> None:
        """Do nothing: an attempt holds nothing."""

    async def _asked(self, turn: Turn, posted: wire.TurnPosted, speech: Speech) -> wire.Answer:
        async def posting(_: object) -> wire.Answer:
            await turn.reach(self._adapter.url)
            await turn.afford()  # what it asks of models it reports
            await speech.begin()
            self._key = idempotency_key()
            try:
                return await self._adapter.post(
                    posted, self._key, speech.say, traceparent=turn.traceparent
                )
            finally:
                self._key = ""  # nothing is to be called off: it may be posted again

        found = await turn.step(
            "post",
            posting,
            msgspec.to_builtins(posted),
            idempotent=True,
            retry=self._adapter.retry,
        )
        answer = msgspec.convert(found, wire.Answer)
        return await self._later(turn, answer.later) if answer.later else answer

    async def _later(self, turn: Turn, key: str) -> wire.Answer:
        """Wait for the answer to a post that was taken, and return it."""
        adapter = self._adapter
        waiting = turn.toolbox.handing_on
        outcome = await waiting.called_back(adapter.origin, key, within=adapter.within)
        if outcome is None:
            late = "The agent's endpoint has not called back in time."
            await turn.fail(late, kind=FailureClass.TIMEOUT)
        assert outcome.message is not None  # a bridge has written it
        found = msgspec.convert(outcome.message.parts[0].data, Callback)
        if found.error is not None:
            raise AgentError("The agent has failed.")
        return wire.Answer(found.answer, found.ask, found.used)


async def _heard(
    pieces: AsyncIterable[wire.Piece], say: Callable[[str], Awaitable[None]]
) -> wire.Answer:
    """Hear an answer to its end."""
    text, whole = "", None
    ask: Ask | None = None
    used: list[Used] = []
    async for piece in pieces:
        if piece.error is not None:
            logger.warning("webhook-failed", error=piece.error[:1000])
            raise AgentError("The agent has failed.")
        text += piece.text
        await say(piece.text)
        whole = whole if piece.answer is None else piece.answer
        ask = ask if piece.ask is None else piece.ask
        used += piece.used
    return wire.Answer(text if whole is None else whole, ask, tuple(used))
