"""The starts of agents, written down: how far they came, and what went wrong (AS-69)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from pelton.events.agent import AgentState
from pelton.events.errors import PeltonError
from pelton.events.events import AnyEvent, FailureClass
from pelton.events.start import LONGEST_DETAIL, AgentStageFailed, AgentStageReached, Stage
from pelton.runtime.assignment import Host
from pelton.runtime.failures import failure_of
from pelton.runtime.registration import change

_DEPTH: Final = 5
"""How many causes of an error are told."""


async def reached(host: Host, agent: str, *stages: Stage) -> None:
    """Write down that an agent has come through stages of its start.

    Raises:
        LogError: the log does not take it.
    """
    events = tuple(AgentStageReached(executor=host.executor, stage=stage) for stage in stages)
    await _write(host, agent, lambda _: events)


async def recovered(host: Host, agent: str) -> None:
    """Write down that an agent is served, if something was wrong with it.

    Raises:
        LogError: the log does not take it.
    """
    event = AgentStageReached(executor=host.executor, stage=Stage.SERVING)
    await _write(host, agent, lambda state: (event,) if state.trouble else ())


async def failed(host: Host, agent: str, stage: Stage, error: Exception) -> None:
    """Write down that an agent has failed at a stage, unless that is what was told last of it.

    Raises:
        LogError: the log does not take it.
    """
    event = AgentStageFailed(
        executor=host.executor,
        stage=stage,
        kind=kind_of(error),
        detail=host.log.redactor.text(detail_of(error))[:LONGEST_DETAIL],
    )

    def decide(state: AgentState) -> tuple[AnyEvent, ...]:
        last = state.trouble.event if state.trouble else None
        same = last and (last.stage, last.kind, last.detail) == (stage, event.kind, event.detail)
        return () if same else (event,)

    await _write(host, agent, decide)


def kind_of(error: BaseException) -> FailureClass:
    """Return the class of what went wrong, which may be told to everybody."""
    for each in _chain(error):
        kind = getattr(each, "kind", None)
        if isinstance(kind, FailureClass):
            return kind
        if isinstance(each, ImportError | FileNotFoundError):
            return FailureClass.DEPENDENCY
    return failure_of(error).kind


def detail_of(error: BaseException) -> str:
    """Return what an error and its causes say, for operators."""
    said: list[str] = []
    for each in _chain(error):
        text = str(each) if isinstance(each, PeltonError) else f"{type(each).__name__}: {each}"
        if not any(str(each) in before for before in said):
            said.append(text)
    return "; ".join(said) or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    for _ in range(_DEPTH):
        if at is None:
            return
        yield at
        at = at.__cause__


async def _write(
    host: Host, agent: str, decide: Callable[[AgentState], tuple[AnyEvent, ...]]
) -> None:
    await change(
        host.agents, agent, decide, world=host.world, source=host.source, tenant=host.tenant
    )
