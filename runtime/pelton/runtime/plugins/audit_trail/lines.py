"""An audit trail beside the log: who does what, as lines of JSON, the contents as hashes alone.

The log has all of it; this is for those who collect lines from files. A line may come twice, if a
process dies right after it was written.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pelton.events.envelope import digest, encode
from pelton.events.errors import InvalidInput
from pelton.runtime.hooks import Occasion


def write(occasion: Occasion) -> None:
    """Append a line, in one write."""
    file = str(occasion.options.get("file", ""))
    if not file:
        raise InvalidInput("the audit trail has no `file`", field="file")
    said = msgspec.to_builtins(occasion)
    line = {key: each for key, each in said.items() if key not in {"content", "options"}}
    line["content"] = digest(encode(occasion.content))
    opened = os.open(Path(file), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(opened, encode(line) + b"\n")
    finally:
        os.close(opened)
