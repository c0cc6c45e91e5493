"""Where a bridge serves tools: `/v1/mcp/agents/NAME` for agents outside, `/v1/mcp/operator`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from pelton.adapters.a2a.errors import PathNotFound, ScopeMissing
from pelton.adapters.a2a.guard import read_body
from pelton.adapters.a2a.sse import Reply
from pelton.adapters.a2a.tenants import Tenant
from pelton.adapters.api.route import Knock
from pelton.adapters.mcp import agents, operators, protocol
from pelton.adapters.mcp.guests import Guests
from pelton.adapters.mcp.tool import Tool
from pelton.events.errors import NotAuthorised
from pelton.events.ids import check_agent
from pelton.events.principal import Principal, Role, Scope, holder
from pelton.runtime.clock import World
from pelton.runtime.settings import SettingsError

SERVERS: Final = ("agents", "operator")
"""What may be served, by the names that settings have for it."""

Call = Callable[[Tool, Any], Awaitable[msgspec.Struct]]


class Door:
    """Lets those in who may have the tools of a server.

    `code` are references to agents whose code is here, for operators to run again.
    """

    def __init__(self, servers: Sequence[str], *, code: Sequence[str] = (), world: World) -> None:
        for each in servers:
            if each not in SERVERS:
                raise SettingsError(f"bridge.mcp: {each!r} is none: use {', '.join(SERVERS)}")
        self._servers = frozenset(servers)
        self._code, self._world = code, world
        self._guests: dict[str, Guests] = {}

    def guests(self, tenant: Tenant) -> Guests | None:
        """Return the agents outside of a tenant, if they are served; whoever calls keeps them."""
        if "agents" not in self._servers:
            return None
        found = Guests(tenant.account.log, world=self._world, tenant=tenant.name)
        self._guests[tenant.name] = found
        return found

    async def answer(self, tenant: Tenant, principal: Principal, knock: Knock) -> Reply | None:
        """Return the answer to a request for a path below `/v1/mcp`; None if its client has gone.

        Raises:
            PeltonError: there is none.
        """
        match knock.path:
            case ["operator"] if "operator" in self._servers:
                if not principal.may(Scope.INSPECT):
                    raise ScopeMissing(Scope.INSPECT)
                desk = operators.Desk(
                    *(tenant, principal, knock.base, self._code),
                    *(knock.correlation, self._world),
                )
                tools, title, says = operators.tools(principal), "Operator", operators.INSTRUCTIONS
                call: Call = partial(operators.call, desk)
            case ["agents", name] if "agents" in self._servers:
                caller = agents.Caller(
                    *(tenant, _named(principal, name), name),
                    *(self._guests[tenant.name], knock.correlation),
                )
                tools, title, says = agents.TOOLS, f"Agent {name}", agents.INSTRUCTIONS
                call = partial(agents.call, caller)
            case _:
                raise PathNotFound("nothing is served under this path")
        protocol.check(knock.method, knock.headers)
        body = await read_body(knock.receive, knock.headers)
        if body is None:
            return None
        served = protocol.server(
            tools, call, title=title, instructions=says, correlation=knock.correlation
        )
        return await protocol.over_http(served, knock.headers, body)


def _named(principal: Principal, name: str) -> Principal:
    """Return who an agent is that says its name: by its credential (AS-4).

    Where nobody needs one, it is that agent as if it had one: what it sends bears its name.

    Raises:
        InvalidInput: no agent can be called that.
        NotAuthorised: somebody else is.
        ScopeMissing: it may not ask for anything.
    """
    check_agent(name)
    if not principal.may(Scope.WRITE):
        raise ScopeMissing(Scope.WRITE)
    if not principal.known and principal.may(Scope.ADMINISTER):
        return holder(name, principal.tenant, (Role.AGENT,), ())
    if principal.id != name or Role.AGENT not in principal.roles:
        raise NotAuthorised("this needs the credential of that agent")
    return principal
