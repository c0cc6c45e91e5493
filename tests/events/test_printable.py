"""Text from outside, as it may be printed."""

from __future__ import annotations

import pytest

from pelton.events.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31mred\r\x9b2J\u202e", "\ufffd[31mred\ufffd\ufffd2J\ufffd"),
        ("\U0001f469\u200d\U0001f467 \u0645\u06cc\u200c\u062e\u0648", None),
    ],
)
def test_text_is_shown_without_what_a_terminal_obeys(text: str, shown: str | None) -> None:
    """An emoji of several stays one, and so do words in scripts that need a joiner or none."""
    assert printable(text) == (text if shown is None else shown)
