"""Whether an agent's calls of models go through its executor's gateway, or round it.

Only of kinds that are known to ask a model by themselves; of a command whatever it is, and of code
that asks in this process, there is nothing to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pelton.adapters.cli.installed import lacks
from pelton.adapters.cli.references import kind_of
from pelton.adapters.frameworks.programs import command_of
from pelton.events.errors import InvalidInput
from pelton.runtime.diagnosis import Check, ok, warn
from pelton.runtime.gateway_settings import GatewaySettings

_NAME: Final = "models"
_EXTRA: Final = "gateway"
_KINDS: Final = {"claude": "anthropic", "codex": "openai", "hermes": "openai", "crewai": ""}
_PROGRAMS: Final = {"claude": "anthropic", "codex": "openai", "gemini": "gemini"}
_ROUND: Final = "its calls of models are not recorded, and counted only as it reports"
_STEPS: Final = "its calls of models are steps of its own, but its process has the key"


def models(reference: str, settings: GatewaySettings, environ: Mapping[str, str]) -> Check | None:
    """Look which way the calls of an agent go, if it is one that asks models by itself."""
    provider = _asks(reference)
    if provider is None:
        return None
    told = _ROUND if provider else _STEPS
    if "home" in reference.partition(":")[0].split("+"):
        says = f"it asks with its user's login, round the gateway: {_ROUND}"
        return warn(_NAME, says, "leave out +home, where the executor has a key")
    if not settings.enabled:
        return warn(_NAME, f"the gateway is off: {told}", "set gateway.enabled = true")
    if any(lacks(_EXTRA)):
        says = f"the gateway is not installed: {told}"
        return warn(_NAME, says, f"pip install 'pelton[{_EXTRA}]'")
    return _led(provider, settings, environ, told)


def _led(provider: str, settings: GatewaySettings, environ: Mapping[str, str], told: str) -> Check:
    from pelton.adapters.gateway.providers import upstreams

    there = upstreams(settings, environ)
    if provider in there or (there and not provider):
        return ok(_NAME, f"asked through the gateway: {provider or ', '.join(there)}")
    missing = f"no key of {provider}" if provider else "no provider's key"
    return warn(
        _NAME,
        f"the executor has {missing}, so it goes round the gateway: {told}",
        "set the key where the executor is started, or in gateway.keys",
    )


def _asks(reference: str) -> str | None:
    """Return which provider an agent asks by itself, empty if any; None if that is not known."""
    kind = kind_of(reference)
    if kind in _KINDS:
        return _KINDS[kind]
    if kind not in ("acp", "cli"):
        return None
    try:
        program = Path(command_of(reference)[0]).stem
    except (InvalidInput, IndexError):  # whoever loads it says so
        return None
    return _PROGRAMS.get(program)
