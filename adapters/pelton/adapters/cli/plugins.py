"""`pelton plugins`: what agents go by, and whether plugins are those that were pinned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns

if TYPE_CHECKING:
    from pelton.runtime.equipment_settings import EquipmentSettings
    from pelton.runtime.outfit import Outfit
    from pelton.runtime.settings import Settings

app = typer.Typer(
    help="Plugins: which there are, and whether they are those that were pinned.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def plugins() -> None:
    """Plugins: which there are, and whether they are those that were pinned."""


@app.command("list")
def list_(
    *,
    agent: Annotated[
        str, typer.Option("--agent", metavar="NAME", help="What this agent goes by, too.")
    ] = "",
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List what agents go by: plugins, hooks in their order, policies, skills."""
    settings = options.settings(config, data=data)
    found = outfit_of(settings, agent)
    rows = [[e.kind.value, e.name, e.version or "-", e.digest[:12] or "-"] for e in found.equipment]
    asked = [
        [str(each.settings.order), each.name, ", ".join(each.settings.points)]
        for each in found.hooks
    ]
    lines = columns([["KIND", "NAME", "VERSION", "DIGEST"], *rows]) if rows else ["nothing loaded"]
    if asked:
        lines = [*lines, "", *columns([["ORDER", "HOOK", "POINTS"], *asked])]
    result: dict[str, Any] = {"equipment": found.equipment, "hooks": asked}
    Output(json=json).result(result, lines)


@app.command("verify")
def verify(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="A plugin; without, those of the settings."),
    ] = None,
    *,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Tell the digest of a plugin and what it asks for, or whether those of the settings load."""
    from pelton.runtime.plugin import digest_of, manifest_of

    if folder is None:
        found = outfit_of(options.settings(config, data=data), "")
        Output(json=json).result({"equipment": found.equipment}, ["all plugins are as pinned"])
        return
    manifest, digest = manifest_of(folder), digest_of(folder)
    hooks = {name: list(given.points) for name, given in manifest.hooks.items()}
    result = {
        "name": manifest.name,
        "version": manifest.version,
        "digest": digest,
        "permissions": manifest.permissions,
        "hooks": hooks,
        "skills": manifest.skills,
    }
    lines = [
        f"[plugins.{manifest.name}]  # {manifest.version}: {manifest.description}",
        f'path = "{folder}"',
        f'digest = "{digest}"',
        f"grants = [{', '.join(repr(each) for each in manifest.permissions)}]".replace("'", '"'),
    ]
    Output(json=json).result(result, lines)


def outfit_of(settings: Settings, agent: str) -> Outfit:
    """Return what agents go by, or one of them.

    Raises:
        PeltonError: it cannot be loaded.
        CommandFailed: nothing is said of such an agent.
    """
    from pelton.adapters.cli.startup import release_rich
    from pelton.runtime.outfitter import STORE, outfit

    release_rich()  # what reads CEL has a terminal of its own, which wants it
    own = single(settings)
    if agent and agent not in own:
        raise CommandFailed(f"the settings say nothing of the agent {agent!r}", "usage")
    return outfit([settings.equipment, *own.get(agent, ())], settings.directory / STORE)


def single(settings: Settings) -> dict[str, list[EquipmentSettings]]:
    """Return what single agents go by, by name: as the settings say it, then as their files do.

    Those of a running `pelton dev` are among them.
    """
    from pelton.adapters.cli.agent_files import reach
    from pelton.adapters.cli.stack import running
    from pelton.runtime import agent_file

    found = {name: [own] for name, own in settings.agents.items()}
    dev = running(settings.directory)
    there = (*settings.executor.agents, *(dev.agents if dev is not None else ()))
    for reference in dict.fromkeys(there):
        if agent_file.is_agent_file(reference):
            described = agent_file.load(Path(reference))
            reach(described)  # for hooks
            found.setdefault(described.says.name, []).append(described.equipment)
    return found
