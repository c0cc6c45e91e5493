"""`pelton` with the arguments that come on standard input, as a JSON list of texts.

What people write into the page is not for the command line, which all users of a machine can read.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from pelton.adapters.cli import main

MODULE: Final = "pelton.adapters.debug.command"

if __name__ == "__main__":
    main(msgspec.json.decode(sys.stdin.buffer.read(), type=list[str]))
