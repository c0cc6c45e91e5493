"""The push configs of a task: the fold of the commits on `evt.<agent>._push.<task>`, and deciding.

How far each was delivered is here too, so that whoever goes on with it knows where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from pelton.events.chain import Chained, chained
from pelton.events.commit import Commit
from pelton.events.envelope import digest
from pelton.events.errors import IllegalTransition, InvalidInput
from pelton.events.ids import derive
from pelton.events.push import (
    AnyPushEvent,
    PushConfigured,
    PushDelivered,
    PushEnd,
    PushEnded,
    PushEvent,
    PushFailed,
    PushRemoved,
)
from pelton.events.upcast import decode_commit

MOST: Final = 20
"""How many configs a task may have."""


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """A config, and how far it was delivered.

    `creator` is who has created it as it is, in the commit `cause` of the request `correlation`;
    `made` counts up each time that it is created anew. All up to the event `position` of the task
    is delivered. The next notification has failed `attempt` times, for `reason` the last time, and
    is tried again at `retry`.
    """

    id: str
    sealed: str
    key_id: str
    origin: str
    command_id: str
    protocol: str
    creator: str
    since: str
    cause: str
    correlation: str
    made: int
    position: int
    attempt: int = 0
    reason: str = ""
    retry: str = ""
    end: PushEnd | None = None

    @property
    def standing(self) -> str:
        """How it stands, in a word: `open`, `failing`, or why it has ended."""
        if self.end is not None:
            return self.end
        return "failing" if self.attempt else "open"


class Pushes(Chained, frozen=True, kw_only=True):
    """The push configs of a task by their ids, in the order in which they were first created."""

    task_id: str
    configs: dict[str, Push] = msgspec.field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether anything may have to be posted."""
        return any(push.end is None for push in self.configs.values())

    def current(self, config_id: str, made: int) -> Push | None:
        """Return a config that is still the one it was, and to be posted to."""
        push = self.configs.get(config_id)
        return push if push is not None and push.made == made and push.end is None else None


# The fold


def fold(state: Pushes, sequence: int, data: bytes) -> Pushes:
    """Return the state after the commit whose bytes are stored at a stream sequence.

    Raises:
        DamagedRecord: it is no commit, or does not chain to the one before it (law 13).
        IllegalTransition: it is about a config that there is not.
    """
    commit = decode_commit(data)
    state = chained(state, sequence, commit, digest(data))
    configs = dict(state.configs)
    for event in commit.data.events:
        if not isinstance(event, PushEvent):
            continue
        if isinstance(event, PushConfigured):
            configs[event.config_id] = _configured(configs.get(event.config_id), event, commit)
            continue
        push = configs.get(event.config_id)
        if push is None:
            raise IllegalTransition(f"{type(event).__name__} for a config that was never created")
        match event:
            case PushRemoved():
                del configs[push.id]
            case PushDelivered():
                configs[push.id] = _untroubled(push, position=event.sequence)
            case PushFailed():
                configs[push.id] = replace(
                    push, attempt=event.attempt, reason=event.reason, retry=event.retry
                )
            case PushEnded():
                configs[push.id] = replace(
                    push, end=event.end, attempt=event.attempts, reason=event.reason, retry=""
                )
    return replace(state, configs=configs)


def _configured(known: Push | None, event: PushConfigured, commit: Commit) -> Push:
    return Push(
        id=event.config_id,
        sealed=event.sealed,
        key_id=event.key_id,
        origin=event.origin,
        command_id=event.command_id,
        protocol=event.protocol,
        creator=commit.actor,
        since=commit.time,
        cause=commit.id,
        correlation=commit.correlationid,
        made=known.made + 1 if known else 1,
        position=event.after,
    )


def _untroubled(push: Push, *, position: int) -> Push:
    return replace(push, position=position, attempt=0, reason="", retry="")


# Deciding


def create(state: Pushes, event: PushConfigured) -> Sequence[AnyPushEvent]:
    """Return what comes of a config that is asked for.

    Under an id that there is, it goes on where that one is: nothing is left out. One that came with
    a message is made once, however often the message comes.

    Raises:
        InvalidInput: the task has as many as it may have.
    """
    known = state.configs.get(event.config_id)
    if known is None:
        if len(state.configs) >= MOST:
            raise InvalidInput(f"a task has at most {MOST} push configs", field="id")
        return (event,)
    if event.command_id and event.command_id == known.command_id:
        return ()
    untold = known.position == 0 and known.end is not PushEnd.REFUSED
    command = known.command_id if untold or not event.command_id else event.command_id
    return (replace(event, after=known.position, command_id=command),)


def remove(state: Pushes, config_id: str) -> Sequence[AnyPushEvent]:
    """Return what comes of a config that is to be no more; nothing if there is none."""
    if config_id not in state.configs:
        return ()
    return (PushRemoved(task_id=state.task_id, config_id=config_id),)


def advance(state: Pushes, push: Push, *events: AnyPushEvent) -> Sequence[AnyPushEvent]:
    """Return what whoever posts for a config says has come of it, unless that is known.

    Nothing if the config is another by now; nothing that takes a position back.
    """
    current = state.current(push.id, push.made)
    if current is None:
        return ()
    return tuple(
        event
        for event in events
        if not isinstance(event, PushDelivered) or event.sequence > current.position
    )


def notification_id(tenant: str, agent: str, task: str, config_id: str, sequence: int) -> str:
    """Return the id of a notification: the same however often, and by whomever, it is posted."""
    return derive("push", tenant, agent, task, config_id, str(sequence))


def opened(agent: str, task: str) -> Pushes:
    """Return the state of a task that has no commit of this kind."""
    return Pushes(agent=agent, task_id=task)
