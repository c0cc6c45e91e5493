"""`pelton mcp`: tools over the Model Context Protocol, on standard input and output."""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed

URL: Final = "PELTON_MCP_URL"
TOKEN: Final = "PELTON_MCP_TOKEN"  # noqa: S105  the name of a variable

Bridge = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Bridge; default: that of pelton dev."),
]

app = typer.Typer(
    help="Tools over MCP, on standard input and output; PELTON_CLIENT_KEY is the credential.",
    no_args_is_help=True,
)


@app.command("turn")
def turn() -> None:
    """Serve an agent's process the tools of its turn, as its environment says."""
    url, token = os.environ.get(URL), os.environ.get(TOKEN, "")
    if not url:
        raise CommandFailed(f"{URL} is not set: this is for processes that pelton runs", "usage")
    _serve(url, token)


@app.command("agent")
def agent(
    name: Annotated[str, typer.Argument(help="The agent's name: that of its credential.")],
    *,
    url: Bridge = None,
    data: options.Data = None,
    config: options.Config = None,
) -> None:
    """Serve an agent outside its inbox, and what it does with its work."""
    from pelton.events.ids import check_agent

    _at_bridge(f"agents/{check_agent(name)}", url, data, config)


@app.command("operator")
def operator(
    *, url: Bridge = None, data: options.Data = None, config: options.Config = None
) -> None:
    """Serve an operator tasks, events and how they came to be."""
    _at_bridge("operator", url, data, config)


def _at_bridge(path: str, url: str | None, data: options.Data, config: options.Config) -> None:
    from pelton.adapters.cli.connect import bridge_url

    settings = options.settings(config, data=data)
    key = settings.client.key
    base = (url or bridge_url(settings)).rstrip("/")
    _serve(f"{base}/v1/mcp/{path}", key.reveal() if key is not None else "")


def _serve(url: str, credential: str) -> None:
    import asyncio

    try:
        from pelton.adapters.mcp.stdio import serve
    except ModuleNotFoundError as error:
        raise CommandFailed("this needs more: pip install 'pelton[mcp]'", "usage") from error
    asyncio.run(serve(url, {"Authorization": f"Bearer {credential}"} if credential else {}))
