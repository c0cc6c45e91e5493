"""Outfitters: they make outfits of settings, and new ones when these or their files change.

An attempt keeps the outfit that it began with. A change that cannot be read leaves things as they
are; a plugin that is not the pinned one lets no attempt begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from pelton.events.envelope import digest, encode
from pelton.events.equipment import Equipment, EquipmentKind
from pelton.events.errors import InvalidInput, PeltonError
from pelton.runtime import plugin as plugins
from pelton.runtime.equipment_settings import EquipmentSettings, HookSettings, PolicySettings
from pelton.runtime.hooks import Hook, hook
from pelton.runtime.outfit import STANDARD, Outfit
from pelton.runtime.plugin import Plugin, PluginRefused
from pelton.runtime.policies import Policy
from pelton.runtime.skills import FILE, Skill, skill

STORE: Final = "plugins"
"""The folder in the data directory that holds the copies of plugins which run."""

logger: structlog.stdlib.BoundLogger = structlog.get_logger()


class Outfitter:
    """Gives an outfit to each attempt: what `read` says for all agents and for one of them.

    `store` is where copies of plugins lie, `files` what the settings themselves are read from.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[EquipmentSettings]],
        store: Path,
        *,
        files: Sequence[Path] = (),
    ) -> None:
        """Make the first outfit.

        Raises:
            PeltonError: it cannot be made.
        """
        self._read, self._store, self._files = read, store, tuple(files)
        self._settings = tuple(read())
        self._seen = self._look()
        self._outfit = outfit(self._settings, store)
        self._refused = ""
        """Why there is none now."""

    def __call__(self) -> Outfit:
        """Return what an attempt goes by that begins now.

        Raises:
            PluginRefused: a plugin is not the pinned one.
        """
        if self._look() != self._seen:
            self.reload()
        if self._refused:
            raise PluginRefused(self._refused)
        return self._outfit

    def reload(self) -> None:
        """Make the outfit anew; turns that run keep theirs."""
        try:
            self._settings = tuple(self._read())
            self._outfit = outfit(self._settings, self._store)
            self._refused = ""
            logger.info("equipment-reloaded", equipment=[e.name for e in self._outfit.equipment])
        except PluginRefused as error:
            self._refused = str(error)
            logger.error("plugin-refused", reason=str(error))  # noqa: TRY400  it says all there is
        except PeltonError as error:
            logger.error("equipment-kept", reason=str(error))  # noqa: TRY400  it says all there is
        self._seen = self._look()

    def _look(self) -> tuple[object, ...]:
        """Return what files look like from outside, to see whether any has changed."""
        return tuple(stamp(path) for path in (*self._files, *_watched(self._settings)))


def outfit(given: Sequence[EquipmentSettings], store: Path) -> Outfit:
    """Return the outfit that settings describe, those of all agents before those of one.

    A plugin that several name alike is there once. Who says nothing of a policy adds none to that
    of all agents, which may be looser than what holds without settings.

    Raises:
        PeltonError: it cannot be made; the text says what is wrong.
    """
    hooks, policies = list[Hook](), list[Policy]()
    skills, loaded = dict[str, Skill](), list[Equipment]()
    told = set[tuple[str, str, bytes]]()
    for at, settings in enumerate(given):
        for name, wanted in settings.plugins.items():
            found = plugins.load(name, wanted, store)
            if (alike := (name, found.digest, encode(wanted.options))) in told:
                continue
            told.add(alike)
            hooks += _hooks_of(found, wanted.options, len(hooks))
            if found.manifest.policy is not None:
                policies.append(Policy(found.manifest.policy, name))
            _add(skills, [found.folder / each for each in found.manifest.skills])
            version = found.manifest.version
            loaded.append(_piece(EquipmentKind.PLUGIN, name, found.digest, version))
        if not at or settings.policy != PolicySettings():
            policies.append(Policy(settings.policy))
        for name, own in settings.hooks.items():
            hooks.append(hook(name, own, place=len(hooks)))
            loaded.append(_piece(EquipmentKind.HOOK, name, _hook_digest(own)))
        _add(skills, [Path(each) for each in settings.skills])
    if len({each.name for each in hooks}) < len(hooks):
        raise InvalidInput("two hooks have the same name", field="hooks")
    ordinary = STANDARD.policies[0].digest
    named = {each.digest: each for each in policies if each.digest != ordinary}
    loaded += [_piece(EquipmentKind.POLICY, p.name or "settings", p.digest) for p in named.values()]
    loaded += [_piece(EquipmentKind.SKILL, s.name, s.digest, s.version) for s in skills.values()]
    unlike = {each.digest: each for each in policies}
    return Outfit(
        hooks=tuple(sorted(hooks, key=lambda each: each.rank)),
        policies=tuple(unlike.values()),
        skills=skills,
        equipment=tuple(loaded),
    )


def _hooks_of(found: Plugin, options: dict[str, object], place: int) -> Iterator[Hook]:
    for at, (name, given) in enumerate(found.manifest.hooks.items()):
        yield hook(
            f"{found.manifest.name}.{name}",
            given,
            place=place + at,
            folder=found.folder,
            options=options,
            may=found.manifest.permissions,
        )


def _add(skills: dict[str, Skill], folders: Sequence[Path]) -> None:
    for folder in folders:
        found = skill(folder)
        if skills.setdefault(found.name, found).digest != found.digest:
            raise InvalidInput(f"two skills are called {found.name!r}", field="skills")


def _piece(kind: EquipmentKind, name: str, sha256: str, version: str = "") -> Equipment:
    return Equipment(kind=kind, name=name, version=version, digest=sha256)


def _hook_digest(given: HookSettings) -> str:
    """Return the digest of a hook: of its settings, and of its file if it has one."""
    files = [Path(each) for each in (given.run.rpartition(":")[0], *given.command)]
    contents = [digest(file.read_bytes()) for file in files if file.is_file()]
    return digest(encode([given, contents]))


def _watched(given: Sequence[EquipmentSettings]) -> Iterator[Path]:
    """Yield the files that an outfit is made of."""
    for settings in given:
        for wanted in settings.hooks.values():
            yield from map(Path, filter(None, (wanted.run.rpartition(":")[0], *wanted.command)))
        yield from (Path(rule) for rule in settings.policy.rules.values() if len(rule) < 256)
        yield from (Path(each) / FILE for each in settings.skills)
        for each in settings.plugins.values():
            if each.path:
                yield from sorted(Path(each.path).rglob("*"))


def stamp(path: Path) -> tuple[str, int, int, int]:
    """Return what a file looks like from outside; it is another one if it has changed."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return str(path), 0, 0, 0
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns
