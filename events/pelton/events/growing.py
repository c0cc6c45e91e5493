"""Texts that come in pieces, redacted as they grow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pelton.events.redact import Redactor, Span, replaced

_CALM: Final = re.compile(
    r"(?s)\s\Z|\A(?!.*(?:earer|asic|uthorization)).*[a-z,.;)]\s[A-Z]?[a-z]{0,12}[,.;!?)]{0,3}\Z"
)
"""How a text ends after which nothing can have begun: with a space, or words as in prose."""
_CONTEXT: Final = 256
_LONGEST: Final = 8192
_RESTS: Final = (
    *("A2" * 60, "0a" * 60, "a1B2" * 40),
    *("0a" * 8 + "_" + "a1B2" * 20, "0a" * 8 + "." + "0a" * 40, "0a0a.a1B2a1B2." + "a1B2" * 20),
    *(".eyJ0a0a0a0a0a.0a0a0a0a0a", "0a@a"),
)
"""What a text may go on with so that a secret of any kind that it has begun is complete."""
_SEEN: Final = 64  # so much of the end of a text is looked at for that


class Growing:
    """Redacts a text that comes in pieces: what may become a secret waits for what follows it."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._said = ""  # the end of what was let go, as it came: what it means for what follows
        self._held = ""
        self.touched = False
        """Whether anything was redacted or had to wait."""

    def add(self, piece: str, *, last: bool = False) -> str:
        """Return what can be told of the text after another piece; with `last`, all of it."""
        window, begin = self._said + self._held + piece, len(self._said)
        spans = [span for span in self._redactor.spans(window) if span.end > begin]
        hold = len(window) if last else self._open(window, spans)
        self.touched = self.touched or bool(spans) or hold < len(window)
        spans = [span._replace(start=max(span.start, begin)) for span in spans if span.end <= hold]
        cleaned = replaced(window[:hold], spans)
        self._said, self._held = window[max(0, hold - _CONTEXT) : hold], window[hold:]
        return cleaned[begin:]

    def _open(self, window: str, spans: Sequence[Span]) -> int:
        """Return where what may be the beginning of a secret begins at the end of a text."""
        held = [span.start for span in spans if span.end == len(window)]
        if held or _CALM.search(window[-_SEEN:]) or not self._redactor.enabled:
            return held[0] if held else len(window)
        start = max(window.rfind(" ", 0, -1), window.rfind("\n", 0, -1), len(window) - _LONGEST) + 1
        start = max(0, start - _CONTEXT)
        tail = window[start:]
        complete = {(span.start, span.end) for span in spans}
        tried = [tail + rest for rest in _RESTS]
        spans_tried = (span for each in tried for span in self._redactor.spans(each))
        begins = [
            span.start
            for span in spans_tried
            if span.start < len(tail) and (span.start + start, span.end + start) not in complete
        ]
        return start + min(begins, default=len(tail))
