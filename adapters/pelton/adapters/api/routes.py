"""The API: its routes as a table, and what answers them (AS-29, AS-30).

The table is what requests are matched with, what the OpenAPI document is made of, and what tests go
through. All of it is read-only. Lists come in pages, in an order that is total and stable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

from pelton.adapters.a2a.asked import ASKED
from pelton.adapters.a2a.errors import (
    MethodNotAllowed,
    PathNotFound,
    PushNotificationNotSupported,
    ScopeMissing,
)
from pelton.adapters.a2a.requests import HttpRequest, violation
from pelton.adapters.a2a.tenants import Tenant
from pelton.adapters.api import shapes
from pelton.adapters.api.memories import MEMORY_ROUTES
from pelton.adapters.api.route import Ask, RecordNotFound, Route, sequence_of, shown
from pelton.adapters.api.taint import TAINT_ROUTES
from pelton.events.a2a import JsonObject
from pelton.events.agent import Trouble
from pelton.events.errors import InvalidInput, TaskNotFound, UnknownAgent
from pelton.events.ids import check_agent
from pelton.events.presence import AgentStatus
from pelton.events.principal import Principal, Scope
from pelton.projections.cursors import read_cursor, write_cursor
from pelton.projections.read import TaskEntry
from pelton.runtime.audit import Wanted, audit
from pelton.runtime.bulk import inline_task, readable
from pelton.runtime.clock import rfc3339
from pelton.runtime.log import Record

ROOT: Final = "v1"
"""The first segment of all paths; another version of the API would have another one."""
TOOLS: Final = "mcp"
"""The segment below it under which tools are served (`adapters.mcp`)."""
CALLBACK: Final = ("POST", ROOT, "callbacks")
"""How requests begin that are answers which come later (`callbacks`)."""

_SAID: Final = 400
"""So many characters are listed of what a conversation began with."""

Q = TypeVar("Q", bound=shapes.Query)

READ, INSPECT = Scope.READ, Scope.INSPECT


async def list_agents(ask: Ask) -> shapes.AgentList:
    """List the agents, by name; operators see those too that could not be started."""
    query: shapes.Pages = ask.query
    [after] = read_cursor(query.page_token, ("agents",), 1) if query.page_token else ("",)
    names = [each.profile.name for each in ask.tenant.agents]
    if ask.principal.may(INSPECT):
        names = sorted({*names, *ask.tenant.agents.failing})
    left = [name for name in names if name > after]
    shown = left[: query.page_size]
    return shapes.AgentList(
        items=tuple(_agent(ask, name) for name in shown),
        next_page_token=_next(left, shown, ("agents",), lambda name: name),
        total_size=len(names),
    )


async def get_agent(ask: Ask) -> shapes.AgentView:
    """Get an agent."""
    return _agent(ask, ask.name)


def _agent(ask: Ask, name: str) -> shapes.AgentView:
    state, operator = ask.tenant.agents.state(name), ask.principal.may(INSPECT)
    gone = state.status is AgentStatus.REMOVED
    if (state.profile is None or gone) and (not operator or state.trouble is None):
        raise UnknownAgent("there is no such agent")
    return shapes.AgentView(
        name=name,
        profile=None if gone else state.profile,
        url=ask.url(name),
        status=state.status,
        since=state.since,
        last_error=_trouble(state.trouble, operator=operator) if state.trouble else None,
    )


def _trouble(trouble: Trouble, *, operator: bool) -> shapes.AgentTrouble:
    event = trouble.event
    return shapes.AgentTrouble(
        at=trouble.at,
        stage=event.stage,
        kind=event.kind,
        detail=event.detail if operator else "",
    )


async def list_tasks(ask: Ask) -> shapes.TaskList:
    """List tasks, the latest status first: one's own, or all for those who reach them."""
    query: shapes.TaskQuery = ask.query
    await ask.tenant.lists.fresh()
    page = await ask.tenant.account.models.tasks(
        query.agent or None,
        owner=ask.principal.owner,
        context_id=query.context_id or None,
        state=query.state,
        page_size=query.page_size,
        cursor=query.page_token,
    )
    return shapes.TaskList(
        items=tuple([await _task(ask, entry) for entry in page.items]),
        next_page_token=page.next,
        total_size=page.total,
    )


async def get_task(ask: Ask) -> shapes.TaskView:
    """Get a task with its artifacts, and as many of its messages as are asked for."""
    query: shapes.OneTask = ask.query
    await ask.tenant.lists.fresh()
    entry = await ask.tenant.account.models.task(
        ask.name, owner=ask.principal.owner, history=query.history_length
    )
    if entry is None:
        raise TaskNotFound("there is no such task")
    return await _task(ask, entry)


async def _task(ask: Ask, entry: TaskEntry) -> shapes.TaskView:
    return shapes.TaskView(
        agent=entry.agent,
        owner=entry.owner,
        task=await inline_task(ask.tenant.account.log, entry.task),
        sequence=entry.sequence,
        turns=entry.turns,
        pending=entry.pending,
    )


async def list_sessions(ask: Ask) -> shapes.SessionList:
    """List conversations, the latest record first."""
    query: shapes.SessionQuery = ask.query
    await ask.tenant.lists.fresh()
    page = await ask.tenant.account.models.conversations.page(
        query.agent,
        find=query.find,
        handed_on=query.handed_on,
        page_size=query.page_size,
        cursor=query.page_token,
    )
    return shapes.SessionList(
        items=tuple(shown(shapes.SessionView, each, text=each.text[:_SAID]) for each in page.items),
        next_page_token=page.next,
        total_size=page.total,
    )


async def get_push(ask: Ask) -> shapes.PushView:
    """Get where a task's updates are posted to, and how far each receiver is."""
    await ask.tenant.lists.fresh()
    entry = await ask.tenant.account.models.task(ask.name, owner=ask.principal.owner)
    if entry is None:
        raise TaskNotFound("there is no such task")
    if ask.tenant.engine.push is None:
        raise PushNotificationNotSupported("no push notifications are sent")
    found = await ask.tenant.engine.push.standing(entry.agent, entry.task.id)
    return shapes.PushView(
        agent=entry.agent,
        configs=tuple(
            shapes.PushConfigView(
                id=push.id,
                receiver=push.origin,
                created_by=push.creator,
                since=push.since,
                position=push.position,
                standing=push.standing,
                attempts=push.attempt,
                reason=push.reason,
                retry=push.retry,
            )
            for push in found.configs.values()
        ),
    )


async def list_events(ask: Ask) -> shapes.EventList:
    """List the records of the log, commands and commits, in their order."""
    query: shapes.OfAgent = ask.query
    asked = ("events", query.agent)
    after = 0
    if query.page_token:
        after = sequence_of(read_cursor(query.page_token, asked, 1)[0])
    pattern = f"*.{check_agent(query.agent)}.*" if query.agent else ">"
    found: list[Record] = []
    async with aclosing(ask.tenant.account.log.scan(after=after, pattern=pattern)) as batches:
        async for batch in batches:
            found += batch
            if len(found) > query.page_size:
                break
    shown = found[: query.page_size]
    return shapes.EventList(
        items=tuple(event_view(record) for record in shown),
        next_page_token=_next(found, shown, asked, lambda record: str(record.sequence)),
    )


async def get_event(ask: Ask) -> shapes.EventView:
    """Get a record of the log by its sequence."""
    record = await ask.tenant.account.log.at(sequence_of(ask.name))
    if record is None:
        raise RecordNotFound("there is no record of that sequence")
    return event_view(record)


def event_view(record: Record) -> shapes.EventView:
    """Return a record of the log as the API shows it."""
    content: JsonObject | None
    try:
        content = msgspec.json.decode(record.data, type=JsonObject)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    return shapes.EventView(
        sequence=record.sequence,
        subject=record.subject,
        received=rfc3339(record.received),
        record=content,
    )


async def list_inbox(ask: Ask) -> shapes.Inbox:
    """List what one is asked, the oldest first: all questions, for those who reach all tasks."""
    query: shapes.OfAgent = ask.query
    account = ask.tenant.account
    await ask.tenant.lists.fresh()
    page = await account.models.ledgers.inbox(
        query.agent or None,
        person=ask.principal.owner,
        page_size=query.page_size,
        cursor=query.page_token,
    )
    return shapes.Inbox(
        items=tuple(
            [
                shown(shapes.QuestionView, each, message=await readable(account.log, each.message))
                if each.message
                else shown(shapes.QuestionView, each)
                for each in page.items
            ]
        ),
        next_page_token=page.next,
        total_size=page.total,
    )


async def list_dead_letters(ask: Ask) -> shapes.DeadLetterList:
    """List the tasks that failed for good without their agent's wish, the latest first."""
    query: shapes.DeadLetterQuery = ask.query
    await ask.tenant.lists.fresh()
    page = await ask.tenant.account.models.ledgers.dead_letters(
        query.agent or None,
        redriven=query.redriven,
        page_size=query.page_size,
        cursor=query.page_token,
    )
    return shapes.DeadLetterList(
        items=tuple(shown(shapes.DeadLetterView, each) for each in page.items),
        next_page_token=page.next,
        total_size=page.total,
    )


async def list_damage(ask: Ask) -> shapes.DamageList:
    """List the records of the log that could not be taken in."""
    query: shapes.Pages = ask.query
    page = await ask.tenant.account.models.damage(
        page_size=query.page_size, cursor=query.page_token
    )
    return shapes.DamageList(
        items=tuple(shown(shapes.DamageView, each) for each in page.items),
        next_page_token=page.next,
        total_size=page.total,
    )


async def list_audit(ask: Ask) -> shapes.AuditList:
    """List who did what: what was asked, by whom, and what was decided, in the order of the log."""
    query: shapes.AuditQuery = ask.query
    account = ask.tenant.account
    await ask.tenant.lists.fresh()
    page = await audit(
        account.models,
        account.log,
        Wanted(principal=query.principal, agent=query.agent, refused=query.refused),
        size=query.page_size,
        cursor=query.page_token,
    )
    return shapes.AuditList(
        items=tuple(shown(shapes.AuditView, each) for each in page.items),
        next_page_token=page.next,
        total_size=page.total,
    )


async def list_usage(ask: Ask) -> shapes.UsageList:
    """List what turns took, added up: one's own, or all for those who reach all tasks."""
    query: shapes.UsageQuery = ask.query
    await ask.tenant.lists.fresh()
    page = await ask.tenant.account.models.ledgers.usage(
        query.by,
        agent=query.agent or None,
        owner=ask.principal.owner,
        since=query.since,
        page_size=query.page_size,
        cursor=query.page_token,
    )
    return shapes.UsageList(
        items=tuple(shapes.UsageView.of(each) for each in page.items),
        next_page_token=page.next,
        total_size=page.total,
    )


ROUTES: Final = (
    Route("listAgents", "agents", "", READ, shapes.Pages, shapes.AgentList, list_agents),
    Route("getAgent", "agents", "agent", READ, shapes.Nothing, shapes.AgentView, get_agent),
    Route("listTasks", "tasks", "", READ, shapes.TaskQuery, shapes.TaskList, list_tasks),
    Route("getTask", "tasks", "task", READ, shapes.OneTask, shapes.TaskView, get_task),
    Route("getPush", "push", "task", READ, shapes.Nothing, shapes.PushView, get_push),
    Route(
        *("listSessions", "sessions", "", INSPECT),
        *(shapes.SessionQuery, shapes.SessionList, list_sessions),
    ),
    Route("listInbox", "inbox", "", READ, shapes.OfAgent, shapes.Inbox, list_inbox),
    Route("listUsage", "usage", "", READ, shapes.UsageQuery, shapes.UsageList, list_usage),
    Route("listAudit", "audit", "", INSPECT, shapes.AuditQuery, shapes.AuditList, list_audit),
    Route("listEvents", "events", "", INSPECT, shapes.OfAgent, shapes.EventList, list_events),
    Route("getEvent", "events", "sequence", INSPECT, shapes.Nothing, shapes.EventView, get_event),
    Route(
        *("listDeadLetters", "dead-letters", "", INSPECT),
        *(shapes.DeadLetterQuery, shapes.DeadLetterList, list_dead_letters),
    ),
    Route("listDamage", "damage", "", INSPECT, shapes.Pages, shapes.DamageList, list_damage),
    *MEMORY_ROUTES,
    *TAINT_ROUTES,
)
"""All routes; each takes GET and HEAD."""


async def answer(
    tenant: Tenant,
    principal: Principal,
    request: HttpRequest,
    *,
    url: Callable[[str], str],
) -> msgspec.Struct:
    """Return the answer to a request for a path below the root.

    Raises:
        PeltonError: there is none.
    """
    route, name = _match(request.path)
    ASKED.get().method = route.id
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("GET", "HEAD")
    if not principal.may(route.scope):
        raise ScopeMissing(route.scope)
    return await route.does(
        Ask(tenant, principal, url, name, parse_query(request.query, route.query))
    )


def _match(path: Sequence[str]) -> tuple[Route, str]:
    for route in ROUTES:
        parts = [part for part in (route.path, route.parameter, route.tail) if part]
        if len(path) != len(parts) or not all(path):
            continue
        if path[0] == route.path and (not route.tail or path[-1] == route.tail):
            return route, unquote(path[1]) if route.parameter else ""
    raise PathNotFound("nothing is served under this path")


def parse_query(query: bytes, shape: type[Q]) -> Q:
    """Return what the query of a URL holds.

    Raises:
        InvalidInput: it holds something else.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=32
        )
    except ValueError:
        raise InvalidInput("the query is not UTF-8, percent-encoded") from None
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidInput("a parameter of the query came twice")
    try:
        return msgspec.convert(members, shape, strict=False)
    except msgspec.ValidationError as error:
        raise violation(error) from None


def _next(
    left: Sequence[Any], shown: Sequence[Any], asked: tuple[str, ...], place: Callable[[Any], str]
) -> str:
    """Return the cursor of the page after the one that is shown."""
    return write_cursor((place(shown[-1]),), asked) if len(left) > len(shown) else ""
