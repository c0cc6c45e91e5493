"""Any records of the contract, legal or not, for tests of what reads and decides them."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from pelton.events.a2a import Artifact, BlobRef, Count, Message, TaskState, TaskStatus
from pelton.events.card import AgentProfile
from pelton.events.commands import CancelTask, CancelTaskData, SendMessage, SendMessageData
from pelton.events.commit import Commit, CommitData
from pelton.events.delegation import Delegation, TaskOutcome
from pelton.events.events import EVENTS, AnyEvent
from pelton.events.memory import CauseKind, MemoryCause, MemoryRef
from pelton.events.schedule import Missed, Schedule
from pelton.events.session import SessionEntry
from tests.strategies import contents, ids, json_objects, json_values, messages, profiles, texts

counts = st.integers(0, 2**53 - 1)
statuses = st.builds(
    TaskStatus, state=st.sampled_from(TaskState), message=st.none() | messages, timestamp=texts
)
artifacts = st.builds(Artifact, artifact_id=ids, parts=contents(), metadata=json_objects)

refs = st.builds(MemoryRef, memory_id=texts, version=counts)

BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    Count: counts,
    Any: json_values,
    Message: messages,
    TaskStatus: statuses,
    Artifact: artifacts,
    AgentProfile: profiles,
    Schedule: st.builds(
        Schedule,
        name=ids,
        text=texts,
        missed=st.sampled_from(Missed),
        limit=counts,
        grace=counts,
        enabled=st.booleans(),
    ),
    Delegation | None: st.none()
    | st.builds(
        Delegation,
        **dict.fromkeys(("agent", "context_id", "task_id", "key"), texts),
        turn=counts,
        chain=st.lists(texts, max_size=2).map(tuple),
    ),
    BlobRef | None: st.none()
    | st.builds(
        BlobRef, sha256=texts, size=counts, member=st.sampled_from(["text", "raw", "data"])
    ),
    TaskOutcome | None: st.none()
    | st.builds(
        TaskOutcome,
        task_id=texts,
        state=st.sampled_from(TaskState),
        message=st.none() | messages,
        artifacts=st.lists(artifacts, max_size=2).map(tuple),
    ),
    dict[str, Any] | None: st.none() | json_objects,
    MemoryCause: st.builds(
        MemoryCause,
        kind=st.sampled_from(CauseKind),
        **dict.fromkeys(("agent", "context_id", "task_id", "message_id", "key"), texts),
        turn=counts,
    ),
    tuple[MemoryRef, ...]: st.lists(refs, max_size=2).map(tuple),
    tuple[SessionEntry, ...]: st.lists(
        st.builds(SessionEntry, key=texts, value=json_values), max_size=2
    ).map(tuple),
}


def events(struct: type[AnyEvent]) -> st.SearchStrategy[AnyEvent]:
    """Return events of a type, legal or not; a new member's type is drawn without a word here."""
    fields = msgspec.structs.fields(struct)
    members = {f.encode_name: BY_TYPE.get(f.type, st.from_type(f.type)) for f in fields}
    named = {field.name: members[field.encode_name] for field in fields}
    return st.builds(struct, **named)


REACH: dict[str, Any] = {
    "reach": st.sampled_from(["tenant", msgspec.UNSET]),
    "decides": st.booleans(),
}

ATTRIBUTES = (
    "id", "source", "subject", "time", "tenant", "actor", "correlationid", "causationid",
)  # fmt: skip

envelopes: dict[str, Any] = dict.fromkeys(ATTRIBUTES, texts)
optional: dict[str, Any] = dict.fromkeys(("traceparent", "keyid"), texts | st.just(msgspec.UNSET))

commits: st.SearchStrategy[Commit] = st.builds(
    Commit,
    **envelopes,
    **optional,
    sequence=counts,
    prevhash=texts,
    attempt=counts,
    data=st.builds(
        CommitData,
        events=st.lists(st.one_of([events(struct) for struct in EVENTS]), max_size=3).map(tuple),
        command=counts,
        handled=counts,
    ),
)
commands: st.SearchStrategy[SendMessage | CancelTask] = st.one_of(
    st.builds(
        SendMessage,
        **envelopes,
        **optional,
        **REACH,
        opens=st.booleans(),
        data=st.builds(SendMessageData, message=messages, metadata=st.none() | json_objects),
    ),
    st.builds(
        CancelTask,
        **envelopes,
        **optional,
        **REACH,
        opens=st.booleans(),
        data=st.builds(CancelTaskData, task_id=texts, metadata=st.none() | json_objects),
    ),
)
