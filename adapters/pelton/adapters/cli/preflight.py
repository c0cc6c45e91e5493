"""What an agent needs, looked for before it is started.

What a file says it needs is looked for first, without loading anything; then the agent is loaded,
and asked whether it is well.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, TypeVar

import structlog

from pelton.adapters.cli import agent_files
from pelton.adapters.cli.installed import lacks
from pelton.adapters.cli.references import KINDS, kind_of, loader_of
from pelton.events.errors import PeltonError
from pelton.events.events import FailureClass
from pelton.runtime.agent_file import Described, unreadable
from pelton.runtime.agents import Agent
from pelton.runtime.clock import World, rfc3339
from pelton.runtime.diagnosis import Check, ok, warn, wrong
from pelton.runtime.equipment_settings import EquipmentSettings, PluginSettings, PolicySettings
from pelton.runtime.hooks import hook
from pelton.runtime.plugin import look as look_at
from pelton.runtime.policies import Policy
from pelton.runtime.skills import FILE as SKILL
from pelton.runtime.skills import skill
from pelton.runtime.slots import slots

HEALTH: Final = 15.0
"""Seconds that an adapter has to say whether it is well."""

T = TypeVar("T")

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class NotReady(PeltonError):
    """An agent was not started: what it needs is not there; `checks` say what, and what to do."""

    code: ClassVar[str] = "agent-not-ready"

    def __init__(self, agent: str, checks: tuple[Check, ...]) -> None:
        failed = [each for each in checks if each.state == "wrong"]
        said = "; ".join(f"{each.name}: {each.says} ({each.remedy})" for each in failed)
        super().__init__(f"{agent} is not ready: {said}")
        self.agent, self.checks = agent, checks
        loaded = not any(each.name == "environment" for each in failed)
        self.kind = FailureClass.DEPENDENCY if loaded else FailureClass.VALIDATION


def before(described: Described, environ: Mapping[str, str]) -> Iterator[Check]:
    """Look for what an agent file says it needs, without loading anything."""
    yield from _environment(described, environ)
    yield from _installed(described)
    yield from _files(described)
    yield from _equipment(described.equipment)


def _environment(described: Described, environ: Mapping[str, str]) -> Iterator[Check]:
    missing = [name for name in described.says.environment if not environ.get(name)]
    if missing:
        yield wrong(
            "environment",
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            "set it where the executor is started",
        )
    elif described.says.environment:
        yield ok("environment", f"{', '.join(described.says.environment)} set")


def _installed(described: Described) -> Iterator[Check]:
    kind = kind_of(described.reference)
    extra = KINDS[kind][1] if kind else ""
    if not extra:
        return
    lacking = tuple(lacks(extra))
    if lacking:
        yield wrong("packages", "; ".join(lacking), f"pip install 'pelton[{extra}]'")
    else:
        yield ok("packages", f"all that the adapter {kind} needs is installed")


def _files(described: Described) -> Iterator[Check]:
    empty: list[str] = []
    for given, path in zip(described.says.prompts, described.prompt_files, strict=True):
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            yield wrong(f"prompt {given}", unreadable(error), "write it, or mend its name")
            continue
        if not text.strip():
            empty.append(given)
    if empty:
        yield warn("prompts", f"{', '.join(empty)} says nothing", "write it, or leave it out")
    elif described.says.prompts:
        yield ok("prompts", f"{len(described.says.prompts)} files")


def _equipment(given: EquipmentSettings) -> Iterator[Check]:
    if given.policy != PolicySettings():
        _, found = _tried("policy", partial(Policy, given.policy), "mend what the text names")
        yield found
    for folder in given.skills:
        name = f"skill {Path(folder).name}"
        read, found = _tried(name, partial(skill, Path(folder)), f"mend {folder}/{SKILL}")
        if read is not None and not read.text.strip():
            found = warn(name, "it says nothing", "write it, or leave it out")
        yield found
    for name, wanted in given.plugins.items():
        yield _plugin(name, wanted)


def _plugin(name: str, given: PluginSettings) -> Check:
    pin = f"pelton plugins verify {given.path}: pin and grant what it tells, if you want that"
    remedy = pin if given.path else "pelton has none of that name: mend it, or say where it lies"
    found, check = _tried(f"plugin {name}", partial(look_at, name, given), remedy)
    if found is None:
        return check
    unasked = sorted(set(given.grants) - set(found.manifest.permissions))
    if given.path and unasked:
        says = f"it does not ask for what it is granted: {', '.join(unasked)}"
        return warn(check.name, says, "take it out of its grants")
    return check


def _hooks(given: EquipmentSettings) -> Iterator[Check]:
    for name, wanted in given.hooks.items():
        called = f"hook {name}"
        _, found = _tried(called, partial(hook, name, wanted), "mend what the text names")
        if wanted.command and shutil.which(wanted.command[0]) is None:
            says = f"there is no program {wanted.command[0]!r}"
            found = wrong(called, says, "install it, or mend its name")
        yield found


def _tried(name: str, look: Callable[[], T], remedy: str) -> tuple[T | None, Check]:
    """Return what a look finds, if it can be had, and what is to be said of it."""
    try:
        return look(), ok(name, "it can be read")
    except PeltonError as error:
        return None, wrong(name, str(error), remedy)


def times(agent: Agent, world: World) -> Iterator[Check]:
    """Look when an agent's schedules come next."""
    now = rfc3339(world.now())
    for schedule in agent.schedules:
        slot = next(slots(schedule, now), "")
        name = f"schedule {schedule.name}"
        if slot:
            yield ok(name, f"next at {slot}")
        elif schedule.at:
            yield warn(name, f"its time {schedule.at} has passed", "give it another, or remove it")
        else:
            yield warn(name, "it has no times", "mend its cron expression")


async def health(agent: Agent) -> Check:
    """Ask an agent whether it is well."""
    try:
        async with asyncio.timeout(HEALTH):
            found = await agent.health()
    except TimeoutError:
        return warn("adapter", f"it has not said within {HEALTH:g} s whether it is well", "try it")
    if found.ok:
        return ok("adapter", "it is well")
    if found.passing:
        return warn("adapter", found.detail, found.fix or "it may pass; turns fail until then")
    return wrong("adapter", found.detail, found.fix or "mend what the text names")


async def prepared(described: Described, environ: Mapping[str, str]) -> Agent:
    """Return the agent that a file describes, ready to be started.

    It is looked at first; what is worth a look and no more is logged.

    Raises:
        NotReady: something that it needs is not there.
    """
    agent, checks = await look(described, environ)
    if agent is None or any(each.state == "wrong" for each in checks):
        raise NotReady(described.says.name, checks)
    for each in checks:
        if each.state == "warn":
            logger.warning("preflight", agent=agent.name, check=each.name, reason=each.says)
    return replace(agent, checked=True)


async def look(
    described: Described, environ: Mapping[str, str]
) -> tuple[Agent | None, tuple[Check, ...]]:
    """Return the agent that a file describes, if it can be loaded, and all that was looked at."""
    checks = list(before(described, environ))
    if any(each.state == "wrong" and each.name == "packages" for each in checks):
        return None, tuple(checks)
    try:
        agent = agent_files.agent_of(described, loader_of, environ)
    except PeltonError as error:
        return None, (*checks, wrong("agent", str(error), "mend what the text names"))
    checks.append(ok("agent", "it is loaded"))
    checks.extend(_hooks(described.equipment))
    checks.append(await health(agent))
    return agent, tuple(checks)
