"""The files that the contract is published as, and whether they say what the types say."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from pelton.adapters.a2a.openapi import openapi as a2a
from pelton.adapters.api.openapi import openapi
from pelton.adapters.mcp.contract import document as tools
from pelton.events.asyncapi import asyncapi
from pelton.events.schema import Json, digest_of, indented, schemas

RELEASED: Final = "released.json"
"""The digest of each schema that was released, by type and version."""


def generated() -> dict[str, bytes]:
    """Return what the types say, by file name."""
    files: dict[str, Json] = {f"{name}.json": schema for name, schema in schemas().items()}
    files["asyncapi.json"] = asyncapi()
    files["openapi.json"], files["a2a.openapi.json"] = openapi(), a2a()
    files["tools.json"] = tools()
    return {name: indented(content) for name, content in files.items()}


def complaints(folder: Path) -> list[str]:
    """Return what is wrong with the files in a folder, and what to do about it."""
    found: list[str] = []
    files = generated()
    for name, content in files.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing: run `make schemas`")
        elif path.read_bytes() != content:
            found.append(f"{name} is not what the types say: run `make schemas`")
    released = _released(folder)
    known = {f"{name}.json" for name in released} | set(files) | {RELEASED}
    found += [
        f"{path.name} belongs to no type: delete it"
        for path in sorted(folder.glob("*.json"))
        if path.name not in known
    ]
    current = schemas()
    for name, digest in released.items():
        if digest_of(current.get(name) or _older(folder / f"{name}.json")) != digest:
            found.append(
                f"{name} was released and its schema has changed: take the change back, or give the"
                f" type a new version, an upcaster from {name} in `pelton.events.upcast`, and a"
                " history of the old version in `tests/histories`"
            )
    return found


def write(folder: Path) -> None:
    """Write what the types say."""
    folder.mkdir(exist_ok=True)
    for name, content in generated().items():
        (folder / name).write_bytes(content)


def release(folder: Path) -> None:
    """Record the schemas that are new since the last release; those recorded stay as they are."""
    digests = {name: digest_of(schema) for name, schema in schemas().items() if "." in name}
    (folder / RELEASED).write_bytes(indented(digests | _released(folder)))


def _older(path: Path) -> Json:
    """Return the schema of a version that the types have left behind."""
    return msgspec.json.decode(path.read_bytes(), type=Json) if path.is_file() else {}


def _released(folder: Path) -> dict[str, str]:
    path = folder / RELEASED
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.is_file() else {}
