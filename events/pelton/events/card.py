"""Agent cards (A2A 1.0.1 §4.4), and the part of one that an agent says of itself."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pelton.events.a2a import A2A, JsonObject


class AgentProvider(A2A, frozen=True, kw_only=True):
    """Who offers an agent (§4.4.2)."""

    url: str
    organization: str


class AgentExtension(A2A, frozen=True, kw_only=True):
    """A protocol extension that an agent supports (§4.4.4)."""

    uri: str
    description: str = ""
    required: bool = False
    params: JsonObject | None = None


class AgentSkill(A2A, frozen=True, kw_only=True):
    """Something an agent can do (§4.4.5)."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...]
    examples: tuple[str, ...] = ()
    input_modes: tuple[str, ...] = ()
    output_modes: tuple[str, ...] = ()


class AgentProfile(A2A, frozen=True, kw_only=True, omit_defaults=False):
    """What an agent says of itself; the bridge makes its card of it.

    `name` is the slug that subjects and paths use, `title` the name that people read. A request
    that does not ask for an extension that is `required` is refused. An agent that gives
    `extended_skills` has an extended card, which shows them beside its `skills`. Without
    `streaming`, what it does is only told in whole answers.
    """

    name: str
    title: str
    description: str
    version: str
    skills: tuple[AgentSkill, ...]
    input_modes: tuple[str, ...] = ("text/plain", "application/json")
    output_modes: tuple[str, ...] = ("text/plain", "application/json")
    provider: AgentProvider | None = None
    documentation_url: str = ""
    icon_url: str = ""
    extensions: tuple[AgentExtension, ...] = ()
    extended_skills: tuple[AgentSkill, ...] | None = None
    streaming: bool = True

    @property
    def takes(self) -> tuple[str, ...]:
        """The media types that a message may have: its own, and those of any of its skills."""
        return (*self.input_modes, *(mode for skill in self.skills for mode in skill.input_modes))


class AgentInterface(A2A, frozen=True, kw_only=True):
    """An address of an agent (§4.4.6)."""

    url: str
    protocol_binding: str
    protocol_version: str
    tenant: str = ""


class AgentCapabilities(A2A, frozen=True, kw_only=True):
    """What the bridge does for an agent (§4.4.3); each flag is true only if it works."""

    streaming: bool | msgspec.UnsetType = msgspec.UNSET
    push_notifications: bool | msgspec.UnsetType = msgspec.UNSET
    extended_agent_card: bool | msgspec.UnsetType = msgspec.UNSET
    extensions: tuple[AgentExtension, ...] = ()


class AgentCard(A2A, frozen=True, kw_only=True):
    """An agent's manifest (§4.4.1). Required members have no defaults, so they are always sent."""

    name: str
    description: str
    supported_interfaces: tuple[AgentInterface, ...]
    version: str
    capabilities: AgentCapabilities
    default_input_modes: tuple[str, ...]
    default_output_modes: tuple[str, ...]
    skills: tuple[AgentSkill, ...]
    provider: AgentProvider | None = None
    documentation_url: str = ""
    icon_url: str = ""
    security_schemes: Mapping[str, JsonObject] = {}
    security_requirements: tuple[JsonObject, ...] = ()
