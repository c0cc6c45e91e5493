"""Memories in the API: what there is, what it has said, where it came from, who was given it."""

from __future__ import annotations

from typing import Final

from pelton.adapters.a2a.tenants import Tenant
from pelton.adapters.api import memory_shapes, shapes
from pelton.adapters.api.route import Ask, Route, shown
from pelton.events.a2a import Message
from pelton.events.ids import check_agent, check_memory
from pelton.events.memories import Member, MemoryNotFound
from pelton.events.memory import MemoryScope
from pelton.events.principal import Scope
from pelton.projections.memories import Memories, MemoryEntry, MemoryQuery, VersionEntry, Why
from pelton.projections.pages import Page
from pelton.runtime import said
from pelton.runtime.bulk import readable
from pelton.runtime.clock import rfc3339


async def list_memories(ask: Ask) -> memory_shapes.MemoryList:
    """List memories, those first that fit the words best, or that have changed last."""
    query: memory_shapes.MemoryListQuery = ask.query
    account = ask.tenant.account
    await ask.tenant.lists.fresh()
    member = None
    if query.agent:
        member = Member.of(ask.tenant.agents.state(check_agent(query.agent)))
    page, unsearched = await _recalled(
        ask.tenant,
        MemoryQuery(
            now=rfc3339(account.log.now),
            text=query.query,
            member=member,
            scopes=(query.scope,) if query.scope else tuple(MemoryScope),
            owner=query.owner or None,
            namespace=query.namespace or None,
            order=query.order,
            hidden=query.hidden,
            limit=query.page_size,
            cursor=query.page_token,
        ),
    )
    return memory_shapes.MemoryList(
        items=tuple([await memory_view(ask.tenant, each) for each in page.items]),
        next_page_token=page.next,
        total_size=page.total,
        unsearched=unsearched,
    )


async def _recalled(tenant: Tenant, query: MemoryQuery) -> tuple[Page[MemoryEntry], int]:
    """Return what a query finds, and in how many sealed memories its words were not looked for.

    The read models keep these sealed; a copy in memory has them in plain, where the keys are.

    Raises:
        RecallUnavailable: the copy is not there in time.
        InvalidInput: the query or its page cannot be.
    """
    models, vault = tenant.account.models.memories, tenant.account.log.vault
    sealed, last = await models.sealed(query) if query.text else (0, 0)
    if sealed and vault is not None and vault.seals:
        return await tenant.recollection.recall(query, at_least=last), 0
    return await models.recall(query), sealed


async def get_memory(ask: Ask) -> memory_shapes.MemoryView:
    """Get a memory by its last version, whether or not it can be recalled."""
    found = await (await _models(ask)).memory(check_memory(ask.name))
    if found is None:
        raise MemoryNotFound("there is no such memory")
    return await memory_view(ask.tenant, found)


async def list_memory_versions(ask: Ask) -> memory_shapes.MemoryVersionList:
    """List the versions of a memory, the latest first."""
    query: shapes.Pages = ask.query
    page = await (await _models(ask)).versions(
        check_memory(ask.name), page_size=query.page_size, cursor=query.page_token
    )
    if not page.total:
        raise MemoryNotFound("there is no such memory")
    return memory_shapes.MemoryVersionList(
        items=tuple([await version_view(ask.tenant, each) for each in page.items]),
        next_page_token=page.next,
        total_size=page.total,
    )


async def list_memory_readers(ask: Ask) -> memory_shapes.MemoryReadList:
    """List the turns that were given a memory, the latest first."""
    query: shapes.Pages = ask.query
    models = await _models(ask)
    page = await models.readers(
        check_memory(ask.name), page_size=query.page_size, cursor=query.page_token
    )
    if not page.total and await models.memory(ask.name) is None:
        raise MemoryNotFound("there is no such memory")
    return memory_shapes.MemoryReadList(
        items=tuple(shown(memory_shapes.MemoryReadView, each) for each in page.items),
        next_page_token=page.next,
        total_size=page.total,
    )


async def why_memory(ask: Ask) -> memory_shapes.MemoryWhyView:
    """Get what a memory came from: its message, its sources, and what its turn was given."""
    why = await (await _models(ask)).why(check_memory(ask.name))
    if why is None:
        raise MemoryNotFound("there is no such memory")
    return await why_view(ask.tenant, why)


async def memory_view(tenant: Tenant, entry: MemoryEntry) -> memory_shapes.MemoryView:
    """Return a memory as it is shown, with what it says, if that can be read."""
    return shown(memory_shapes.MemoryView, await said.shown(tenant.account.log.vault, entry))


async def version_view(tenant: Tenant, entry: VersionEntry) -> memory_shapes.MemoryVersionView:
    """Return a version as it is shown, with what it says, if that can be read."""
    return shown(memory_shapes.MemoryVersionView, await said.shown(tenant.account.log.vault, entry))


async def why_view(tenant: Tenant, why: Why) -> memory_shapes.MemoryWhyView:
    """Return what a version came from as it is shown."""
    return memory_shapes.MemoryWhyView(
        version=await version_view(tenant, why.version),
        message=await message_of(tenant, why.version),
        sources=tuple([await version_view(tenant, each) for each in why.sources]),
        given=tuple(shown(memory_shapes.MemoryReadView, each) for each in why.given),
    )


async def _models(ask: Ask) -> Memories:
    await ask.tenant.lists.fresh()
    return ask.tenant.account.models.memories


async def message_of(tenant: Tenant, version: VersionEntry) -> Message | None:
    """Return the message that a version came from, if it is one's that is there."""
    cause, account = version.cause, tenant.account
    if not cause.message_id:
        return None
    entry = await account.models.task(cause.task_id, agent=cause.agent)
    for message in entry.task.history if entry else ():
        if message.message_id == cause.message_id:
            return await readable(account.log, message)
    return None


_INSPECT: Final = Scope.INSPECT

MEMORY_ROUTES: Final = (
    Route(
        *("listMemories", "memories", "", _INSPECT),
        *(memory_shapes.MemoryListQuery, memory_shapes.MemoryList, list_memories),
    ),
    Route(
        *("getMemory", "memories", "memory", _INSPECT),
        *(shapes.Nothing, memory_shapes.MemoryView, get_memory),
    ),
    Route(
        *("listMemoryVersions", "memories", "memory", _INSPECT),
        *(shapes.Pages, memory_shapes.MemoryVersionList, list_memory_versions),
        tail="versions",
    ),
    Route(
        *("listMemoryReaders", "memories", "memory", _INSPECT),
        *(shapes.Pages, memory_shapes.MemoryReadList, list_memory_readers),
        tail="readers",
    ),
    Route(
        *("whyMemory", "memories", "memory", _INSPECT),
        *(shapes.Nothing, memory_shapes.MemoryWhyView, why_memory),
        tail="why",
    ),
)
"""The routes of memories; each takes GET and HEAD."""
