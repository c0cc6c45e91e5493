"""Hand-made histories of what is no context: agents, schedules, keys, memories."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pelton.events import subjects
from pelton.events.access import (
    ContentErased,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    TokensGranted,
    TokensRefreshed,
    TokensRevoked,
)
from pelton.events.card import AgentProfile, AgentProvider, AgentSkill
from pelton.events.commands import (
    RemoveSchedule,
    RemoveScheduleData,
    ScheduleCommand,
    SetSchedule,
    SetScheduleData,
)
from pelton.events.commit import Commit, CommitData
from pelton.events.decide import reject
from pelton.events.envelope import digest, encode
from pelton.events.events import (
    AgentPrompted,
    AgentRegistered,
    AgentStatusChanged,
    AgentTeamChanged,
    AnyEvent,
    FailureClass,
    KeyClaimed,
    ScheduleFired,
    ScheduleMissed,
    ScheduleRemoved,
    ScheduleSet,
)
from pelton.events.ids import task_id
from pelton.events.memory import (
    AnyMemoryEvent,
    CauseKind,
    MemoryCause,
    MemoryCommitted,
    MemoryConsolidated,
    MemoryForgotten,
    MemoryRef,
    MemoryRevised,
    MemoryScope,
)
from pelton.events.presence import AgentStatus, Fact
from pelton.events.push import (
    PushConfigured,
    PushDelivered,
    PushEnd,
    PushEnded,
    PushFailed,
    PushRemoved,
)
from pelton.events.schedule import Missed, Schedule
from pelton.events.schedules import ScheduleNotFound
from pelton.events.start import AgentStageFailed, AgentStageReached, Stage
from tests.stories import Tape


def an_agent() -> Tape:
    """An agent that is registered twice, with another profile the second time."""
    tape = Tape()
    skill = AgentSkill(
        id="echo", name="Echo", description="Says it again.", tags=("text",), examples=("hello",)
    )
    before = b""
    for count, provider in enumerate(
        (None, AgentProvider(url="https://example.com", organization="E"))
    ):
        profile = AgentProfile(
            name="echo",
            title="Echo",
            description="Says it again.",
            version=f"{count + 1}.0",
            skills=(skill,),
            provider=provider,
        )
        id_ = f"registration-{count + 1}"
        before = encode(
            Commit(
                id=id_,
                source="executor/one",
                subject="echo/_agent",
                time=tape.now,
                tenant="t",
                actor="executor/one",
                correlationid=id_,
                causationid=id_,
                sequence=count + 1,
                prevhash=digest(before) if before else "",
                data=CommitData(events=(AgentRegistered(profile=profile),)),
            )
        )
        tape.append(subjects.agent_commits("echo"), before)
    return tape


class Beside:
    """An aggregate of an agent beside its contexts, told commit by commit."""

    def __init__(self, token: str, tape: Tape) -> None:
        self._token, self._tape = token, tape
        self._before, self._events, self._commits = b"", 0, 0

    def commit(self, *events: AnyEvent, command: int = 0, cause: str = "") -> None:
        """Append a commit; `command` is the sequence of the command `cause` that it decides."""
        self._commits += 1
        id_ = f"{self._token}-{self._commits}"
        self._before = encode(
            Commit(
                id=id_,
                source="executor/one",
                subject=f"echo/{self._token}",
                time=self._tape.now,
                tenant="t",
                actor="anna",
                correlationid=cause or id_,
                causationid=cause or id_,
                sequence=self._events + 1,
                prevhash=digest(self._before) if self._before else "",
                data=CommitData(events=events, command=command, handled=command),
            )
        )
        self._events += len(events)
        subject = subjects.Subject("evt", "echo", "", self._token)
        self._tape.append(str(subject), self._before)


def lives() -> Tape:
    """An agent that is served, prompted, degraded, left, removed, and registered again."""
    tape = Tape()
    told = Beside(subjects.AGENT, tape)
    profile = AgentProfile(
        name="echo", title="Echo", description="Says it again.", version="1.0", skills=()
    )
    told.commit(AgentRegistered(profile=profile))
    told.commit(AgentStatusChanged(status=AgentStatus.SERVING, fact=Fact.SERVED))
    told.commit(AgentPrompted(life=1, command_id="first", context_id="one", text="begin"))
    told.commit(AgentStatusChanged(status=AgentStatus.DEGRADED, fact=Fact.TROUBLED))
    told.commit(AgentStatusChanged(status=AgentStatus.OFFLINE, fact=Fact.SILENT))
    told.commit(AgentStatusChanged(status=AgentStatus.REMOVED, fact=Fact.REMOVED))
    told.commit(AgentRegistered(profile=profile))
    return tape


def schedules() -> Tape:
    """Schedules that are set, fire, are missed, refused and removed."""
    tape = Tape()
    told = Beside(subjects.SCHEDULES, tape)

    def ask(id_: str, change: Schedule | str) -> int:
        envelope: dict[str, Any] = dict.fromkeys(("id", "correlationid", "causationid"), id_)
        envelope |= {"source": "cli", "subject": "echo/_schedules", "time": tape.now}
        envelope |= {"tenant": "t", "actor": "anna"}
        command: ScheduleCommand
        if isinstance(change, str):
            command = RemoveSchedule(data=RemoveScheduleData(name=change), **envelope)
        else:
            command = SetSchedule(data=SetScheduleData(schedule=change), **envelope)
        return tape.append(subjects.schedule_commands("echo"), encode(command))

    hourly = Schedule(name="hourly", text="look", cron="0 * * * *", missed=Missed.ONCE)
    since = "2026-01-01T00:30:00.000Z"
    at = ask("set", hourly)
    told.commit(ScheduleSet(schedule=hourly, since=since), command=at, cause="set")
    told.commit(
        ScheduleFired(
            name="hourly", slot="2026-01-01T01:00:00.000Z", command_id="c1", context_id="x1"
        )
    )
    told.commit(
        ScheduleMissed(
            name="hourly",
            first="2026-01-01T02:00:00.000Z",
            last="2026-01-01T04:00:00.000Z",
            count=3,
        ),
        ScheduleFired(
            name="hourly", slot="2026-01-01T05:00:00.000Z", command_id="c2", context_id="x2"
        ),
    )
    declared = Schedule(name="once", text="now", at="2030-01-01T00:00", enabled=False)
    told.commit(ScheduleSet(schedule=declared, since=since, declared=True))
    told.commit(ScheduleRemoved(name="once", declared=True))
    at = ask("remove", "hourly")
    told.commit(ScheduleRemoved(name="hourly"), command=at, cause="remove")
    at = ask("again", "hourly")
    refusal = reject("again", ScheduleNotFound("there is no schedule 'hourly'"))
    told.commit(refusal, command=at, cause="again")
    return tape


def a_key() -> Tape:
    """A key that is claimed, and the command that it stands for."""
    tape = Tape()
    claim = KeyClaimed(command_id="command", digest=digest(b"what was asked"))
    commit = Commit(
        id="claim",
        source="bridge/one",
        subject="echo/_key/command",
        time=tape.now,
        tenant="t",
        actor="alice",
        correlationid="command",
        causationid="command",
        sequence=1,
        prevhash="",
        data=CommitData(events=(claim,)),
    )
    tape.append(subjects.claims("echo", "command"), encode(commit))
    return tape


def keys() -> Tape:
    """API keys: one for each role, one with a new secret, one that ends."""
    tape = Tape()
    lasts = "2027-01-01T00:00:00.000Z"
    story: tuple[AnyEvent, ...] = (
        KeyCreated(
            key_id="0123456789abcdef",
            principal="anna",
            roles=("client", "approver"),
            scopes=("tasks:read",),
            hash=digest(b"one"),
            expires=lasts,
        ),
        KeyCreated(
            key_id="fedcba9876543210",
            principal="robot-7",
            roles=("agent",),
            hash=digest(b"two"),
            expires=lasts,
        ),
        KeyRotated(
            key_id="0123456789abcdef",
            hash=digest(b"three"),
            expires=lasts,
            overlap="2026-02-01T00:00:00.000Z",
        ),
        KeyRevoked(key_id="fedcba9876543210"),
    )
    _access(tape, subjects.KEYS, *story)
    return tape


def families() -> Tape:
    """Two families of tokens: one that goes on, one that is ended by a token given twice."""
    tape = Tape()
    ends = "2027-01-01T00:00:00.000Z"
    soon = "2026-01-01T00:00:10.000Z"
    for family in ("0" * 32, "f" * 32):
        granted = TokensGranted(
            family=family,
            principal="anna",
            roles=("client",),
            scopes=("tasks:read",),
            hash=digest(b"one"),
            expires=ends,
        )
        refreshed = TokensRefreshed(
            family=family, hash=digest(b"two"), spent=digest(b"one"), until=soon
        )
        _access(tape, family, granted, refreshed)
    _access(tape, subjects.KEYS, TokensRevoked(family="f" * 32, reason="reused"))
    return tape


def erasures() -> Tape:
    """Two conversations whose content was erased, one of them with two agents."""
    tape = Tape()
    gone = (("chat", "of anna"), ("echo", "of anna"), ("chat", "c"))
    erased = [ContentErased(agent=agent, context_id=context) for agent, context in gone]
    _access(tape, subjects.ERASURES, *erased)
    return tape


def push() -> Tape:
    """Push configs of a task: delivered to its end, given up and taken up again, deleted."""
    tape = Tape()
    task, sealed = task_id("chat", "opens"), {"sealed": "AAAA", "key_id": "0123456789abcdef"}
    to = {"task_id": task, "origin": "https://hooks.example.com:443", **sealed}

    def of(config: str) -> dict[str, Any]:
        return {"task_id": task, "config_id": config}

    stories: tuple[tuple[AnyEvent, ...], ...] = (
        (PushConfigured(config_id="one", after=0, command_id="opens", **to),),
        (PushConfigured(config_id="two", after=2, protocol="0.3", **to),),
        (PushConfigured(config_id="three", after=2, **to),),
        (PushDelivered(**of("one"), sequence=1),),
        (
            PushFailed(
                **of("two"),
                sequence=3,
                attempt=1,
                reason="http-503",
                retry="2026-01-01T00:00:01.000Z",
            ),
        ),
        (PushRemoved(**of("three")),),
        (PushEnded(**of("two"), end=PushEnd.GIVEN_UP, attempts=16, reason="timeout"),),
        (PushConfigured(config_id="two", after=2, **to),),
        (
            PushDelivered(**of("one"), sequence=3),
            PushEnded(**of("one"), end=PushEnd.COMPLETE),
        ),
        (PushConfigured(config_id="four", after=3, **to),),
        (
            PushFailed(
                **of("four"),
                sequence=4,
                attempt=1,
                reason="unreachable",
                retry="2026-01-01T00:00:02.000Z",
            ),
        ),
    )
    before = b""
    sequence = 1
    for count, events in enumerate(stories):
        id_ = f"push-{count + 1}"
        before = encode(
            Commit(
                id=id_,
                source="push/one",
                subject=f"echo/_push/{task}",
                time=tape.now,
                tenant="t",
                actor="anna",
                correlationid=id_,
                causationid=id_,
                sequence=sequence,
                prevhash=digest(before) if before else "",
                data=CommitData(events=events),
            )
        )
        sequence += len(events)
        tape.append(subjects.pushes("echo", task), before)
    return tape


def teams() -> Tape:
    """An agent whose code names a team, that is moved, removed, and begins anew in none."""
    tape = Tape()
    told = Beside(subjects.AGENT, tape)
    profile = AgentProfile(
        name="echo", title="Echo", description="Says it again.", version="1.0", skills=()
    )
    told.commit(AgentRegistered(profile=profile), AgentTeamChanged(team="red", declared=True))
    told.commit(AgentTeamChanged(team="blue"))
    told.commit(AgentStatusChanged(status=AgentStatus.REMOVED, fact=Fact.REMOVED))
    told.commit(AgentRegistered(profile=profile))
    told.commit(AgentTeamChanged(team="green"))
    return tape


def starts() -> Tape:
    """An agent that is started at the third try, and whose executor then fails to hear."""
    tape = Tape()
    told = Beside(subjects.AGENT, tape)
    profile = AgentProfile(
        name="echo", title="Echo", description="Says it again.", version="1.0", skills=()
    )

    def failed(stage: Stage, kind: FailureClass, detail: str) -> None:
        told.commit(AgentStageFailed(executor="one", stage=stage, kind=kind, detail=detail))

    def reached(stage: Stage) -> None:
        told.commit(AgentStageReached(executor="one", stage=stage))

    failed(Stage.PREFLIGHT, FailureClass.VALIDATION, "KEY is not set")
    reached(Stage.PREFLIGHT)
    failed(Stage.ADAPTER, FailureClass.DEPENDENCY, "there is no program 'parrot'")
    reached(Stage.PREFLIGHT)
    reached(Stage.ADAPTER)
    told.commit(AgentRegistered(profile=profile))
    reached(Stage.SERVING)
    failed(Stage.SERVING, FailureClass.INTERNAL, "KeyError: 'bell'")
    return tape


def memories() -> Tape:
    """Memories that are committed, revised, forgotten, reverted, and consolidated into one."""
    tape = Tape()
    task = task_id("chat", "opens")
    cause = MemoryCause(
        kind=CauseKind.MESSAGE,
        agent="echo",
        context_id="chat",
        task_id=task,
        turn=1,
        message_id="first",
    )
    tool = replace(cause, kind=CauseKind.TOOL, key="search#1")
    model = replace(cause, kind=CauseKind.MODEL, key="model#2")
    person = MemoryCause(kind=CauseKind.PERSON)
    own: dict[str, Any] = {"scope": MemoryScope.OWN, "owner": "echo", "life": 1, "author": "echo"}
    one, two, three, four = (str(number) * 32 for number in range(1, 5))
    sources = (MemoryRef(memory_id=one, version=2), MemoryRef(memory_id=two, version=4))
    stories: dict[str, tuple[AnyMemoryEvent, ...]] = {
        one: (
            MemoryCommitted(
                memory_id=one, version=1, operation="a", cause=cause, content="tea", **own
            ),
            MemoryRevised(
                memory_id=one,
                version=2,
                operation="b",
                cause=tool,
                content="green tea",
                expires="2027-01-01T00:00:00.000Z",
            ),
        ),
        two: (
            MemoryCommitted(
                memory_id=two,
                version=1,
                operation="c",
                cause=model,
                content='{"n":1}',
                media_type="application/json",
                namespace="counts",
                key="n",
                **own,
            ),
            MemoryRevised(memory_id=two, version=2, operation="d", cause=cause, content="much"),
            MemoryForgotten(
                memory_id=two, version=3, operation="e", cause=person, reason="a mistake"
            ),
            MemoryRevised(
                memory_id=two, version=4, operation="f", cause=person, content='{"n":1}', reverts=1
            ),
        ),
        three: (
            MemoryConsolidated(
                memory_id=three,
                version=1,
                operation="g",
                cause=model,
                content="one cup of green tea",
                sources=sources,
                **own,
            ),
        ),
        four: (
            MemoryCommitted(
                memory_id=four,
                version=1,
                operation="h",
                cause=person,
                content="We are closed on Mondays.",
                scope=MemoryScope.TEAM,
                owner="red",
            ),
        ),
    }
    for id_, story in stories.items():
        before = b""
        for count, event in enumerate(story):
            name = f"{event.operation}-{count}"
            before = encode(
                Commit(
                    id=name,
                    source="executor/one",
                    subject=f"_memory/{id_}",
                    time=tape.now,
                    tenant="t",
                    actor="anna",
                    correlationid=name,
                    causationid=name,
                    sequence=count + 1,
                    prevhash=digest(before) if before else "",
                    data=CommitData(events=(event,)),
                )
            )
            tape.append(subjects.memory(id_), before)
    return tape


def _access(tape: Tape, name: str, *events: AnyEvent) -> None:
    """Append a commit for each event to an aggregate of who may do what."""
    before = b""
    for count, event in enumerate(events):
        id_ = f"{name}-{count + 1}"
        before = encode(
            Commit(
                id=id_,
                source="cli/root",
                subject=f"_access/{name}",
                time=tape.now,
                tenant="t",
                actor="cli/root",
                correlationid=id_,
                causationid=id_,
                sequence=count + 1,
                prevhash=digest(before) if before else "",
                data=CommitData(events=(event,)),
            )
        )
        tape.append(subjects.access(name), before)
