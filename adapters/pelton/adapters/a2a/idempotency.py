"""Idempotent sends: a principal's key stands for one request, for ever (law 6).

The command's id follows from tenant, principal, agent and key, so the same key always asks for the
same command, on any bridge; the log decides it once. What was asked is held in a claim of its own,
an aggregate of one event, so that a key cannot come to mean anything else, in whatever context.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

from msgspec.structs import replace

from pelton.adapters.a2a.errors import KeyConflict
from pelton.adapters.a2a.extensions import KEY
from pelton.adapters.a2a.requests import SendMessageRequest
from pelton.events import subjects
from pelton.events.chain import Chained, following
from pelton.events.commit import Origin
from pelton.events.envelope import digest, encode
from pelton.events.errors import InvalidInput
from pelton.events.events import KeyClaimed
from pelton.events.ids import check_id, derive
from pelton.events.upcast import decode_commit
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Conflict, Log

HEADER: Final = "Idempotency-Key"


class Keyed(NamedTuple):
    """A send with a key: the id of the command it stands for, and what is asked."""

    id: str
    request: SendMessageRequest
    digest: str
    """The SHA-256 of what is asked of the agent; how it is to be answered is no part of it."""

    @classmethod
    def of(
        cls, request: SendMessageRequest, header: str | None, *, tenant: str, actor: str, agent: str
    ) -> Self | None:
        """Return a send with its key, from the header or the request's metadata, if it has one.

        Raises:
            InvalidInput: the key may be none, or there are two.
        """
        metadata = dict(request.metadata or {})
        keys: list[Any] = [] if header is None else [_bare(header)]
        if KEY in metadata:
            keys.append(metadata.pop(KEY))
        if not keys:
            return None
        if not all(isinstance(key, str) and key == keys[0] for key in keys):
            raise InvalidInput("a key is one string, here as there", field=HEADER)
        key = check_id(keys[0], HEADER)
        request = replace(request, metadata=metadata or None)
        configuration = request.configuration
        asked = encode(
            (
                request.message,
                request.metadata,
                configuration.accepted_output_modes,
                configuration.task_push_notification_config,
            )
        )
        return cls(derive("send", tenant, actor, agent, key), request, digest(asked))

    @property
    def context(self) -> str:
        """The id of the context that it opens, if it opens one."""
        return derive("context", self.id)


def _bare(header: str) -> str:
    """Return the key in a header, which may be a quoted string as structured headers have it."""
    text = header.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


class Keys:
    """The claims of keys on a log."""

    def __init__(self, log: Log, *, world: World, source: str, tenant: str) -> None:
        self._log, self._world, self._source, self._tenant = log, world, source, tenant

    async def known(self, agent: str, keyed: Keyed) -> bool:
        """Return whether a key is claimed for a request.

        Raises:
            KeyConflict: it is claimed for another.
        """
        for record in await self._log.read(subjects.claims(agent, keyed.id), limit=1):
            for event in decode_commit(record.data).data.events:
                if isinstance(event, KeyClaimed):
                    if event.digest != keyed.digest:
                        raise KeyConflict("the idempotency key was used for another request")
                    return True
        return False

    async def claim(self, agent: str, keyed: Keyed, *, actor: str) -> None:
        """Claim a key for a request; whoever comes second for the same has it too.

        Raises:
            KeyConflict: somebody has just claimed it for another.
        """
        id_ = self._world.new_id()
        commit = following(
            Chained(agent=agent),
            (KeyClaimed(command_id=keyed.id, digest=keyed.digest),),
            id=id_,
            subject=f"{agent}/{subjects.KEY}/{keyed.id}",
            time=rfc3339(self._world.now()),
            origin=Origin(self._source, self._tenant, actor, keyed.id, keyed.id),
        )
        try:
            subject = subjects.claims(agent, keyed.id)
            await self._log.append(subject, encode(commit), id=id_, expect=0)
        except Conflict:
            if not await self.known(agent, keyed):
                raise
