"""`pelton rebuild`: the read models anew from the log, or compared with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import FAILED, OK, CommandFailed, Output

if TYPE_CHECKING:
    from pelton.projections.dump import Digest
    from pelton.runtime.rebuild import Comparison, Progress


def rebuild(
    *,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Change nothing: rebuild beside, and compare digests."),
    ] = False,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Rebuild the read models from the log; whoever uses them goes on meanwhile."""
    import asyncio

    from pelton.adapters.cli.connect import open_log
    from pelton.projections.dump import digest
    from pelton.runtime import rebuild as rebuilding

    settings = options.settings(config, data=data, nats__url=nats)
    file, output = settings.projections_path, Output(json=json)
    if verify and not file.exists():
        raise CommandFailed(f"there are no read models in {str(file)!r}: run pelton rebuild")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    progress = Bar(output)

    async def build() -> tuple[Progress, Digest]:
        async with open_log(settings) as log:
            return await rebuilding.rebuild(log, file, progress=progress), await digest(file)

    async def compare() -> Comparison:
        async with open_log(settings) as log:
            return await rebuilding.compare(log, file, progress=progress)

    if verify:
        found = asyncio.run(compare())
        progress.end()
        return _verdict(found, output)
    done, sha256 = asyncio.run(build())
    progress.end()
    output.result(
        {"records": done.done, "seconds": done.seconds, "rate": done.rate, "digest": sha256},
        [
            f"rebuilt from {done.done} records in {done.seconds:.2f} s ({done.rate:,.0f}/s)",
            f"digest at {sha256.sequence}: {sha256.sha256}",
        ],
    )
    return OK


def _verdict(found: Comparison, output: Output) -> int:
    live, rebuilt = found
    words = (
        "equal: the read models are what the log says"
        if found.equal
        else "DIFFERENT: run pelton rebuild, and report how it came to this"
    )
    output.result(
        {"equal": found.equal, "live": live, "rebuilt": rebuilt},
        [
            f"in use  at {live.sequence}: {live.sha256}",
            f"rebuilt at {rebuilt.sequence}: {rebuilt.sha256}",
            words,
        ],
    )
    return OK if found.equal else FAILED


class Bar:
    """Shows progress and rate on standard error: on a terminal one line that changes."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._shown = -1
        self._open = False

    def __call__(self, progress: Progress) -> None:
        """Show how far it is, once for each per cent."""
        import sys

        percent = 100 * progress.done // max(progress.total, 1)
        if percent == self._shown or self._output.json:
            return
        self._shown = percent
        words = f"{progress.done:,} of {progress.total:,} records, {progress.rate:,.0f}/s"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{percent:3d} %  {words}\x1b[K")
            self._open = True
        elif percent % 10 == 0:
            sys.stderr.write(f"{percent:3d} %  {words}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        import sys

        if self._open:
            sys.stderr.write("\n")
