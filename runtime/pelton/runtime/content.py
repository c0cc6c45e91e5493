"""What is said: what a message or an artifact is made of."""

from __future__ import annotations

from collections.abc import Sequence

from pelton.events.a2a import Part
from pelton.events.errors import InvalidInput

Content = str | Sequence[Part]
"""What a message or artifact is made of: a text, or parts."""


def parts_of(content: Content) -> tuple[Part, ...]:
    """Return the parts that content is.

    Raises:
        InvalidInput: there are none.
    """
    parts = (Part(text=content),) if isinstance(content, str) else tuple(content)
    if not parts:
        raise InvalidInput("there is nothing to say: give a text or at least one part")
    return parts
