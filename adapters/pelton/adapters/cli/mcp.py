"""`pelton mcp`: tools over the Model Context Protocol, on standard input and output."""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer

from pelton.adapters.cli.output import CommandFailed

URL: Final = "PELTON_MCP_URL"
TOKEN: Final = "PELTON_MCP_TOKEN"  # noqa: S105  the name of a variable

Bridge = Annotated[str, typer.Option("--url", metavar="URL", help="Where the bridge is.")]

app = typer.Typer(
    help="Tools over MCP on standard input and output; PELTON_MCP_TOKEN is the credential.",
    no_args_is_help=True,
)


@app.command("turn")
def turn() -> None:
    """Serve an agent's process the tools of its turn, as its environment says."""
    url = os.environ.get(URL)
    if not url:
        raise CommandFailed(f"{URL} is not set: this is for processes that pelton runs", "usage")
    _serve(url)


@app.command("agent")
def agent(
    name: Annotated[str, typer.Argument(help="The agent's name: that of its credential.")],
    *,
    url: Bridge = "http://127.0.0.1:8000",
) -> None:
    """Serve an agent outside its inbox, and what it does with its work."""
    from pelton.events.ids import check_agent

    _serve(f"{url.rstrip('/')}/v1/mcp/agents/{check_agent(name)}")


@app.command("operator")
def operator(*, url: Bridge = "http://127.0.0.1:8000") -> None:
    """Serve an operator tasks, events and how they came to be."""
    _serve(f"{url.rstrip('/')}/v1/mcp/operator")


def _serve(url: str) -> None:
    import asyncio

    try:
        from pelton.adapters.mcp.stdio import serve
    except ModuleNotFoundError as error:
        raise CommandFailed("this needs more: pip install 'pelton[mcp]'", "usage") from error
    token = os.environ.get(TOKEN)
    asyncio.run(serve(url, {"Authorization": f"Bearer {token}"} if token else {}))
