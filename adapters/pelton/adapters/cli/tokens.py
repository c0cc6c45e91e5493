"""`pelton tokens`: the built-in issuer's keys, and the families of tokens of a tenant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import CommandFailed, Output, columns

if TYPE_CHECKING:
    from pelton.runtime.families import Families

T = TypeVar("T")


def key(
    file: Annotated[
        Path | None, typer.Argument(help="The file; default auth.signing_keys of the settings.")
    ] = None,
    *,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Make the file with the built-in issuer's keys, or add one: it signs in two minutes."""
    from pelton.adapters.identity.signing import new_key
    from pelton.runtime.clock import RealWorld

    named = str(file or options.settings(config, data=data).auth.signing_keys)
    if not named:
        raise CommandFailed("name the file, or set auth.signing_keys", "usage")
    try:
        kid = new_key(Path(named), world=RealWorld())
    except ValueError as error:
        raise CommandFailed(f"{named!r} is no file with signing keys", "usage") from error
    Output(json=json).result({"kid": kid, "file": named}, [f"{kid} is in {named}"])


def create(
    principal: Annotated[str, typer.Argument(help="Whose tokens: the owner of its tasks.")],
    *,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="client, agent, approver or operator."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="Only this of what the roles may do."),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=1, max=3650, help="Days until the family expires.")
    ] = 30,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Begin a family of tokens and print its first refresh token, once."""
    import secrets
    from datetime import timedelta

    from pelton.events.envelope import digest
    from pelton.events.families import spell

    family, secret = secrets.token_hex(16), secrets.token_urlsafe(32)

    async def run(families: Families) -> None:
        await families.grant(
            principal,
            role or ["client"],
            scope or [],
            family=family,
            hash=digest(secret.encode()),
            lasts=timedelta(days=days),
        )

    _run(run, config, data, nats)
    token = spell(family, secret)
    output = Output(json=json)
    output.result({"family": family, "refresh_token": token}, [token])
    output.note("It is good once: post it to /oauth/token with grant_type=refresh_token.")


def list_(
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List the families of tokens of the tenant."""
    from pelton.runtime.clock import RealWorld, rfc3339

    async def run(families: Families) -> Any:
        return await families.list(), await families.revoked()

    found, revoked = _run(run, config, data, nats)
    now = rfc3339(RealWorld().now())
    rows: list[list[str]] = []
    values: list[dict[str, Any]] = []
    for each in found:
        state = "revoked" if each.id in revoked else "expired" if each.expires <= now else "good"
        rows.append([each.id, each.principal, ",".join(each.roles), state, each.expires])
        values.append(
            {
                "family": each.id,
                "principal": each.principal,
                "roles": each.roles,
                "scopes": each.scopes,
                "state": state,
                "created": each.created,
                "expires": each.expires,
            }
        )
    heads = ["FAMILY", "PRINCIPAL", "ROLES", "STATE", "EXPIRES"]
    lines = columns([heads, *rows]) if rows else ["no tokens yet: pelton tokens create makes some"]
    Output(json=json).result({"families": values}, lines)


def revoke(
    family: Annotated[str, typer.Argument(help="The family, as list shows it.")],
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """End a family of tokens, at once and at every bridge."""

    async def run(families: Families) -> None:
        await families.revoke(family)

    _run(run, config, data, nats)
    Output(json=json).result({"family": family, "revoked": True}, [f"{family} is good no longer"])


app = typer.Typer(
    help="Tokens of the built-in issuer, and what it signs them with.", no_args_is_help=True
)
app.command("key")(key)
app.command("create")(create)
app.command("list")(list_)
app.command("revoke")(revoke)


def _run(
    work: Callable[[Families], Awaitable[T]],
    config: Any,
    data: str | None,
    nats: str | None,
) -> T:
    from pelton.adapters.cli.connect import on_log
    from pelton.runtime.clock import RealWorld
    from pelton.runtime.families import Families

    settings = options.settings(config, data=data, nats__url=nats)
    tenant = settings.nats.tenant
    return on_log(
        settings, lambda log: work(Families(log, world=RealWorld(), tenant=tenant, actor="cli"))
    )
