"""A guard against destructive commands, in whatever argument of a tool they stand.

It knows what is common and no more: whoever wants to hide a command can. It is one fence among
several, not a sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from pelton.events.ruling import Ruling
from pelton.runtime.hooks import Occasion, Reply

_DENIED: Final = {
    "it deletes from the root or a home directory": (
        r"\brm\s+(?:-\S+\s+)*-\S*[rR]\S*\s+(?:-\S+\s+)*[\"']?(?:/|~|\$HOME)[\"']?(?:\s|/?\*|$)"
    ),
    "it writes to a disk itself": r"\bdd\b[^\n]*\bof=/dev/|\bmkfs\b|>\s*/dev/(?:sd|nvme|vd|disk)",
    "it starts processes without end": r":\(\)\s*\{\s*:\s*\|\s*:\s*&\s*\}",
    "it lets everybody write everywhere": r"\bchmod\s+-\S*R\S*\s+0?777\s+/(?:\s|$)",
}
_ASKED: Final = {
    "it deletes folders": r"\brm\s+(?:-\S+\s+)*-\S*[rR]",
    "it runs what it fetches": r"\b(?:curl|wget)\b[^|\n]*\|\s*(?:sudo\s+)?(?:ba|z|da)?sh\b",
    "it rewrites what others have": r"\bgit\s+push\b[^\n]*(?:--force\b|\s-f\b)",
    "it throws work away": r"\bgit\s+(?:reset\s+--hard|clean\s+-\S*f)",
    "it drops a table or a database": (
        r"(?i)\b(?:drop\s+(?:table|database|schema)|truncate\s+table)\b"
    ),
    "it deletes all rows": r"(?i)\bdelete\s+from\s+\w+\s*(?:;|$)",
    "it acts as root": r"\bsudo\b",
    "it stops the machine": r"\b(?:shutdown|reboot|halt|poweroff)\b",
}


def look(occasion: Occasion) -> Reply | None:
    """Look at every text among the arguments."""
    found: Reply | None = None
    for text in texts(occasion.content):
        for why, pattern in _DENIED.items():
            if re.search(pattern, text):
                return Reply(ruling=Ruling.DENY, reason=f"The command is not run: {why}.")
        for why, pattern in _ASKED.items():
            if re.search(pattern, text):
                found = found or Reply(ruling=Ruling.ASK, reason=f"The command may harm: {why}.")
    return found


def texts(content: Any) -> Iterator[str]:
    """Yield the texts in JSON; a list of texts is a command too, with spaces between them."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for each in cast("dict[str, Any]", content).values():
            yield from texts(each)
    elif isinstance(content, list):
        many = cast("list[object]", content)
        words = [each for each in many if isinstance(each, str)]
        if words and len(words) == len(many):
            yield " ".join(words)
        else:
            for each in many:
                yield from texts(each)
