"""Pages: how lists are handed out."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from pelton.events.errors import InvalidInput

MAX_PAGE: Final = 100
"""The most entries that a page may have (A2A §3.1.4)."""

Item = TypeVar("Item")


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """A page of a list. `next` is the cursor of the page after it, empty on the last one."""

    items: tuple[Item, ...]
    next: str
    total: int
    """How many entries the list has in all."""


def check_size(size: int, most: int = MAX_PAGE) -> None:
    """Check how many entries a page shall have.

    Raises:
        InvalidInput: it is not within 1 to `most`.
    """
    if not 1 <= size <= most:
        raise InvalidInput(f"pageSize must be 1 to {most}", field="pageSize")
