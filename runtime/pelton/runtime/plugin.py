"""Plugins: folders with a `plugin.toml`, which say what they bring and what they need for it.

A folder is known by its digest, which the settings name: another one is not loaded. What runs is a
copy that was looked at, in the data directory, so that nobody changes it between the look and the
run, nor under a turn that goes by it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from pelton.events.errors import InvalidInput, PeltonError
from pelton.runtime.equipment_settings import HookSettings, PluginSettings, PolicySettings
from pelton.runtime.setting_types import Section

FILE: Final = "plugin.toml"
"""The manifest in a plugin's folder."""

MOST: Final = 1000
"""Files that a plugin may have."""

LARGEST: Final = 16 * 1024 * 1024
"""Bytes that they may have in all."""

PERMISSIONS: Final = ("python", "command", "change", "ask")
"""What a plugin may need: code of its own in the executor's process, programs of its own, to put
something else in the place of what is there, to have people asked."""

_IGNORED: Final = "__pycache__"


class PluginRefused(PeltonError):
    """A plugin is not loaded: it is not the one that was pinned, or wants what it is not granted.

    `pelton plugins verify` tells what it is; if that is what you want, put its digest into the
    settings.
    """

    code: ClassVar[str] = "plugin-refused"


class Manifest(Section, frozen=True, kw_only=True):
    """What a plugin says of itself, in `plugin.toml`."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
    version: Annotated[str, Meta(pattern=r"^[0-9A-Za-z.+-]{1,64}$")]
    description: Annotated[str, Meta(max_length=1024)] = ""
    permissions: tuple[str, ...] = ()
    hooks: dict[str, HookSettings] = msgspec.field(default_factory=dict[str, HookSettings])
    policy: PolicySettings | None = None
    skills: tuple[str, ...] = ()


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that may be used: its manifest, its digest, and where the copy lies that runs."""

    manifest: Manifest
    digest: str
    folder: Path


def manifest_of(folder: Path) -> Manifest:
    """Return the manifest in a folder.

    Raises:
        InvalidInput: there is none, or it is wrong; the text says where.
    """
    file = folder / FILE
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        found = msgspec.convert(raw, Manifest)
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}", field="plugins") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or no manifest
        raise InvalidInput(f"{file}: {error}", field="plugins") from error
    for each in found.permissions:
        if each not in PERMISSIONS:
            known = ", ".join(PERMISSIONS)
            raise InvalidInput(f"{file}: there is no permission {each!r}, but {known}")
    for name, given in found.hooks.items():
        _check_hook(folder, f"{file}: hooks.{name}", given, found.permissions)
    for each in found.skills:
        _inside(folder, each, f"{file}: skills")
    return found


def digest_of(folder: Path) -> str:
    """Return what a folder is known by: the SHA-256 of the names and the bytes of its files.

    Raises:
        InvalidInput: it has links, or more than a plugin may have.
    """
    total, size = hashlib.sha256(), 0
    for at, file in enumerate(_files(folder)):
        data = file.read_bytes()
        size += len(data)
        if at >= MOST or size > LARGEST:
            raise InvalidInput(f"{folder}: a plugin has {MOST} files and {LARGEST} bytes at most")
        name = file.relative_to(folder).as_posix().encode()
        total.update(hashlib.sha256(name).digest() + hashlib.sha256(data).digest())
    return total.hexdigest()


def look(name: str, settings: PluginSettings) -> Plugin:
    """Return the plugin that settings name where it lies: to be looked at, and not to be run.

    Raises:
        PluginRefused: it is another one than is pinned, or asks for more than it is granted.
        InvalidInput: there is none, or it is wrong.
    """
    if not settings.path:
        return _own(name)
    source = Path(settings.path)
    if not settings.digest:
        raise PluginRefused(
            f"the plugin {name!r} is not pinned: put `digest` into its settings, which `pelton"
            f" plugins verify {settings.path}` tells"
        )
    if (found := digest_of(source)) != settings.digest:
        raise PluginRefused(f"the plugin {name!r} has the digest {found}, and another is pinned")
    return _granted(name, settings, source)


def load(name: str, settings: PluginSettings, store: Path) -> Plugin:
    """Return the plugin that settings name; a copy of it is in `store`.

    Raises:
        PluginRefused: it is another one than is pinned, or asks for more than it is granted.
        InvalidInput: there is none, or it is wrong.
    """
    found = look(name, settings)
    if not settings.path:
        return found
    folder = store / settings.digest
    if not folder.is_dir() or digest_of(folder) != settings.digest:
        _copy(found.folder, folder)
    return _granted(name, settings, folder)


def _granted(name: str, settings: PluginSettings, folder: Path) -> Plugin:
    """Return the plugin in a folder that has the pinned digest, if it is what it is granted."""
    manifest = manifest_of(folder)
    if manifest.name != name:
        raise PluginRefused(f"the plugin {name!r} calls itself {manifest.name!r}")
    if missing := set(manifest.permissions) - set(settings.grants):
        wanted = ", ".join(sorted(missing))
        raise PluginRefused(f"the plugin {name!r} asks for more than it is granted: {wanted}")
    return Plugin(manifest=manifest, digest=settings.digest, folder=folder)


def function(folder: Path, reference: str) -> Any:
    """Return the function `file.py:name` of a plugin, whose folder nobody else imports from."""
    place, _, name = reference.rpartition(":")
    file = _inside(folder, place, reference)
    module_name = f"pelton_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, file)
        if spec is None or spec.loader is None:
            raise InvalidInput(f"{reference!r} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    if not callable(found := getattr(module, name, None)):
        raise InvalidInput(f"{reference!r}: there is no function {name!r}")
    return found


def _own(name: str) -> Plugin:
    """Return a plugin that comes with pelton, which needs no pin."""
    folder = Path(__file__).parent / "plugins" / name.replace("-", "_")
    if not re.fullmatch(r"[a-z0-9-]+", name) or not (folder / FILE).is_file():
        raise InvalidInput(
            f"no plugin {name!r} comes with pelton: give its `path`", field="plugins"
        )
    return Plugin(manifest=manifest_of(folder), digest=digest_of(folder), folder=folder)


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: there is no such folder", field="plugins")
    for each in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        if each.is_symlink():
            raise InvalidInput(f"{each}: a plugin has no links", field="plugins")
        if each.is_file() and _IGNORED not in each.relative_to(folder).parts:
            yield each


def _copy(source: Path, folder: Path) -> None:
    """Copy a plugin to where it runs; it lies there complete or not at all."""
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    for file in _files(source):
        place = new / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy(file, place)
    if (found := digest_of(new)) != folder.name:
        shutil.rmtree(new, ignore_errors=True)
        raise PluginRefused(f"the plugin in {source} has the digest {found}, and another is pinned")
    new.rename(folder)


def _check_hook(
    folder: Path, where: str, given: HookSettings, permissions: tuple[str, ...]
) -> None:
    needed = "python" if given.run else "command"
    if needed not in permissions:
        raise InvalidInput(f"{where}: it needs the permission {needed!r}")
    if given.run:
        place = given.run.rpartition(":")[0]
        if not place.endswith(".py"):
            raise InvalidInput(f"{where}: `run` is file.py:name, of a file of the plugin")
        _inside(folder, place, where)
    elif given.command and ("/" in given.command[0] or (folder / given.command[0]).exists()):
        _inside(folder, given.command[0], where)


def _inside(folder: Path, name: str, where: str) -> Path:
    """Return a path of a plugin.

    Raises:
        InvalidInput: it is not there, or elsewhere.
    """
    found = (folder / name).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.exists():
        raise InvalidInput(f"{where}: {name!r} is nothing in the plugin's folder")
    return found
