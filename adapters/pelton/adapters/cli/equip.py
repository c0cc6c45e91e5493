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

    `read` reads them anew, from `files`. What all agents go by stands before what the settings say
    of one, and that before what its file says. An agent that brings an outfit of its own keeps it.

    Raises:
        PeltonError: hooks, policies, plugins or skills cannot be loaded.
    """
    from pelton.adapters.cli.startup import release_rich
    from pelton.runtime.equipment_settings import EquipmentSettings
    from pelton.runtime.outfitter import STORE, Outfitter

    def outfitted(agent: Agent) -> Agent:
        def given() -> list[EquipmentSettings]:
            now = settings if read is None else read()
            beside = (now.agents.get(agent.name), agent.equipment)
            return [now.equipment, *(each for each in beside if each is not None)]

        if read is None and all(each == EquipmentSettings() for each in given()):
            return agent
        release_rich()  # what reads CEL has a terminal of its own, which wants it
        outfit = Outfitter(given, settings.directory / STORE, files=files)
        return dataclasses.replace(agent, outfit=outfit)

    return [each if each.outfit is not None else outfitted(each) for each in agents]


def played(agent: Agent) -> Agent:
    """Return an agent as it plays what is recorded: by policy and skills, with no hook asked."""
    import msgspec

    from pelton.adapters.cli.startup import release_rich
    from pelton.runtime.equipment_settings import EquipmentSettings
    from pelton.runtime.outfitter import outfit

    if agent.equipment is None:
        return agent
    release_rich()
    still = msgspec.structs.replace(agent.equipment, hooks={}, plugins={})
    found = outfit([EquipmentSettings(), still], Path())  # without plugins it copies nothing
    return dataclasses.replace(agent, outfit=lambda: found)
