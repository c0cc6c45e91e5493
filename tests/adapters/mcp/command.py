"""A command line agent that has tools: it hands what it is told to another agent, over stdio."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mcp import Client
from mcp.client.stdio import StdioServerParameters

PELTON = str(Path(sys.executable).with_name("pelton"))


async def main() -> None:
    """Delegate, and print what came of it."""
    given = {name: value for name, value in os.environ.items() if name.startswith("PELTON_MCP_")}
    server = StdioServerParameters(command=PELTON, args=["mcp", "turn"], env=given)
    async with Client(server) as client:
        found = await client.call_tool("delegate_task", {"agent": "echo", "text": sys.argv[1]})
    print(found.structured_content["text"].splitlines()[-1])


if __name__ == "__main__":
    asyncio.run(main())
