"""What was said, on a line."""

from __future__ import annotations

import pytest

from pelton.adapters.cli.timeline import quoted
from pelton.events.a2a import BlobRef, Part


def away(member: str) -> Part:
    return Part(blob=BlobRef(sha256="0" * 64, size=40_000, member=member))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), "''"),
        ((Part(text="a"), Part(text="b\n")), "'ab\\n'"),
        ((away("text"),), "[40000 bytes, beside the log]"),
        ((Part(text="see"), away("raw:echo.c-1")), "'see' [40000 bytes, sealed]"),
        ((Part(data={"pieces": 3}),), '{"pieces":3}'),
        ((Part(data=None),), "null"),
        ((Part(url="https://example.com/a"),), "[https://example.com/a]"),
        ((Part(raw="eA==", filename="x.txt"), Part(raw="eA==")), "[x.txt] [a file]"),
    ],
)
def test_what_is_no_text_is_told_for_what_it_is(parts: tuple[Part, ...], expected: str) -> None:
    assert quoted(parts) == expected
