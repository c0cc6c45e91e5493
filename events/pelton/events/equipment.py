"""Equipment: what an attempt of a turn goes by beside the code of its agent."""

from __future__ import annotations

import enum

from pelton.events.a2a import A2A


class EquipmentKind(enum.StrEnum):
    """What a piece of equipment is."""

    HOOK = "hook"
    """Code that is asked at points of a turn."""
    POLICY = "policy"
    """Rules and limits, as data."""
    PLUGIN = "plugin"
    """A package of hooks, policies and skills."""
    SKILL = "skill"
    """A text that tells an agent how something is done."""


class Equipment(A2A, frozen=True, kw_only=True):
    """A piece of equipment. `digest` is the SHA-256 of what it consists of."""

    kind: EquipmentKind
    name: str
    version: str = ""
    digest: str = ""
