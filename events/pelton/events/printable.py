"""Text from outside, as it may be printed: without what a terminal would obey."""

from __future__ import annotations

from typing import Final

_HARMLESS: Final = frozenset("\n\t\u200c\u200d")
"""Not printable by themselves, and not obeyed: lines, and what joins letters and emoji or not."""


def printable(text: str) -> str:
    """Return a text that came from outside without what a terminal would obey."""
    return "".join(char if char.isprintable() or char in _HARMLESS else "\ufffd" for char in text)
