"""Agents by file: what the file says goes to what loads its kind, and then over what was loaded."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from pelton.events.card import AgentProfile
from pelton.events.errors import InvalidInput
from pelton.runtime.agent_file import Described
from pelton.runtime.agents import Agent, load
from pelton.runtime.equipment_settings import EquipmentSettings

Loader = Callable[..., Agent]

_KEYS: Final = {"name": "`name`", "system": "`prompt` or `prompts`", "tools": "`tools`"}
"""Options of references to models that an agent file has keys for."""

_OPTIONS: Final = frozenset({"model", "prompt", "options"})
"""Keys that become the options of an agent that is plain code."""


def agent_of(
    described: Described, loader_of: Callable[[str], Loader | None], environ: Mapping[str, str]
) -> Agent:
    """Return the agent that a file describes; `loader_of` finds what loads a kind.

    Raises:
        InvalidInput: its adapter leads nowhere, or what that needs is not installed.
        SettingsError: the file says what its adapter does not take.
    """
    says = described.says
    reach(described)
    given = described.given()
    reference = described.reference
    loader = loader_of(reference)
    try:
        if loader is None:
            _takes(described, given, _OPTIONS)
            return _over(load(described.code(says.adapter, "adapter")), described, _flat(given))
        named = frozenset(inspect.signature(loader).parameters)
        _takes(described, given, named)
        _beside(described, named)
        if "folder" in named:
            found = loader(reference, environ=environ, folder=described.folder, **given)
        else:
            kind, _, place = reference.partition(":")
            place = described.code(place, "adapter")
            found = loader(f"{kind}:{place}", environ=environ, **given)
    except InvalidInput as error:
        raise described.wrong("adapter", str(error)) from error.__cause__
    return _over(found, described, {})


def reach(described: Described) -> None:
    """Let modules beside an agent file be imported."""
    if str(described.folder) not in sys.path:
        sys.path.insert(0, str(described.folder))


def _takes(described: Described, given: Mapping[str, Any], named: frozenset[str]) -> None:
    for key in given:
        if key not in named:
            what = f"{described.says.adapter!r} does not take it: say it in its own code"
            raise described.wrong(key, what)


def _beside(described: Described, named: frozenset[str]) -> None:
    """Refuse options in a reference that the file has keys for, and paths in none but those."""
    query = described.reference.partition("?")[2] if "prompt" in named else ""
    for key, _ in parse_qsl(query, keep_blank_values=True):
        if key in _KEYS:
            raise described.wrong("adapter", f"say {key!r} in the file: {_KEYS[key]}")


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in given.items() if key != "options"}
    return {**given.get("options", {}), **own}


def _over(found: Agent, described: Described, options: Mapping[str, Any]) -> Agent:
    """Return an agent as its file has it, where that says something."""
    says, equipment = described.says, described.equipment
    return replace(
        found,
        profile=_profile(found.profile, described),
        terms=described.terms(found.terms),
        schedules=described.schedules or found.schedules,
        initial=says.initial or found.initial,
        options={**found.options, **options},
        team=says.team or found.team,
        equipment=equipment if equipment != EquipmentSettings() else None,
    )


def _profile(found: AgentProfile, described: Described) -> AgentProfile:
    says = described.says
    title = says.title or says.name.replace("-", " ").replace("_", " ").capitalize()
    profile = msgspec.structs.replace(
        found,
        name=says.name,
        title=title,
        description=says.description or found.description,
        version=says.version or found.version,
    )
    if [each.id for each in found.skills] != [found.name]:
        return profile  # it has named skills of its own
    own = msgspec.structs.replace(
        found.skills[0],
        id=says.name,
        name=title,
        description=profile.description,
        tags=(says.name, *([says.role] if says.role else ())),
    )
    return msgspec.structs.replace(profile, skills=(own,))
