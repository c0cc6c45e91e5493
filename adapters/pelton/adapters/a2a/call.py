"""A call: who asks what agent, and with what parameters."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from pelton.adapters.a2a.errors import ScopeMissing
from pelton.adapters.a2a.extensions import Parameters, active
from pelton.events.card import AgentCard, AgentProfile
from pelton.events.context import Context
from pelton.events.principal import Principal, Scope
from pelton.events.reach import reaches


class Call(NamedTuple):
    """Who asks what agent, and the id under which all that follows from it is found (AS-7)."""

    agent: AgentProfile
    principal: Principal
    id: str
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters = Parameters()
    card: AgentCard | None = None
    """The agent's card as this client sees it."""
    push: bool = False
    """Whether the bridge sends push notifications."""

    @property
    def active(self) -> tuple[str, ...]:
        """The extensions that are in force."""
        return active(self.agent, self.parameters.extensions)

    def needs(self, scope: Scope) -> None:
        """Refuse the call unless whoever asks may do what a scope is for.

        Raises:
            ScopeMissing: it may not.
        """
        if not self.principal.may(scope):
            raise ScopeMissing(scope)

    def reaches(self, state: Context, task: str = "") -> bool:
        """Return whether whoever asks may read a context and go on with it, or a task of it."""
        who = self.principal
        return reaches(state, who.id, task, every=who.owner is None)
