"""The contract for other languages: a JSON Schema for each type (AS-5).

All is made from the types and committed in `schemas/`: `python -m pelton.adapters.contract` writes
it. A released schema never changes; `digest_of` tells whether two demand the same.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Final, cast

import msgspec

from pelton.events.commands import COMMANDS
from pelton.events.commit import Commit
from pelton.events.envelope import digest, encode
from pelton.events.events import EVENTS

CONTRACT: Final = "0.2"
"""The version of the contract as a whole; histories of each are in `tests/histories/`."""

Json = dict[str, Any]

ANY_EVENT: Final = "pelton:Event"
"""The id of the schema of all events: it grows with each new type, and none of the others does."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Final = (*COMMANDS, Commit, *EVENTS)


def versioned(struct: type[msgspec.Struct]) -> str:
    """Return a type's name with its version, as in `SendMessage.v1`."""
    return str(struct.__struct_config__.tag).removeprefix("pelton.")


def _definitions() -> dict[str, Json]:
    """Return the schema of each type and of each that it is made of, by class name."""
    _, found = msgspec.json.schema_components(_TYPES, ref_template="#/$defs/{name}")
    definitions = cast("dict[str, Json]", found)
    for definition in definitions.values():
        definition["description"] = inspect.cleandoc(definition["description"])
    events = definitions["CommitData"]["properties"]["events"]
    events["items"] = {"$ref": ANY_EVENT}
    return definitions


def _named(definition: Json) -> set[str]:
    """Return the names of the definitions that one refers to."""
    return set(re.findall(r'"#/\$defs/(\w+)"', encode(definition).decode()))


def schemas() -> dict[str, Json]:
    """Return the JSON Schema of each type by its name with its version, and that of all events.

    Each has an `$id` such as `pelton:SendMessage.v1`, which is what `dataschema` names, and holds
    the definitions it needs. Only that of a commit refers to another: to `pelton:Event`.
    """
    definitions = _definitions()
    found: dict[str, Json] = {}
    for struct in _TYPES:
        needed: set[str] = set()
        more = {struct.__name__}
        while more:
            needed |= more
            more = {name for known in more for name in _named(definitions[known])} - needed
        found[versioned(struct)] = {
            "$schema": _DIALECT,
            "$id": f"pelton:{versioned(struct)}",
            **definitions[struct.__name__],
            "$defs": {name: definitions[name] for name in sorted(needed - {struct.__name__})},
        }
    found["Event"] = {
        "$schema": _DIALECT,
        "$id": ANY_EVENT,
        "title": "Event",
        "description": "One of the events that a commit may hold.",
        "anyOf": [{"$ref": f"pelton:{versioned(event)}"} for event in EVENTS],
    }
    return found


def digest_of(schema: Json) -> str:
    """Return a digest of what a schema demands, whatever its descriptions say."""
    return digest(encode(_bare(schema)))


def _bare(value: Any) -> Any:
    match value:
        case dict():
            members = cast("Json", value)
            return {
                name: _bare(member)
                for name, member in members.items()
                if name != "description" or not isinstance(member, str)
            }
        case list():
            return [_bare(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


def indented(value: Json) -> bytes:
    """Return JSON as it is committed in `schemas/`."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
