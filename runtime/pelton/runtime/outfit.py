"""An outfit: what an attempt of a turn goes by beside the code of its agent, from end to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pelton.events.equipment import Equipment
from pelton.events.ruling import Point
from pelton.runtime.equipment_settings import PolicySettings
from pelton.runtime.hooks import Hook
from pelton.runtime.policies import Policy
from pelton.runtime.skills import Skill


@dataclass(frozen=True)
class Outfit:
    """Hooks in the order in which they are asked, policies, and skills by name.

    `equipment` is what the log has of it.
    """

    hooks: tuple[Hook, ...] = ()
    policies: tuple[Policy, ...] = ()
    skills: Mapping[str, Skill] = field(default_factory=dict[str, Skill])
    equipment: tuple[Equipment, ...] = ()

    def hears(self, point: Point, name: str = "") -> tuple[Hook, ...]:
        """Return the hooks that are asked about something of that name, at a point."""
        if not self.hooks:
            return ()
        return tuple(each for each in self.hooks if each.hears(point, name))

    def listens(self, point: Point) -> bool:
        """Whether any hook is asked at a point."""
        return bool(self.hooks) and any(point in each.settings.points for each in self.hooks)


BARE: Final = Outfit()
"""Nothing at all: for what runs again as it is recorded."""

STANDARD: Final = Outfit(policies=(Policy(PolicySettings()),))
"""What an agent goes by for which nobody has said anything."""


def standard() -> Outfit:
    """Return what an agent goes by for which nobody has said anything."""
    return STANDARD
