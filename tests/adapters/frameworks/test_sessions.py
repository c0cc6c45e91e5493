"""What becomes of a framework's session when its turn fails: the gate, and what it makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pytest

from pelton.adapters.frameworks.contract import (
    AdapterError,
    AgentDied,
    Capability,
    Health,
    SessionLost,
)
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.events import FailureClass, TurnEnded
from pelton.events.retries import Retry
from pelton.events.session import SessionInvalidated, SessionOpened, SessionReason, SessionStart
from pelton.events.sessions import Gate, Session, gate
from pelton.runtime.agents import Terms
from pelton.runtime.executor import Executor
from pelton.runtime.failures import AgentError
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.sessions import Opening
from pelton.runtime.turn import Turn
from tests.runtime.clients import WORLD, Client, reply, serving

QUICK: Final = Retry(attempts=3, first=0.02, longest=0.05)
TERMS: Final = Terms(retries={kind: QUICK for kind in FailureClass if kind != "session-lost"})


class Native:
    """A framework with private files: what it keeps is gone when `files` is, and it may fail."""

    name: str = "native"
    format: int = 1
    capabilities: frozenset[Capability] = frozenset({Capability.HISTORY})
    options: Mapping[str, Any] = {}

    def __init__(self, files: set[str], failures: Sequence[Callable[[], Exception]] = ()) -> None:
        self.files, self.failures = files, list(failures)
        self.given: list[Opening] = []
        self.running = False

    async def start(self) -> None:
        self.running = True

    async def health(self) -> Health:
        return Health(ok=self.running)

    def here(self, turn: Turn) -> bool:
        return not turn.history or turn.context_id in self.files

    async def open(self, turn: Turn, opening: Opening) -> _Native:  # noqa: ARG002
        self.given.append(opening)
        return _Native(self, opening)

    async def stop(self) -> None:
        self.running = False


class _Native:
    def __init__(self, framework: Native, opening: Opening) -> None:
        self._framework, self._opening = framework, opening

    async def turn(self, turn: Turn) -> str:
        await turn.session.put(f"turn {turn.task_id}", turn.text)
        if self._framework.failures:
            failure = self._framework.failures.pop(0)
            raise failure()
        self._framework.files.add(turn.context_id)
        if self._opening.start is SessionStart.REBUILD:
            return " / ".join(said.text for said in await turn.session.conversation())
        return " / ".join((await turn.session.entries()).values())

    async def cancel(self) -> None: ...

    async def close(self) -> None: ...


async def talk(
    log: JetStreamLog, native: Native, *texts: str, before: Callable[[], None] = lambda: None
) -> tuple[list[str], list[object]]:
    """Say something turn by turn; returns the replies, and what the log has of the session.

    `before` is called before the last turn.
    """
    client, context, replies = Client(log, native.name), None, list[str]()
    async with serving(log, as_agent(native, name=native.name, terms=TERMS)):
        assert native.running
        for at, text in enumerate(texts, 1):
            if at == len(texts):
                before()
            context, id_ = await client.send(text, context)
            task = await client.settled(context, id_)
            replies.append(reply(task) if task.status.message else "")
    assert not native.running
    assert context is not None
    kinds = SessionOpened | SessionInvalidated | TurnEnded
    return replies, [e for e in await client.events(context) if isinstance(e, kinds)]


def opened(events: Sequence[object]) -> list[tuple[SessionStart, SessionReason, int]]:
    found = (e for e in events if isinstance(e, SessionOpened))
    return [(e.start, e.reason, e.number) for e in found]


def invalidated(events: Sequence[object]) -> list[tuple[SessionReason, int]]:
    return [(e.reason, e.number) for e in events if isinstance(e, SessionInvalidated)]


async def test_a_session_is_gone_on_with(log: JetStreamLog) -> None:
    native = Native(set())
    replies, events = await talk(log, native, "one", "two")
    assert replies == ["one", "one / two"]
    assert opened(events) == [
        (SessionStart.FRESH, SessionReason.FIRST, 1),
        (SessionStart.RESUME, SessionReason.STORED, 1),
    ]
    assert native.given[0].id == native.given[1].id, "its id follows from the conversation"


@pytest.mark.accepts("AS-43")
async def test_a_session_whose_files_are_gone_is_rebuilt(log: JetStreamLog) -> None:
    """The id whose files are gone never reaches the framework; one event says that it is over."""
    native = Native(set())
    replies, events = await talk(log, native, "one", "two", before=native.files.clear)
    assert replies[1] == "one / one"
    assert opened(events)[1] == (SessionStart.REBUILD, SessionReason.NOT_HERE, 2)
    assert invalidated(events) == [(SessionReason.NOT_HERE, 1)]
    assert native.given[0].id != native.given[1].id


@pytest.mark.accepts("AS-44")
async def test_after_a_process_has_died_another_session_begins(log: JetStreamLog) -> None:
    native = Native(set())

    def die() -> None:
        native.failures.append(AgentDied)

    replies, events = await talk(log, native, "one", "two", before=die)
    assert replies[1] == "one / one"
    assert opened(events)[1:] == [
        (SessionStart.RESUME, SessionReason.STORED, 1),
        (SessionStart.REBUILD, SessionReason.PROCESS_DIED, 2),
    ]
    assert invalidated(events) == [(SessionReason.PROCESS_DIED, 1)]


@pytest.mark.accepts("AS-44")
async def test_after_a_rate_limit_the_session_is_gone_on_with(log: JetStreamLog) -> None:
    native = Native(set())

    def limit() -> None:
        native.failures.append(lambda: AgentError("slower", kind=FailureClass.PROVIDER))

    replies, events = await talk(log, native, "one", "two", before=limit)
    assert replies[1] == "one / two"
    assert opened(events)[1:] == [(SessionStart.RESUME, SessionReason.STORED, 1)] * 2
    assert not invalidated(events)


@pytest.mark.accepts("AS-43", "AS-60")
async def test_a_session_that_is_lost_is_rebuilt_once(log: JetStreamLog) -> None:
    native = Native(set(), [SessionLost, SessionLost])
    _, events = await talk(log, native, "one")
    assert opened(events) == [
        (SessionStart.FRESH, SessionReason.FIRST, 1),
        (SessionStart.REBUILD, SessionReason.LOST, 2),
    ]
    (ended,) = [e for e in events if isinstance(e, TurnEnded)]
    assert ended.failure is not None
    assert ended.failure.kind is FailureClass.SESSION_LOST


async def test_an_adapter_that_cannot_start_is_not_served(log: JetStreamLog) -> None:
    class Unable(Native):
        async def start(self) -> None:
            raise AdapterError("there is no such program: install it")

    executor = Executor(log, [as_agent(Unable(set()), name="native")], world=WORLD)
    with pytest.raises(AdapterError, match="install it"):
        await executor.run()
    assert not executor.ready.is_set()


STORED: Final = Session(number=3, adapter="native", format=2)
S, R = SessionStart, SessionReason


@pytest.mark.accepts("AS-43", "AS-44")
@pytest.mark.parametrize(
    ("session", "asked", "expected"),
    [
        (None, {"said": False}, Gate(S.FRESH, R.FIRST, 1)),
        (None, {}, Gate(S.REBUILD, R.NONE_STORED, 1)),
        (STORED, {}, Gate(S.RESUME, R.STORED, 3)),
        (STORED, {"said": False}, Gate(S.RESUME, R.STORED, 3)),
        (STORED, {"adapter": "other"}, Gate(S.REBUILD, R.OTHER_ADAPTER, 4)),
        (STORED, {"format": 3}, Gate(S.REBUILD, R.OTHER_FORMAT, 4)),
        (STORED, {"here": False}, Gate(S.REBUILD, R.NOT_HERE, 4)),
        *(
            (
                Session(number=3, adapter="native", format=2, invalid=reason),
                {},
                Gate(S.REBUILD, reason, 4),
            )
            for reason in (R.LOST, R.PROCESS_DIED)
        ),
    ],
)
def test_the_gate(session: Session | None, asked: dict[str, object], expected: Gate) -> None:
    given: dict[str, object] = {"adapter": "native", "format": 2, "here": True, "said": True}
    assert gate(session, **(given | asked)) == expected  # type: ignore[arg-type]


async def test_a_session_is_closed_to_the_end_though_its_turn_is_cancelled(
    log: JetStreamLog,
) -> None:
    """What is said when nothing may be said any more ends a turn before its cancellation comes."""
    closing, closed = asyncio.Event(), asyncio.Event()

    class Holding(_Native):
        async def turn(self, turn: Turn) -> str:  # noqa: ARG002
            raise AgentError("it is over", kind=FailureClass.AGENT)

        async def close(self) -> None:
            closing.set()
            await asyncio.sleep(0.2)  # as long as a process takes to end
            closed.set()

    class Holder(Native):
        async def open(self, turn: Turn, opening: Opening) -> _Native:  # noqa: ARG002
            return Holding(self, opening)

    client = Client(log, "native")
    async with serving(log, as_agent(Holder(set()), name="native", terms=TERMS)):
        context, id_ = await client.send("one")
        async with asyncio.timeout(5):
            await closing.wait()
            await client.cancel(context, id_)
            await closed.wait()
        await client.settled(context, id_)
