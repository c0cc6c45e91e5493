"""Validation against the protocol's own schema, `data/a2a/a2a.strict.schema.json` (Apache-2.0).

It is the A2A project's bundle for 1.0 with `additionalProperties: false`; its definitions refer to
each other by names that no definition carries, so they are registered under those names here.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

BUNDLE = Path(__file__).parent / "data" / "a2a" / "a2a.strict.schema.json"


@functools.cache
def validator(name: str) -> Any:
    """Return the validator of a message of the protocol, such as `Task` or `Stream Response`."""
    definitions: dict[str, Any] = json.loads(BUNDLE.read_text())["definitions"]
    resources = [
        (f"{package}.{title.replace(' ', '')}.jsonschema.json", DRAFT202012.create_resource(schema))
        for title, schema in definitions.items()
        for package in ("lf.a2a.v1", "google.protobuf")
    ]
    empty = cast("Any", Registry)()  # it is not typed through
    registry = empty.with_resources(resources)
    return Draft202012Validator(
        definitions[name], registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def validate(name: str, value: object) -> None:
    """Raise `jsonschema.ValidationError` if a decoded JSON value is no such message."""
    validator(name).validate(value)
