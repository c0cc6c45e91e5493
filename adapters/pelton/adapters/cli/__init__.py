"""The command `pelton`: where everything is put together.

A command's module is imported when the program starts, what the command needs when it runs, so that
`pelton --help` is quick. What a command may end with is in `output.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; `arguments` are those of the process unless given."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from importlib.metadata import version

        sys.stdout.write(f"pelton {version('pelton')}\n")
        sys.exit(0)
    from pelton.adapters.cli.startup import withhold_rich

    withhold_rich()
    from pelton.adapters.cli.app import run

    sys.exit(run(given))
