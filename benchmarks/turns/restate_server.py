"""The task of three steps as a handler of Restate's Python SDK: `… PORT`."""

# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import sys

import hypercorn.asyncio  # type: ignore[import-not-found]
import hypercorn.config  # type: ignore[import-not-found]
import restate  # type: ignore[import-not-found]

from benchmarks.turns.steps import NUMBERS, step

service = restate.Service("three")


@service.handler()  # type: ignore[untyped-decorator]
async def run(ctx: restate.Context, text: str) -> str:
    for number in NUMBERS:
        text = await ctx.run_typed(f"step-{number}", step, number=number, text=text)
    return text


if __name__ == "__main__":
    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.loglevel = "ERROR"
    asyncio.run(hypercorn.asyncio.serve(restate.app([service]), config))
