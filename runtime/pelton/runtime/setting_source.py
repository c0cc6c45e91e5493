"""Sources of settings: a file and what overrides it, to be read once, and again when it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pelton.runtime.equipment_settings import EquipmentSettings
from pelton.runtime.settings import FILE, Settings, load, settings, variable

_EQUIPMENT: Final = frozenset({*EquipmentSettings.__struct_fields__, "agents"})
"""The first words of the settings that a turn goes by which begins after they were read anew."""


@dataclass(frozen=True)
class Source:
    """Where settings are from; see `settings.load`."""

    file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    flags: Mapping[str, object] = field(default_factory=dict[str, object])

    def read(self) -> Settings:
        """Return the settings as they are now.

        Raises:
            SettingsError: the file cannot be read, or a setting is unknown or has a wrong value.
        """
        return load(self.file, environment=self.environment, flags=self.flags)

    @property
    def path(self) -> Path:
        """The file that is read, if there is one."""
        return self.file or Path(FILE)

    @property
    def overriding(self) -> Iterator[str]:
        """The variables of the settings that something else than the file says."""
        said = {variable(path) for path, value in self.flags.items() if value is not None}
        known = {each.variable for each in settings()}
        yield from sorted(said | (known & self.environment.keys()))


def waiting(before: Settings, after: Settings) -> list[str]:
    """Return the settings that differ and count from the next start on, by path."""
    differing = [
        each.path for each in settings() if _at(before, each.path) != _at(after, each.path)
    ]
    return [path for path in differing if path.partition(".")[0] not in _EQUIPMENT]


def _at(given: Settings, path: str) -> Any:
    value: Any = given
    for name in path.split("."):
        value = getattr(value, name)
    return value
