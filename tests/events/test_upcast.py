"""Reading the log: any bytes are a value or a typed error; old versions are lifted (law 11)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pelton.events import agent, schedules
from pelton.events.a2a import Part, text_of
from pelton.events.commands import SendMessage
from pelton.events.commit import Commit, CommitData
from pelton.events.context import Context, fold
from pelton.events.envelope import deeper, encode
from pelton.events.errors import DamagedRecord, PeltonError, UnknownVersion
from pelton.events.events import StepStarted, TaskSubmitted, TurnStarted
from pelton.events.step import StepKind
from pelton.events.upcast import (
    CURRENT,
    UPCASTERS,
    Json,
    Upcaster,
    decode_command,
    decode_commit,
    decode_schedule_command,
    lift,
)
from tests.stories import Story
from tests.strategies import json_objects, json_values


def told() -> Story:
    story = Story()
    story.send("hello")
    story.decide()
    return story


COMMIT: dict[str, Any] = json.loads(told().commits[0][1])
COMMAND: dict[str, Any] = json.loads(told().tape.records[0].data)

DEEP = 100_000
UGLY = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"1e999",
    b"9" * 5000,
    b'"\\ud800"',
    b'"\xed\xa0\x80"',
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b'{"type":"pelton.Commit.v1","data":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    b'{"type":"\\ud800"}',
    b'{"type":"pelton.Commit.v1","type":1}',
    b'{"type":"pelton.Commit.v1","data":[]}',
    b'{"type":"pelton.Commit.v1","data":{"events":null}}',
    b'{"type":"pelton.Commit.v1","data":{"events":"abc"}}',
    b'{"type":"pelton.Commit.v1","data":{"events":{"a":1}}}',
    b'{"type":"pelton.Commit.v1","data":{"events":[1]}}',
    b'{"type":"pelton.Commit.v1","data":{"events":[{}]}}',
    b'{"type":"pelton.Commit.v0"}',
    b'{"type":"pelton.Commit.v99999999999"}',
    b'{"type":"Commit"}',
    b'{"type":"TaskSubmitted.v1"}',
    json.dumps(COMMIT | {"sequence": 10**40}).encode(),
    json.dumps(COMMIT | {"sequence": "1"}).encode(),
    json.dumps(COMMIT | {"sequence": None}).encode(),
    json.dumps(COMMIT | {"id": None}).encode(),
]


def read(decode: Callable[[bytes], object], data: bytes) -> object:
    """Return what the bytes hold, or the error; anything else escapes."""
    try:
        return decode(data)
    except DamagedRecord as error:
        return error


@pytest.mark.accepts("AS-42")
@pytest.mark.parametrize("data", UGLY, ids=lambda data: repr(data[:24]))
@pytest.mark.parametrize("decode", [decode_command, decode_schedule_command, decode_commit])
def test_ugly_bytes_are_a_damaged_record(decode: Callable[[bytes], object], data: bytes) -> None:
    assert isinstance(read(decode, data), DamagedRecord)


@pytest.mark.accepts("AS-42")
@given(st.binary(max_size=200) | json_values.map(encode))
def test_any_bytes_are_a_value_or_a_damaged_record(data: bytes) -> None:
    read(decode_command, data)
    read(decode_schedule_command, data)
    read(decode_commit, data)


@given(st.data())
def test_a_record_with_any_one_change_is_a_value_or_a_damaged_record(data: st.DataObject) -> None:
    raw = bytearray(encode(data.draw(st.sampled_from([COMMIT, COMMAND]))))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    read(decode_command, bytes(raw))
    read(decode_commit, bytes(raw))


def _paths(value: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each member of a JSON value."""
    items: Any = value
    for key in range(len(items)) if isinstance(value, list) else tuple(items):
        yield (*above, key)
        if isinstance(items[key], dict | list):
            yield from _paths(items[key], *above, key)


@given(st.data())
def test_a_record_with_any_member_replaced_is_a_value_or_a_damaged_record(
    data: st.DataObject,
) -> None:
    raw: Any = json.loads(json.dumps(data.draw(st.sampled_from([COMMIT, COMMAND]))))
    *path, last = data.draw(st.sampled_from(list(_paths(raw))))
    holder = raw
    for key in path:
        holder = holder[key]
    holder[last] = data.draw(json_values)
    read(decode_command, encode(raw))
    read(decode_commit, encode(raw))


@pytest.mark.accepts("AS-42", "AS-16")
@pytest.mark.parametrize("depth", [100, 124, 125, 200, 975, 985, 990, 995])
def test_a_command_that_can_be_read_can_be_answered(depth: int) -> None:
    """What is nested so deep that a commit of it could not be written or read is refused first."""
    story = Story()
    value: Any = None
    for _ in range(depth):
        value = [value]
    try:
        story.send(Part(data=value))
    except RecursionError:
        return  # nor can anybody else of ours write it
    try:
        decode_command(story.tape.records[-1].data)
    except DamagedRecord:
        assert depth > 120
        return
    assert depth < 128
    story.begin()
    story.end()


@given(json_values, st.integers(0, 6))
def test_depth_is_counted_as_json_nests(value: object, limit: int) -> None:
    def depth(inner: Any) -> int:
        match inner:
            case dict():
                return depth(list(cast("dict[str, Any]", inner).values()))
            case list():
                return 1 + max(map(depth, inner), default=0)  # pyright: ignore[reportUnknownArgumentType]
            case _:
                return 0

    assert deeper(encode(value), limit) == (depth(value) > limit)


@given(json_objects)
def test_unknown_members_are_ignored(extra: dict[str, Any]) -> None:
    more = {f"x-{name}": value for name, value in extra.items()}
    command = decode_command(encode(more | COMMAND))
    assert isinstance(command, SendMessage)
    assert command.id == COMMAND["id"]
    (event,) = COMMIT["data"]["events"]
    data = COMMIT["data"] | more | {"events": [more | event]}
    commit = decode_commit(encode(more | COMMIT | {"data": data}))
    assert commit == decode_commit(encode(COMMIT))


@pytest.mark.parametrize(
    "raw",
    [
        COMMAND | {"type": "pelton.SendMessage.v2"},
        COMMAND | {"type": "pelton.DeleteTask.v1"},
    ],
)
def test_commands_of_a_newer_pelton_say_so(raw: Json) -> None:
    with pytest.raises(UnknownVersion, match="upgrade"):
        decode_command(encode(raw))


@pytest.mark.parametrize(
    "raw",
    [
        COMMIT | {"type": "pelton.Commit.v2"},
        COMMIT | {"data": {"events": [{"type": "TaskSubmitted.v2"}]}},
        COMMIT | {"data": {"events": [{"type": "TaskForgotten.v1"}]}},
    ],
)
def test_commits_of_a_newer_pelton_say_so(raw: Json) -> None:
    with pytest.raises(UnknownVersion, match="upgrade"):
        decode_commit(encode(raw))


# Old versions: there are none yet, so these tests make some up.


@pytest.fixture
def upcasters(monkeypatch: pytest.MonkeyPatch) -> dict[str, Upcaster]:
    """Return the upcasters of a type that is in its third version."""
    monkeypatch.setattr("pelton.events.upcast.CURRENT", dict(CURRENT) | {"Old": 3})
    return {
        "Old.v1": lambda old: old | {"steps": [*old.get("steps", []), 1]},
        "Old.v2": lambda old: old | {"steps": [*old.get("steps", []), 2]},
    }


@pytest.mark.accepts("AS-6")
def test_each_upcaster_lifts_one_version(upcasters: dict[str, Upcaster]) -> None:
    assert lift({"type": "Old.v1"}, upcasters) == {"type": "Old.v3", "steps": [1, 2]}
    assert lift({"type": "Old.v2"}, upcasters) == {"type": "Old.v3", "steps": [2]}
    assert lift({"type": "Old.v3"}, upcasters) == {"type": "Old.v3"}


def test_a_missing_upcaster_is_a_damaged_record(upcasters: dict[str, Upcaster]) -> None:
    del upcasters["Old.v2"]
    with pytest.raises(DamagedRecord, match=r"nothing lifts 'Old\.v2'"):
        lift({"type": "Old.v1"}, upcasters)


class Submitted2(TaskSubmitted, frozen=True, kw_only=True, tag="TaskSubmitted.v2"):
    """A second version: the first had a text in the place of the message."""


class Data2(CommitData, frozen=True, kw_only=True):
    events: tuple[Submitted2, ...]


class Commit2(Commit, frozen=True, kw_only=True, tag="pelton.Commit.v1"):
    data: Data2


def _submitted_1_to_2(old: Json) -> Json:
    text = old.pop("text")
    return old | {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}]}}


@pytest.mark.accepts("AS-6", "G13")
def test_an_old_history_folds_to_the_state_of_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pelton.events.upcast.CURRENT", dict(CURRENT) | {"TaskSubmitted": 2})
    monkeypatch.setattr("pelton.events.upcast.Commit", Commit2)
    monkeypatch.setattr("pelton.events.upcast._commits", msgspec.json.Decoder(Commit2))
    monkeypatch.setitem(UPCASTERS, "TaskSubmitted.v1", _submitted_1_to_2)
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    old = {"type": "TaskSubmitted.v1", "taskId": "t", "text": "hello"}
    new = {"type": "TaskSubmitted.v2", "taskId": "t", "message": message}

    states = [
        fold(
            Context(agent="echo", id="chat"),
            2,
            encode(COMMIT | {"data": {"events": [event], "command": 1, "handled": 1}}),
        )
        for event in (old, new)
    ]

    assert states[0].tasks == states[1].tasks
    assert states[0].messages == states[1].messages
    assert text_of(states[0].messages[0].parts) == "hello"


@example(b"{}")
@given(st.binary(max_size=30))
def test_only_errors_of_ours_leave_the_contract(data: bytes) -> None:
    for take in (fold_context, fold_agent, fold_schedules):
        try:
            take(data)
        except PeltonError:
            continue
        raise AssertionError("these bytes are no commit")


def fold_context(data: bytes) -> object:
    return fold(Context(agent="a", id="b"), 1, data)


def fold_agent(data: bytes) -> object:
    return agent.fold(agent.AgentState(agent="a"), 1, data)


def fold_schedules(data: bytes) -> object:
    return schedules.fold(schedules.Schedules(agent="a"), 1, data)


def test_steps_and_turns_of_the_first_contract_are_read_as_their_later_versions() -> None:
    """What they did not say yet is absent: of what kind a step is, and what a turn went by."""
    step: Json = {"type": "StepStarted.v1", "taskId": "t", "key": "a#1", "name": "a"}
    step |= {"attempt": 1, "idempotent": True, "idempotencyKey": "k"}
    turn: Json = {"type": "TurnStarted.v1", "taskId": "t", "turn": 1, "attempt": 1}
    turn |= {"messageId": "m", "executor": "e"}
    commit = COMMIT | {"data": COMMIT["data"] | {"events": [step, turn]}}
    started, begun = decode_commit(encode(commit)).data.events
    assert isinstance(started, StepStarted)
    assert started.kind is StepKind.CODE
    assert isinstance(begun, TurnStarted)
    assert begun.equipment == ()
