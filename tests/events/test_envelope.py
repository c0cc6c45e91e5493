"""Records on the wire: they come back as they went, in canonical bytes, with nothing null."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given

from pelton.events.a2a import BlobRef, Message, Part, Role
from pelton.events.commands import (
    COMMANDS,
    CancelTask,
    SendMessage,
)
from pelton.events.commit import Commit, Origin, recorded
from pelton.events.envelope import digest, encode
from pelton.events.events import EVENTS, name_of, type_of
from pelton.events.upcast import CURRENT, decode_command, decode_commit
from tests.events.material import ATTRIBUTES, commands, commits
from tests.moves import stories
from tests.stories import Story
from tests.strategies import json_objects


@given(commits)
def test_commits_come_back_as_they_went(commit: Commit) -> None:
    data = encode(commit)
    assert decode_commit(data) == commit
    assert encode(decode_commit(data)) == data


@given(commands)
def test_commands_come_back_as_they_went(command: SendMessage | CancelTask) -> None:
    data = encode(command)
    assert decode_command(data) == command
    assert encode(decode_command(data)) == data


def _turned(value: Any) -> Any:
    """Return a JSON value with the members of all its objects in the opposite order."""
    match value:
        case dict():
            members = cast("dict[str, Any]", value)
            return {name: _turned(members[name]) for name in reversed(members)}
        case list():
            return [_turned(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


@given(json_objects)
def test_the_order_of_members_makes_no_difference_to_the_bytes(metadata: dict[str, Any]) -> None:
    one, two = (
        Message(message_id="m", role=Role.USER, parts=(Part(data=value),), metadata=value)
        for value in (metadata, _turned(metadata))
    )
    assert encode(one) == encode(two)


@pytest.mark.accepts("AS-8")
@given(stories(max_moves=12))
def test_no_attribute_of_a_record_is_ever_null(story: Story) -> None:
    for record in story.tape.records:
        raw = json.loads(record.data)
        required = {*ATTRIBUTES, "type", "dataschema", "specversion", "datacontenttype", "data"}
        assert required <= set(raw)
        assert all(value not in (None, "") for name, value in raw.items() if name != "prevhash")
    for _, data in story.commits:
        commit = decode_commit(data)
        for event in recorded(commit):
            assert event.id
            assert event.sequence >= 1
            assert event.commit.correlationid
            assert CURRENT[name_of(event.event)] >= 1


@given(stories(max_moves=12))
def test_events_are_counted_without_gaps(story: Story) -> None:
    events = [event for _, data in story.commits for event in recorded(decode_commit(data))]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len({event.id for event in events}) == len(events)


def test_type_and_schema_name_the_same_version() -> None:
    for struct in (*COMMANDS, Commit):
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        tag = str(struct.__struct_config__.tag)
        assert tag == f"pelton.{struct.__name__}.v{CURRENT[f'pelton.{struct.__name__}']}"
        assert fields["dataschema"].default == tag.replace("pelton.", "pelton:", 1)
    for event in EVENTS:
        assert event.__struct_config__.tag == f"{event.__name__}.v{CURRENT[event.__name__]}"


def test_a_record_reads_as_a_cloud_event() -> None:
    story = Story()
    command = story.send("hello")
    raw = json.loads(encode(command))
    assert next(iter(raw)) == "type"
    assert raw["specversion"] == "1.0"
    assert raw["datacontenttype"] == "application/json"
    assert raw["type"] == "pelton.SendMessage.v1"
    assert raw["data"]["message"]["parts"] == [{"text": "hello"}]
    assert all(name.islower() and name.isalnum() for name in raw), "as CloudEvents asks of names"


def test_an_events_type_tells_name_and_version() -> None:
    story = Story()
    story.send("hello")
    (submitted,) = story.decide()
    assert (type_of(submitted), name_of(submitted)) == ("TaskSubmitted.v1", "TaskSubmitted")


def test_the_digest_is_sha_256() -> None:
    assert digest(b"abc") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.accepts("AS-7")
@given(stories(max_moves=12))
def test_causation_leads_from_every_commit_to_its_request(story: Story) -> None:
    causes = {command.id: command for _, command in story.commands}
    for _, data in story.commits:
        commit = decode_commit(data)
        cause = causes[commit.causationid]
        assert commit.correlationid == cause.correlationid
        assert commit.traceparent == cause.traceparent
        causes[commit.id] = cause


def test_an_origin_carries_on_what_its_cause_says() -> None:
    cause = Story().send("hello")
    origin = Origin.caused_by(cause, "executor/one")
    assert origin == ("executor/one", "t", "anna", cause.id, cause.id, msgspec.UNSET)


def test_references_to_blobs_are_spelled_like_the_rest() -> None:
    part = Part(blob=BlobRef(sha256="ab", size=3, member="text"), media_type="text/plain")
    wire = b'{"mediaType":"text/plain","blob":{"sha256":"ab","size":3,"member":"text"}}'
    assert encode(part) == wire
