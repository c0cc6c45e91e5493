"""What is published of the contract: fresh, true to the records, and kept (AS-5)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from pelton.adapters.contract.__main__ import main
from pelton.adapters.contract.files import RELEASED, complaints, generated, release, write
from pelton.events import subjects
from pelton.events.asyncapi import asyncapi
from pelton.events.commands import COMMANDS, Command
from pelton.events.commit import Commit
from pelton.events.events import EVENTS
from pelton.events.ids import task_id
from pelton.events.schema import digest_of, schemas
from tests.events.material import commands, commits
from tests.strategies import canonical

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "schemas"


def validator(name: str) -> Any:
    """Return the validator of a type's schema; the others are there to be referred to."""
    resources = [(s["$id"], DRAFT202012.create_resource(s)) for s in schemas().values()]
    registry = cast("Any", Registry)().with_resources(resources)
    return Draft202012Validator(schemas()[name], registry=registry)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of what is published, to be spoilt."""
    return Path(shutil.copytree(PUBLISHED, tmp_path / "schemas"))


@pytest.mark.accepts("AS-5")
def test_what_is_published_is_what_the_types_say() -> None:
    assert not complaints(PUBLISHED)


@pytest.mark.accepts("AS-5")
def test_every_type_is_published_and_released() -> None:
    names = {
        str(s.__struct_config__.tag).removeprefix("pelton.") for s in (*COMMANDS, Commit, *EVENTS)
    }
    assert names == set(schemas()) - {"Event"}
    assert names <= set(json.loads((PUBLISHED / RELEASED).read_text()))


@pytest.mark.accepts("AS-5")
@pytest.mark.parametrize("name", ["SendMessage.v1.json", "asyncapi.json", "Event.json"])
def test_a_stale_or_missing_file_is_noticed(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert complaints(folder) == [f"{name} is not what the types say: run `make schemas`"]
    (folder / name).unlink()
    assert complaints(folder) == [f"{name} is missing: run `make schemas`"]
    write(folder)
    assert not complaints(folder)


@pytest.mark.accepts("AS-5")
def test_a_file_that_belongs_to_nothing_is_noticed(folder: Path) -> None:
    (folder / "Gossip.v1.json").write_text("{}")
    assert complaints(folder) == ["Gossip.v1.json belongs to no type: delete it"]


@pytest.mark.accepts("AS-5")
def test_a_released_schema_that_changed_without_a_new_version_is_noticed(folder: Path) -> None:
    """As if the record were from before a change to the type: the digest is all there is of it."""
    digests = json.loads((folder / RELEASED).read_text())
    digests["TurnEnded.v1"] = "0" * 64
    (folder / RELEASED).write_text(json.dumps(digests))
    (complaint,) = complaints(folder)
    assert "TurnEnded.v1 was released and its schema has changed" in complaint
    assert "upcaster" in complaint
    release(folder)
    assert complaints(folder) == [complaint], "releasing again covers nothing up"


@pytest.mark.accepts("AS-5")
def test_the_schema_of_an_older_version_stays(folder: Path) -> None:
    """A type that is gone or in a later version keeps its published schema, as it was."""
    old = {"$id": "pelton:Gossip.v1", "type": "object"}
    (folder / "Gossip.v1.json").write_text(json.dumps(old))
    digests = json.loads((folder / RELEASED).read_text())
    (folder / RELEASED).write_text(json.dumps(digests | {"Gossip.v1": digest_of(old)}))
    assert not complaints(folder)
    (folder / "Gossip.v1.json").write_text(json.dumps(old | {"required": ["whom"]}))
    assert len(complaints(folder)) == 1
    (folder / "Gossip.v1.json").unlink()
    assert len(complaints(folder)) == 1


def test_only_what_a_schema_demands_counts() -> None:
    schema = schemas()["AgentRegistered.v1"]
    skill = schema["$defs"]["AgentSkill"]
    assert "description" in skill["properties"], "a member of that name is no description"
    described = digest_of(schema | {"description": "other words"})
    assert described == digest_of(schema)
    del skill["properties"]["description"]
    assert digest_of(schema) != described


def test_the_command_says_what_is_wrong_and_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    assert main(["--check"]) == 0
    (folder / "Event.json").write_text("{}")
    assert main(["--check"]) == 1
    assert "Event.json is not what the types say" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert main(["--help"]) == 2


# True to the records


@pytest.mark.accepts("AS-5")
@settings(max_examples=50)
@given(commands)
def test_every_command_fits_its_schema(command: Command) -> None:
    validator(f"{type(command).__name__}.v1").validate(canonical(command))


@pytest.mark.accepts("AS-5")
@settings(max_examples=50)
@given(commits)
def test_every_commit_fits_its_schema(commit: Commit) -> None:
    validator("Commit.v1").validate(canonical(commit))


@pytest.mark.accepts("AS-5")
@pytest.mark.parametrize("name", sorted(schemas()))
def test_every_schema_is_one_and_refuses_something(name: str) -> None:
    checked = validator(name)
    Draft202012Validator.check_schema(schemas()[name])
    with pytest.raises(jsonschema.ValidationError):
        checked.validate({"type": "Gossip.v1"})
    with pytest.raises(jsonschema.ValidationError):
        checked.validate([])


# The AsyncAPI document


def refs(value: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        if isinstance(members.get("$ref"), str):
            found.add(members["$ref"])
        value = list(members.values())
    items: Any = value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType]
    return found.union(*(refs(item) for item in items))


def resolve(document: Any, ref: str) -> Any:
    head, *path = ref.split("/")
    assert head == "#", ref
    for key in path:
        document = document[key]
    return document


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = asyncapi()
    found = refs(document)
    assert len(found) > 40
    for ref in found:
        assert resolve(document, ref)


def test_the_document_has_what_asyncapi_demands() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(document["info"])
    for server in document["servers"].values():
        assert {"host", "protocol"} <= set(server)
    for channel in document["channels"].values():
        placeholders = {part[1:-1] for part in channel["address"].split(".") if part[0] == "{"}
        assert placeholders == set(channel["parameters"])
        assert channel["messages"]
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        assert all(message["$ref"].startswith(channel) for message in operation["messages"])
    used = refs(document["channels"])
    for key, message in document["components"]["messages"].items():
        assert f"#/components/messages/{key}" in used
        assert message["payload"]["$ref"] in refs(document)


TASK = task_id("chat", "opens")


def test_the_document_and_the_builders_agree_on_subjects() -> None:
    channels = asyncapi()["channels"]
    filled = {
        name: channel["address"].format(
            agent="echo", context="chat", key="k", task=TASK, memory="0" * 32, aggregate="keys"
        )
        for name, channel in channels.items()
    }
    assert filled == {
        "commands": subjects.commands("echo", "chat"),
        "commits": subjects.commits("echo", "chat"),
        "agentCommits": subjects.agent_commits("echo"),
        "scheduleCommands": subjects.schedule_commands("echo"),
        "scheduleCommits": subjects.schedule_commits("echo"),
        "liveScheduleCommands": f"live.{subjects.schedule_commands('echo')}",
        "keyClaims": subjects.claims("echo", "k"),
        "pushCommits": subjects.pushes("echo", TASK),
        "memoryCommits": subjects.memory("0" * 32),
        "accessCommits": subjects.access(subjects.KEYS),
        "liveCommands": f"live.{subjects.commands('echo', 'chat')}",
        "liveCommits": f"live.{subjects.commits('echo', 'chat')}",
    }


def test_every_command_can_be_sent_and_every_record_heard() -> None:
    document = asyncapi()
    sent = {
        resolve(document, message["$ref"])["$ref"]
        for operation in document["operations"].values()
        if operation["action"] == "send"
        for message in operation["messages"]
    }
    names = {f"{struct.__name__}-v1" for struct in (*COMMANDS, Commit)}
    assert sent == {f"#/components/messages/{name}" for name in names}


def test_what_is_generated_is_the_same_each_time() -> None:
    assert generated() == generated()
