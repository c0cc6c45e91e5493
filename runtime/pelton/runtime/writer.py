"""Appending commits to one context: expectation, chain and hash in one place (laws 3, 4, 13)."""

from __future__ import annotations

from collections.abc import Sequence

from pelton.events import subjects
from pelton.events.chain import following
from pelton.events.commit import Commit, Origin
from pelton.events.context import Context, fold_commit
from pelton.events.envelope import digest, encode
from pelton.events.events import AnyEvent
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.log import Conflict, Log, LogRegressed
from pelton.runtime.patience import patiently
from pelton.runtime.redaction import cleaned


class Writer:
    """Writes a context from the state it was given on; one writer, one line of commits.

    A `Conflict` from `commit` means that somebody else writes: this writer is fenced and of no more
    use. Not for concurrent calls.
    """

    def __init__(self, log: Log, state: Context, *, world: World) -> None:
        self._log = log
        self._world = world
        self._state = state
        self._last: tuple[int, Commit, bytes] | None = None
        """The last commit, while nobody has asked for the state after it: most turns are one."""
        self._subject = subjects.commits(state.agent, state.id)

    @property
    def state(self) -> Context:
        """The context after all commits so far; folded when asked for."""
        if self._last is not None:
            sequence, commit, data = self._last
            self._state, self._last = fold_commit(self._state, sequence, commit, digest(data)), None
        return self._state

    async def commit(
        self,
        events: Sequence[AnyEvent],
        *,
        origin: Origin,
        attempt: int = 0,
        command: int = 0,
        handled: int = 0,
    ) -> None:
        """Append one commit; returns when it is stored, however long the log is away.

        Raises:
            Conflict: somebody else appended; nothing of this commit is stored.
            LogRegressed: the log has lost what was read from it (law 13).
            LogError: the log refuses it.
        """
        state = self.state
        commit = following(
            state,
            events,
            id=self._world.new_id(),
            subject=f"{state.agent}/{state.id}",
            time=rfc3339(self._world.now()),
            origin=origin,
            attempt=attempt,
            command=command,
            handled=handled,
        )
        commit = cleaned(self._log.redactor, commit, self._subject)
        data = encode(commit)
        self._last = await self._stored(commit.id, data, state.head), commit, data

    async def _stored(self, id_: str, data: bytes, head: int) -> int:
        try:
            return await patiently(
                lambda: self._log.append(self._subject, data, id=id_, expect=head),
                self._subject,
            )
        except Conflict as conflict:
            if conflict.actual is not None and conflict.actual < head:
                raise LogRegressed(
                    f"{self._subject} ends at {conflict.actual}, but a commit was read at"
                    f" {head}: this is not the log that it was"
                ) from conflict
            raise
