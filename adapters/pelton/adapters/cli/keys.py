"""`pelton keys`: the API keys of a tenant, which are events of its log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import Output, columns

if TYPE_CHECKING:
    from pelton.runtime.access import KeyChanges

T = TypeVar("T")

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as list shows it.")]
Days = Annotated[int, typer.Option("--days", min=1, max=3650, help="Days until it expires.")]


def create(
    principal: Annotated[str, typer.Argument(help="Whose key it is: the owner of its tasks.")],
    *,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="client, agent, approver or operator."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="Only this of what the roles may do."),
    ] = None,
    days: Days = 90,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Make an API key and print it, once: it is kept nowhere."""
    from datetime import timedelta

    from pelton.events.envelope import digest

    key_id, secret = _random()

    async def run(changes: KeyChanges) -> None:
        await changes.create(
            principal,
            role or ["client"],
            scope or [],
            key_id=key_id,
            hash=digest(secret.encode()),
            lasts=timedelta(days=days),
        )

    _run(run, config, data, nats)
    _print(key_id, secret, json=json)


def rotate(
    key: KeyId,
    *,
    overlap: Annotated[
        float,
        typer.Option("--overlap", min=0, help="Hours for which the secret before is good too."),
    ] = 24.0,
    days: Days = 90,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Give a key a new secret and print it; the one before stays good for a while."""
    from datetime import timedelta

    from pelton.events.envelope import digest

    _, secret = _random()

    async def run(changes: KeyChanges) -> None:
        await changes.rotate(
            key,
            hash=digest(secret.encode()),
            lasts=timedelta(days=days),
            overlap=timedelta(hours=overlap),
        )

    _run(run, config, data, nats)
    _print(key, secret, json=json)


def revoke(
    key: KeyId,
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """End a key, at once and at every bridge."""

    async def run(changes: KeyChanges) -> None:
        await changes.revoke(key)

    _run(run, config, data, nats)
    Output(json=json).result({"id": key, "revoked": True}, [f"{key} is good no longer"])


def list_(
    *,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """List the keys of the tenant, without their secrets."""
    from pelton.runtime.clock import RealWorld, rfc3339

    async def run(changes: KeyChanges) -> Any:
        return await changes.list()

    now = rfc3339(RealWorld().now())
    found = _run(run, config, data, nats)
    rows: list[list[str]] = []
    values: list[dict[str, Any]] = []
    for key in found:
        state = "revoked" if key.revoked else "expired" if key.expires <= now else "good"
        scopes = key.scopes or sorted(key.holder("").scopes)
        rows.append([key.id, key.principal, ",".join(key.roles), state, key.expires])
        values.append(
            {
                "id": key.id,
                "principal": key.principal,
                "roles": key.roles,
                "scopes": scopes,
                "state": state,
                "created": key.created,
                "expires": key.expires,
            }
        )
    heads = ["KEY", "PRINCIPAL", "ROLES", "STATE", "EXPIRES"]
    lines = columns([heads, *rows]) if rows else ["no keys yet: pelton keys create makes one"]
    Output(json=json).result({"keys": values}, lines)


app = typer.Typer(
    help="Make, list, rotate and revoke the API keys of a tenant.", no_args_is_help=True
)
app.command("create")(create)
app.command("list")(list_)
app.command("rotate")(rotate)
app.command("revoke")(revoke)


def _random() -> tuple[str, str]:
    """Return a new id and a secret with 256 bits of chance."""
    import secrets

    return secrets.token_hex(8), secrets.token_urlsafe(32)


def _print(key_id: str, secret: str, *, json: bool) -> None:
    from pelton.events.keys import spell

    output = Output(json=json)
    key = spell(key_id, secret)
    output.result({"id": key_id, "key": key}, [key])
    output.note("It is not shown again. Send it as X-API-Key, or as Authorization: Bearer.")


def _run(
    work: Callable[[KeyChanges], Awaitable[T]],
    config: Any,
    data: str | None,
    nats: str | None,
) -> T:
    from pelton.adapters.cli.connect import on_log
    from pelton.runtime.access import KeyChanges
    from pelton.runtime.clock import RealWorld

    settings = options.settings(config, data=data, nats__url=nats)
    tenant = settings.nats.tenant
    return on_log(
        settings, lambda log: work(KeyChanges(log, world=RealWorld(), tenant=tenant, actor="cli"))
    )
