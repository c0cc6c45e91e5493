"""Two tenants on one bridge, and people of both with their keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from pelton.adapters.a2a.tenants import Account
from pelton.adapters.identity.authenticator import Admission
from pelton.events.envelope import digest
from pelton.events.events import FailureClass
from pelton.events.ids import derive
from pelton.events.keys import spell
from pelton.projections.read import open_read_models
from pelton.projections.store import open_store
from pelton.runtime.access import KeyChanges
from pelton.runtime.agents import agent
from pelton.runtime.failures import AgentError
from pelton.runtime.log import Log
from pelton.runtime.projector import Projector
from pelton.runtime.turn import Turn
from tests.adapters.a2a.world import HEADERS, WORLD, executing, served

KEYS: Final = Admission(keys=True, anyone=None)
ACME: Final = "acme"
GLOBEX: Final = "globex"


@agent
async def echo(turn: Turn) -> str | None:
    """Say it again, or ask: its owner, or somebody by name."""
    match turn.text.split():
        case ["ask"]:
            await turn.require_input("what?")
            return None
        case ["ask", name]:
            await turn.approve("May I?", approvers=(name,))
            return "done"
        case ["fail"]:
            raise AgentError("It is broken.", kind=FailureClass.VALIDATION) from OSError("canary")
        case _:
            return turn.text


def key_id(name: str) -> str:
    """Return the id of somebody's key."""
    return derive("key", name)[:16]


def secret(name: str) -> str:
    """Return the secret of somebody's key."""
    return (derive("secret", name) * 2)[:43]


def key(name: str) -> dict[str, str]:
    """Return the header with somebody's key."""
    return {"X-API-Key": spell(key_id(name), secret(name))}


async def give_key(
    log: Log,
    name: str,
    tenant: str,
    *roles: str,
    scopes: tuple[str, ...] = (),
    lasts: timedelta = timedelta(days=1),
) -> None:
    """Make somebody's key."""
    await KeyChanges(log, world=WORLD, tenant=tenant, actor="cli").create(
        name,
        roles or ("client",),
        scopes,
        key_id=key_id(name),
        hash=digest(secret(name).encode()),
        lasts=lasts,
    )


@dataclass
class Town:
    """A bridge with two tenants."""

    url: str
    client: httpx.AsyncClient
    logs: Mapping[str, Log]

    async def ask(self, verb: str, path: str, who: str = "", **options: Any) -> httpx.Response:
        """Ask something as somebody, or as nobody."""
        headers = HEADERS | (key(who) if who else {}) | options.pop("headers", {})
        return await self.client.request(verb, self.url + path, headers=headers, **options)

    async def rpc(
        self, method: str, who: str, path: str = "/echo", **params: Any
    ) -> dict[str, Any]:
        """Return the answer to a JSON-RPC request."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer: dict[str, Any] = (await self.ask("POST", path, who, json=body)).json()
        return answer

    async def send(self, who: str, text: str = "hello", **members: Any) -> dict[str, Any]:
        """Send a message and return its task."""
        said = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}], **members}
        answer = await self.rpc("SendMessage", who, message=said)
        assert "result" in answer, answer
        task: dict[str, Any] = answer["result"]["task"]
        return task


PEOPLE: Final = {
    "anna": (ACME, ("client",)),
    "bert": (ACME, ("client",)),
    "robot": (ACME, ("agent",)),
    "olga": (ACME, ("operator",)),
    "paul": (ACME, ("approver",)),
    "carl": (GLOBEX, ("client",)),
    "otto": (GLOBEX, ("operator",)),
}


@asynccontextmanager
async def town(
    logs: Mapping[str, Log], data: Path, admission: Admission = KEYS, **options: Any
) -> AsyncGenerator[Town]:
    """Serve two tenants, with the agent `echo` in both."""
    for name, (tenant, roles) in PEOPLE.items():
        await give_key(logs[tenant], name, tenant, *roles)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        store = await enter(open_store(data / "globex.db"))
        models = await enter(open_read_models(data / "globex.db"))
        await enter(_projecting(Projector(logs[GLOBEX], store, world=WORLD)))
        for tenant in (ACME, GLOBEX):
            await enter(executing(logs[tenant], echo, tenant=tenant))
        url = await enter(
            served(
                logs[ACME],
                data,
                tenant=ACME,
                more=[Account(GLOBEX, logs[GLOBEX], models, {"globex.example": ""})],
                admission=admission,
                **options,
            )
        )
        yield Town(url, await enter(httpx.AsyncClient(timeout=30)), logs)


@asynccontextmanager
async def _projecting(projector: Projector) -> AsyncGenerator[None]:
    running = asyncio.create_task(projector.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait((running,))
