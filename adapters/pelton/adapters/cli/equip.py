"""Agents with what the settings say that they go by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pelton.runtime.agents import Agent
    from pelton.runtime.settings import Settings


def equipped(
    agents: Sequence[Agent],
    settings: Settings,
    *,
    read: Callable[[], Settings] | None = None,
    files: Sequence[Path] = (),
) -> list[Agent]:
    """Return agents with an outfitter each, which looks whether the settings have changed.

    `read` reads them anew, from `files`. An agent that brings an outfit of its own keeps it.

    Raises:
        PeltonError: hooks, policies, plugins or skills cannot be loaded.
    """
    from pelton.adapters.cli.startup import release_rich
    from pelton.runtime.equipment_settings import EquipmentSettings
    from pelton.runtime.outfitter import STORE, Outfitter

    if read is None and settings.equipment == EquipmentSettings() and not settings.agents:
        return list(agents)

    release_rich()  # what reads CEL has a terminal of its own, which wants it

    def outfitted(agent: Agent) -> Agent:
        def given() -> list[EquipmentSettings]:
            now = settings if read is None else read()
            own = now.agents.get(agent.name)
            return [now.equipment, *([own] if own is not None else [])]

        outfit = Outfitter(given, settings.directory / STORE, files=files)
        return dataclasses.replace(agent, outfit=outfit)

    return [each if each.outfit is not None else outfitted(each) for each in agents]
