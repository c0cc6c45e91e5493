"""`pelton demo`: a worker is killed in the middle of its work, and the answer arrives whole."""

from __future__ import annotations

from typing import Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output


def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the directory, to look at it afterwards.")
    ] = False,
    json: options.Json = False,
) -> int:
    """Kill an agent in the middle of its work and watch the answer arrive whole, in 15 seconds."""
    import asyncio
    import shutil
    import tempfile
    from pathlib import Path

    from pelton.adapters.cli.takeover import Takeover

    directory = Path(tempfile.mkdtemp(prefix="pelton-demo-"))
    output = Output(json=json)
    try:
        return asyncio.run(Takeover(directory, output).run())
    finally:
        if keep:
            output.note(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
