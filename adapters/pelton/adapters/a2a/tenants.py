"""The tenants of a bridge: each a NATS account, with its own log, agents and read models (S4, S5).

Which tenant a request may touch follows from its credential alone. A host or a path names a tenant
only for cards, which need none, and to be refused where it is another than the credential's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pelton.adapters.a2a.agents import Agents
from pelton.adapters.a2a.engine import Engine
from pelton.adapters.a2a.guard import name_of
from pelton.adapters.a2a.jsonrpc import JsonRpc
from pelton.adapters.a2a.lists import TaskLists
from pelton.adapters.a2a.rest import Rest
from pelton.adapters.identity.limits import Limits
from pelton.events.errors import UnknownAgent
from pelton.projections.folds import Folds
from pelton.projections.read import ReadModels
from pelton.runtime.access import Keyring
from pelton.runtime.log import Log
from pelton.runtime.provenance import Taints
from pelton.runtime.recollection import Recollection


class Account(NamedTuple):
    """What a tenant is served from.

    `hosts` are names under which it alone is reached, and the agents that they serve at their root,
    or nothing. `folds` are those of long contexts, if they are kept.
    """

    name: str
    log: Log
    models: ReadModels
    hosts: Mapping[str, str] = {}
    folds: Folds | None = None


class Tenant(NamedTuple):
    """A tenant as a bridge serves it."""

    account: Account
    agents: Agents
    engine: Engine
    keyring: Keyring
    limits: Limits
    lists: TaskLists
    recollection: Recollection
    taints: Taints
    rest: Rest
    rpc: JsonRpc

    @property
    def name(self) -> str:
        """Its name, which principals bear."""
        return self.account.name


class Route(NamedTuple):
    """Where a request leads: to a tenant, if it names one.

    `prefix` is what URLs have of the tenant; `is_host` says that its host has it. `agent` is the
    one that the host serves at its root, if it does.
    """

    tenant: Tenant | None
    path: list[str]
    prefix: str = ""
    is_host: bool = False
    agent: str = ""


class Tenants:
    """Finds the tenant that a host or a path names. The only tenant need not be named."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self._by_name = {tenant.name: tenant for tenant in tenants}
        self._only = next(iter(self._by_name.values())) if len(self._by_name) == 1 else None
        self._by_host = {
            host.lower(): (tenant, agent)
            for tenant in self
            for host, agent in tenant.account.hosts.items()
        }

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def route(self, host: bytes, path: list[str]) -> Route:
        """Return where a request leads, by its Host header and its path.

        A first segment that is a tenant's name is taken off.
        """
        if (found := self._by_host.get(name_of(host))) is not None:
            return Route(found[0], path, is_host=True, agent=found[1])
        if self._only is not None:
            return Route(self._only, path)
        if path and (tenant := self._by_name.get(path[0])) is not None:
            return Route(tenant, path[1:] or [""], f"/{tenant.name}")
        return Route(None, path)

    def home(self, tenant: Tenant) -> Route:
        """Return where a tenant is found by whoever asks for no path, as gRPC has it."""
        return Route(tenant, [], "" if self._only is not None else f"/{tenant.name}")

    def of(self, name: str, route: Route) -> Tenant:
        """Return the tenant of a principal.

        Raises:
            UnknownAgent: the request names another one, which looks like one that is not there.
        """
        tenant = self._by_name.get(name)
        if tenant is None or route.tenant not in (None, tenant):
            raise UnknownAgent("no agent is served under this path")
        return tenant
