"""The session of one turn as ADK has it: a fold of events, those before it from the log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse

Json = dict[str, Any]

APP: Final = "pelton"
USER: Final = "user"
"""Whose session it is: there is but one, for the log tells apart whose conversation it is."""

_CALL: Final = re.compile(r"adk-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id that ADK has drawn at random."""


class TurnSessions(BaseSessionService):
    """A service of one session, with what was said before."""

    def __init__(self, id_: str, before: Sequence[Json]) -> None:
        self.session: Final = Session(id=id_, app_name=APP, user_id=USER)
        for at, each in enumerate(before):
            event = Event.model_validate({**each, "id": f"event-{at}", "timestamp": float(at)})
            self._commit_event_to_session(self.session, event)
        self._before = len(self.session.events)

    def new(self, turn: str) -> list[Json]:
        """Return what the turn has added, as JSON that is alike on every attempt."""
        events = [
            event.model_dump(
                mode="json",
                exclude={"id", "timestamp"},
                exclude_none=True,
                exclude_defaults=True,
            )
            | {"invocation_id": turn}
            for event in _ordered(self.session.events[self._before :])
        ]
        names: dict[str, str] = {}
        text = _CALL.sub(
            lambda found: names.setdefault(found[0], f"adk-{turn}/{len(names)}"),
            msgspec.json.encode(events).decode(),
        )
        return msgspec.json.decode(text, type=list[Json])

    async def create_session(
        self,
        *,
        app_name: str,  # noqa: ARG002
        user_id: str,  # noqa: ARG002
        state: Json | None = None,  # noqa: ARG002
        session_id: str | None = None,  # noqa: ARG002
    ) -> Session:
        """Return the session: there is no other one."""
        return self.session

    async def get_session(
        self,
        *,
        app_name: str,  # noqa: ARG002
        user_id: str,  # noqa: ARG002
        session_id: str,
        config: GetSessionConfig | None = None,  # noqa: ARG002
    ) -> Session | None:
        """Return the session, if it is that one."""
        return self.session if session_id == self.session.id else None

    async def list_sessions(
        self,
        *,
        app_name: str,  # noqa: ARG002
        user_id: str | None = None,  # noqa: ARG002
    ) -> ListSessionsResponse:
        """Return it alone."""
        return ListSessionsResponse(sessions=[self.session])

    async def delete_session(
        self,
        *,
        app_name: str,  # noqa: ARG002
        user_id: str,  # noqa: ARG002
        session_id: str,
    ) -> None:
        """Refuse: what is in the log stays there."""
        raise SessionNotFoundError(f"{session_id!r} is not to be deleted")


def _ordered(events: Sequence[Event]) -> Iterable[Event]:
    """Return events with those of agents that ran side by side one agent after the other."""
    for _, group in groupby(events, lambda event: bool(event.branch)):
        yield from sorted(group, key=lambda event: event.branch or "")  # stable: else as they were
