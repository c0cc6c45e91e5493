"""What frameworks give as JSON: models of pydantic's, in whatever they stand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec


def plain(value: Any) -> Any:
    """Return a value as JSON; of what has no JSON, how it reads."""
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json", exclude_none=True)
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in cast("dict[object, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in cast("Iterable[Any]", value)]
    try:
        msgspec.json.encode(value)
    except TypeError:
        return str(value)
    return value
