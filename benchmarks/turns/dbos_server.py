"""The task of three steps as a workflow of DBOS on SQLite, behind HTTP: `… DATABASE PORT`.

It runs in an environment of its own: DBOS as it comes, and uvicorn as pelton's bridge has it.
"""

# pyright: basic, reportMissingImports=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvicorn
from dbos import DBOS  # type: ignore[import-not-found]

from benchmarks.turns.steps import NUMBERS, step

DBOS(
    config={
        "name": "bench",
        "system_database_url": f"sqlite:///{sys.argv[1]}",
        "log_level": "ERROR",
    }
)


@DBOS.step()  # type: ignore[untyped-decorator]
async def one(number: int, text: str) -> str:
    return await step(number, text)


@DBOS.workflow()  # type: ignore[untyped-decorator]
async def three(text: str) -> str:
    for number in NUMBERS:
        text = await one(number, text)
    return text


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = (await receive())["body"]
    handle = await DBOS.start_workflow_async(three, json.loads(body or b'""'))
    answer = json.dumps(await handle.get_result()).encode()
    length = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": answer})


async def main() -> None:
    DBOS.launch()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
