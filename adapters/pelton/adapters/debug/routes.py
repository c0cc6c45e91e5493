"""The debugger's API: its routes as a table, and what answers them; thin, over `runtime.replay`."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from pelton.adapters.a2a.errors import MethodNotAllowed, ParseError, PathNotFound
from pelton.adapters.a2a.requests import HttpRequest, violation
from pelton.adapters.api.memory_shapes import MemoryListQuery
from pelton.adapters.api.routes import list_dead_letters, list_inbox, list_tasks, parse_query
from pelton.adapters.api.shapes import (
    DeadLetterList,
    DeadLetterQuery,
    Inbox,
    Nothing,
    OfAgent,
    TaskList,
    TaskQuery,
)
from pelton.adapters.cli import outlook
from pelton.adapters.debug import beside, memories, shapes
from pelton.adapters.debug.conversation import Conversation, Moment
from pelton.adapters.debug.desk import Desk
from pelton.adapters.debug.entries import Entry
from pelton.adapters.debug.forks import Forking
from pelton.adapters.debug.route import Ask, Route
from pelton.adapters.debug.steps import steps_of
from pelton.adapters.debug.trim import Trimmed, trim
from pelton.events.a2a import text_of
from pelton.events.context import TaskFold
from pelton.events.envelope import ANONYMOUS
from pelton.events.errors import DamagedRecord, InvalidInput
from pelton.events.ids import check_id
from pelton.runtime.interventions import Answer
from pelton.runtime.replay.walk import Cause, shown

SHOWN_CHANGES: Final = 200
"""Fields that are shown of those that an event has changed."""
_CHUNK: Final = 100_000
_BEFORE: Final = 50
_TITLE: Final = 200


async def overview(ask: Ask) -> shapes.Overview:
    """What there is."""
    tenant = ask.desk.tenant
    await tenant.lists.fresh()
    models = tenant.account.models
    inbox = await models.ledgers.inbox(page_size=1)
    letters = await models.ledgers.dead_letters(page_size=1)
    return shapes.Overview(
        tenant=tenant.name,
        version=version("pelton"),
        agents=tuple(each.profile.name for each in tenant.agents),
        inbox=inbox.total,
        dead_letters=letters.total,
        position=(await models.position()).sequence,
        end=(await tenant.account.log.extent()).last,
    )


async def conversations(ask: Ask) -> shapes.ConversationPage:
    """List conversations, the latest first."""
    query: shapes.Listing = ask.query
    await ask.desk.tenant.lists.fresh()
    page = await ask.desk.tenant.account.models.conversations.page(
        query.agent,
        find=query.find,
        handed_on=query.handed_on,
        page_size=query.page_size,
        cursor=query.page_token,
    )
    items = tuple(replace(each, text=each.text[:_TITLE]) for each in page.items)
    return shapes.ConversationPage(items=items, next=page.next, total=page.total)


async def conversation(ask: Ask) -> shapes.ConversationView:
    """A conversation as it stands."""
    query: shapes.Whole = ask.query
    view = await ask.look(_conversation)
    if not query.fork:
        return view
    return replace(view, fork=await asyncio.to_thread(ask.desk.forks.note, query.fork))


def _conversation(found: Conversation, _: shapes.Whole) -> shapes.ConversationView:
    damage, tasks, pending = "", list[shapes.TaskRow](), list[Entry]()
    try:
        for state in found.states():
            tasks += [_task(state.agent, task) for task in state.tasks.values()]
        pending = found.undecided()
    except DamagedRecord as error:
        damage = str(error)
    entries = found.entries
    return shapes.ConversationView(
        id=found.context_id,
        generation=found.generation,
        members=tuple(shapes.MemberView(agent=a, context=c) for a, c in found.members),
        tasks=tuple(tasks),
        pending=tuple(pending),
        total=len(entries),
        first=entries[0].time if entries else 0,
        last=entries[-1].time if entries else 0,
        damage=damage,
    )


def _task(agent: str, task: TaskFold) -> shapes.TaskRow:
    said = task.status.message or task.answer
    return shapes.TaskRow(
        id=task.id,
        agent=agent,
        context=task.context_id,
        state=task.status.state.value,
        text=text_of(task.history[0].parts)[:500] if task.history else "",
        says=text_of(said.parts)[:500] if said else "",
        turns=task.turns,
        running=task.turn is not None and task.turn.over is None,
        waits=tuple(outlook.waits(task)),
        next=outlook.next_step(task),
        redriven=task.redriven,
        asked_by=task.delegation.task_id if task.delegation else "",
    )


async def entries(ask: Ask) -> shapes.EntryWindow:
    """Some entries of a conversation."""
    return await ask.look(_entries)


def _entries(found: Conversation, query: shapes.Window) -> shapes.EntryWindow:
    held = found.containing(query.find) if query.find else set[tuple[int, int]]()

    def wanted(entry: Entry) -> bool:
        return (
            (not query.task or entry.task == query.task)
            and (not query.kinds or entry.kind in query.kinds)
            and (not query.find or (entry.sequence, entry.place) in held)
        )

    filtered = query.task or query.kinds or query.find
    places = found.find(wanted if filtered else None)
    start, at = query.start, -1
    if query.near is not None:
        at = sum(found.entries[place].sequence < query.near for place in places)
        start = max(0, at - _BEFORE)
    shown = places[start : start + query.count]
    return shapes.EntryWindow(
        generation=found.generation,
        total=len(places),
        start=start,
        at=at,
        items=tuple(found.entries[place] for place in shown),
        kinds="".join(found.entries[place].letter for place in places) if query.outline else "",
    )


async def moment(ask: Ask) -> shapes.MomentView:
    """An entry, seen closely."""
    return await ask.look(_moment)


def _moment(found: Conversation, query: shapes.Place) -> shapes.MomentView:
    seen = found.moment(query.sequence, query.place)
    record = _json(seen)
    tasks = _tasks(found, seen)
    task = query.task if query.task in tasks else seen.entry.task
    fields = tuple(seen.pace.changes) if seen.pace else ()
    return shapes.MomentView(
        entry=seen.entry,
        at=found.place_of(query.sequence, query.place),
        id=seen.pace.recorded.id if seen.pace else record.get("id", ""),
        actor=record.get("actor", ""),
        source=record.get("source", ""),
        correlation=record.get("correlationid", ""),
        cause=_cause(found, seen.cause),
        effects=tuple(
            _cause(found, Cause("", sequence, "")) for sequence in seen.effects[:_BEFORE]
        ),
        record=trim(_shown(seen, record)),
        changes=tuple(
            shapes.ChangeView(path=e.path, before=trim(e.before), after=trim(e.after))
            for e in fields[:SHOWN_CHANGES]
        ),
        changed=len(fields),
        tasks=tuple(tasks),
        task=task,
        state=trim(shown(tasks[task])) if task in tasks else None,
    )


def _json(seen: Moment) -> dict[str, Any]:
    try:
        return msgspec.json.decode(seen.record.data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"data": seen.record.data.decode(errors="replace")}


def _shown(seen: Moment, record: dict[str, Any]) -> Any:
    """Return an event, or the record that is no commit, as it stands."""
    return record if seen.pace is None else record["data"]["events"][seen.entry.place - 1]


def _tasks(found: Conversation, seen: Moment) -> dict[str, TaskFold]:
    """Return all tasks that there were with an entry, that of the entry as it left it."""
    tasks: dict[str, TaskFold] = {}
    for state in found.states(seen.entry.sequence):
        tasks |= state.tasks
    if seen.pace is not None and seen.pace.after is not None:
        tasks[seen.entry.task] = seen.pace.after
    return tasks


def _cause(found: Conversation, cause: Cause) -> shapes.CauseView:
    place, what, agent = 0, cause.what, ""
    if cause.sequence:
        at = found.place_of(cause.sequence, 1)
        entry = found.entries[at]
        place, what, agent = entry.place, what or entry.name, entry.agent
    return shapes.CauseView(
        id=cause.id, sequence=cause.sequence, place=place, what=what, agent=agent
    )


async def inside(ask: Ask) -> Trimmed:
    """More of what is shown of an entry."""
    return await ask.look(_inside)


def _inside(found: Conversation, query: shapes.Inside) -> Trimmed:
    seen = found.moment(query.sequence, query.place)
    try:
        path = msgspec.json.decode(query.path, type=list[str | int])
        value: Any = None
        if query.what == "record":
            value = _shown(seen, _json(seen))
        elif query.what == "state":
            value = shown(_tasks(found, seen)[query.task or seen.entry.task])
        elif seen.pace is not None:
            value = getattr(seen.pace.changes[query.change], query.what)
        return trim(value, path=path, first=query.first)
    except msgspec.MsgspecError:
        raise InvalidInput("a path is a JSON list of names and numbers", field="path") from None
    except (LookupError, TypeError):
        raise InvalidInput("nothing lies under that path", field="path") from None


async def graph(ask: Ask) -> shapes.GraphView:
    """Who has asked whom, as of a sequence."""
    return await ask.look(_graph)


def _graph(found: Conversation, query: shapes.Until) -> shapes.GraphView:
    made = found.graph(query.until)
    nodes = tuple(shapes.NodeView(node=node, branch=made.branch(node.task)) for node in made.nodes)
    return shapes.GraphView(until=query.until or 0, nodes=nodes, edges=made.edges)


async def steps(ask: Ask) -> shapes.StepList:
    """The steps that had begun by a sequence."""
    return await ask.look(_steps)


def _steps(found: Conversation, query: shapes.StepQuery) -> shapes.StepList:
    records = [e for e in found.records if query.until is None or e.sequence <= query.until]
    items = [e for e in steps_of(records) if not query.task or e.task == query.task]
    return shapes.StepList(
        total=len(items),
        start=query.start,
        longest=max((e.ended - e.began for e in items if e.ended), default=0),
        items=tuple(items[query.start : query.start + query.count]),
    )


async def blob(ask: Ask) -> shapes.BlobView:
    """A part of a blob."""
    query: shapes.Piece = ask.query
    sha256 = ask.names[0]
    data = await (await ask.desk.reader(query.fork)).get_blob(sha256)
    piece = data[query.first : query.first + _CHUNK]
    try:
        text: str | None = data.decode()[query.first : query.first + _CHUNK]
    except UnicodeDecodeError:
        text = None
    return shapes.BlobView(
        sha256=sha256,
        size=len(data),
        first=query.first,
        text=text,
        more=query.first + len(text or piece) < len(data),
    )


async def tasks(ask: Ask) -> TaskList:
    """List tasks, the latest status first."""
    return await list_tasks(ask.api)


async def inbox(ask: Ask) -> Inbox:
    """What people are asked, the oldest first."""
    return await list_inbox(ask.api)


async def dead_letters(ask: Ask) -> DeadLetterList:
    """The tasks that failed for good, the latest first."""
    return await list_dead_letters(ask.api)


async def answer_question(ask: Ask) -> shapes.Done:
    """Answer a question of a task."""
    body: shapes.Answering = ask.body
    if body.value is msgspec.UNSET and body.approved is None and not body.text.strip():
        raise InvalidInput("the answer is empty", field="text")
    done = await ask.desk.people.answer(
        body.task,
        Answer(text=body.text, data=body.value, approved=body.approved),
        key=body.question,
        actor=check_id(body.actor or ANONYMOUS, "actor"),
    )
    return shapes.Done(context=done.context_id, task=done.task_id, decided=done.decided)


async def redrive(ask: Ask) -> shapes.Done:
    """Do a task again that has failed."""
    body: shapes.Redriving = ask.body
    done = await ask.desk.people.redrive(body.task)
    return shapes.Done(context=done.context_id, task=done.task_id, decided=done.decided)


ROUTES: Final = (
    Route("overview", Nothing, overview),
    Route("conversations", shapes.Listing, conversations),
    Route("conversations/{context}", shapes.Whole, conversation),
    Route("conversations/{context}/entries", shapes.Window, entries),
    Route("conversations/{context}/moment", shapes.Place, moment),
    Route("conversations/{context}/inside", shapes.Inside, inside),
    Route("conversations/{context}/graph", shapes.Until, graph),
    Route("conversations/{context}/steps", shapes.StepQuery, steps),
    Route("conversations/{context}/memories", shapes.OfTask, memories.in_conversation),
    Route("blobs/{sha256}", shapes.Piece, blob),
    Route("tasks", TaskQuery, tasks),
    Route("memories", MemoryListQuery, memories.list_all),
    Route("memories/{memory}", shapes.AsOf, memories.closely),
    Route("diff", shapes.Sides, beside.diff),
    Route("forks", Nothing, beside.list_forks),
    Route("forks/new", Nothing, beside.fork, Forking),
    Route("inbox", OfAgent, inbox),
    Route("answers", Nothing, answer_question, shapes.Answering),
    Route("dead-letters", DeadLetterQuery, dead_letters),
    Route("redrives", Nothing, redrive, shapes.Redriving),
)
"""All routes."""


async def answer(desk: Desk, request: HttpRequest) -> msgspec.Struct:
    """Return the answer to a request for a path below the API's root.

    Raises:
        PeltonError: there is none.
    """
    for route in ROUTES:
        names = match(route.path, request.path)
        if names is None:
            continue
        allowed = ("POST",) if route.body is not None else ("GET", "HEAD")
        if request.method not in allowed:
            raise MethodNotAllowed(*allowed)
        query = parse_query(request.query, route.query)
        return await route.does(Ask(desk, names, query, _body(request.body, route.body)))
    raise PathNotFound("nothing is served under this path")


def _body(data: bytes, shape: type[msgspec.Struct] | None) -> msgspec.Struct | None:
    if shape is None:
        return None
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise violation(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ParseError("the body is not JSON") from None


def match(pattern: str, path: Any) -> tuple[str, ...] | None:
    """Return what the names of a pattern are in a path, None if it is another."""
    wanted = pattern.split("/")
    if len(wanted) != len(path):
        return None
    names: list[str] = []
    for each, segment in zip(wanted, path, strict=True):
        if each.startswith("{"):
            if not segment:
                return None
            names.append(unquote(segment))
        elif each != segment:
            return None
    return tuple(names)
