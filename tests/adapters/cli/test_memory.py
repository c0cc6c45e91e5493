"""`pelton memory` in this process, on the log of a kitchen: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pelton.adapters.cli.app import run
from pelton.runtime.agents import agent
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.replay.archive import open_file, pack
from pelton.runtime.replay.session import Session
from pelton.runtime.turn import Turn
from tests.runtime.clients import Client, reply, serving

Cli = Callable[..., Any]


def search(query: str) -> str:
    return f"the web says that {query} needs salt"


@agent(team="kitchen")
async def cook(turn: Turn) -> str:
    """Notes what it looks up, hands on what it does not know, and says what it remembers."""
    verb, _, rest = turn.text.partition(" ")
    if verb == "note":
        found = await turn.step("search", search, rest)
        note = await turn.memory.commit(found, scope="team", step="search")
        return note.memory_id
    if verb == "ask":
        return (await turn.delegate("helper", rest)).text
    return (await turn.memory.recall(rest, limit=1)).quoted() or "nothing"


@agent(team="kitchen")
async def helper(turn: Turn) -> str:
    """Says and writes down what it remembers."""
    found = await turn.memory.recall(turn.text)
    said = " ".join(each.content for each in found.items)
    await turn.memory.commit(f"I was asked for {turn.text}: {said}", namespace="diary")
    return said or "nothing"


class Kitchen:
    """What has happened: tasks by what was said, and memories."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tasks: dict[str, str] = {}
        self.replies: dict[str, str] = {}

    async def live(self, *said: str) -> None:
        async with JetStreamLog.open(self.url) as log, serving(log, cook, helper):
            client = Client(log, "cook")
            for text in said:
                context, self.tasks[text] = await client.send(text)
                self.replies[text] = reply(await client.settled(context, self.tasks[text]))


@pytest.fixture
def kitchen(nats_url: str) -> Kitchen:
    found = Kitchen(nats_url)
    asyncio.run(found.live("note bread", "say soup", "ask bread", "say bread"))
    return found


@pytest.fixture
def cli(
    kitchen: Kitchen, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:  # fmt: skip
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> Any:
        """Run a command with `--json`, and return what it prints."""
        words = ["memory", *arguments, "--nats", kitchen.url]
        assert run([*words, "--json"]) == code, capsys.readouterr().err
        said = capsys.readouterr()
        return json.loads(said.out if code in (0, 5) else said.err)

    return call


@pytest.mark.accepts("AS-53", "AS-54")
def test_memories_are_looked_up_and_put_right(kitchen: Kitchen, cli: Cli) -> None:
    id_ = kitchen.replies["note bread"]
    revised = cli("revise", id_, "Bread needs yeast.", "--expect", "1")
    assert (revised["version"], revised["cause"]["kind"]) == (2, "person")
    assert cli("revise", id_, "x", "--expect", "1", code=1)["error"]["code"] == "memory-conflict"
    history = cli("history", id_)["versions"]
    assert [each["cause"]["kind"] for each in history] == ["tool", "person"]
    assert cli("forget", id_, "--reason", "wrong")["forgotten"]
    assert cli("get", id_)["reason"] == "wrong"
    assert cli("recall", "bread", "--team", "kitchen")["memories"] == []
    assert cli("revert", id_, "1")["reverts"] == 1
    for command in ("get", "history", "why", "who-used"):
        cli(command, "0" * 32, code=3)
    cli("get", "no-id", code=2)
    shut = cli("commit", "Closed on Mondays.", "--global")["id"]
    assert cli("commit", "whose?", code=2)["error"]["code"] == "usage"
    assert [each["id"] for each in cli("recall", "--as", "cook")["memories"]] == [shut, id_]


def test_why_leads_back_to_the_message_and_the_step(kitchen: Kitchen, cli: Cli) -> None:
    id_ = kitchen.replies["note bread"]
    why = cli("why", id_)
    assert why["version"]["cause"]["taskId"] == kitchen.tasks["note bread"]
    assert why["evidence"]["message"]["parts"] == [{"text": "note bread"}]
    assert why["evidence"]["result"] == "the web says that bread needs salt"
    [diary] = cli("recall", "--agent", "helper")["memories"]
    given = cli("why", diary["id"])["given"]
    assert [(each["memoryId"], each["version"]) for each in given] == [(id_, 1)]
    cli("revise", id_, "No.")
    cli("revert", id_, "1")
    assert [each["version"] for each in cli("why", id_)["sources"]] == [1]
    assert cli("why", id_, "--version", "2")["evidence"]["message"] is None
    assert cli("why", id_, "--version", "9", code=3)["error"]["code"] == "memory-not-found"


def test_who_used_names_the_turns_that_were_given_it(kitchen: Kitchen, cli: Cli) -> None:
    uses = cli("who-used", kitchen.replies["note bread"])["uses"]
    assert [(each["agent"], each["key"]) for each in uses] == [
        ("helper", "memory.recall#1"),
        ("cook", "memory.recall#1"),
    ]
    assert uses[1]["taskId"] == kitchen.tasks["say bread"]


def test_as_of_tells_what_was_remembered_then(kitchen: Kitchen, cli: Cli) -> None:
    id_ = kitchen.replies["note bread"]
    first = cli("get", id_)["sequence"]
    then = cli("forget", id_)["sequence"]
    assert [each["content"] for each in cli("as-of", str(first))["memories"]] == [
        "the web says that bread needs salt"
    ]
    assert cli("as-of", str(first - 1))["memories"] == []
    for asking, found in (("cook", 1), ("helper", 2), ("nobody", 0)):
        assert len(cli("as-of", str(then - 1), "--as", asking)["memories"]) == found
    assert id_ not in [each["id"] for each in cli("as-of", str(then))["memories"]]
    assert cli("as-of", "1000000", code=2)["error"]["code"] == "validation-denied"


def test_taint_finds_all_that_came_of_a_bad_tool(kitchen: Kitchen, cli: Cli) -> None:
    id_ = kitchen.replies["note bread"]
    search = cli("why", id_)["evidence"]["cause"]
    assert search["key"] == "search#1"
    found = cli("taint", f"{id_}@1")
    tasks = {each["taskId"]: each for each in found["tasks"]}
    named = {text for text, task in kitchen.tasks.items() if task in tasks}
    assert named == {"ask bread", "say bread"}
    assert {each["agent"] for each in found["tasks"]} == {"cook", "helper"}
    assert tasks[kitchen.tasks["say bread"]]["how"] == "memory"
    assert tasks[kitchen.tasks["ask bread"]]["how"] == "message"
    assert all(each["outcome"] == "completed" for each in found["tasks"])
    [diary] = cli("recall", "--agent", "helper")["memories"]
    assert [each["memoryId"] for each in found["memories"]] == [id_, diary["id"]]
    assert all(each["last"] for each in found["memories"])
    cli("revise", diary["id"], "Nobody asked.")
    assert [each["last"] for each in cli("taint", f"{id_}@1")["memories"]] == [True, False]
    cli("taint", f"{id_}@7", code=3)
    cli("taint", "1000000", code=2)


def test_people_are_told_the_same_in_lines(
    kitchen: Kitchen, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = kitchen.replies["note bread"]

    def lines(*arguments: str) -> str:
        assert run(["memory", *arguments, "--nats", kitchen.url]) == 0
        return capsys.readouterr().out

    why = lines("why", id_)
    assert f"task {kitchen.tasks['note bread']}, turn 1, step search#1" in why
    assert "message 'note bread'" in why
    assert "memory.recall#1" in lines("who-used", id_)
    assert "team:kitchen" in lines("as-of", str(cli("get", id_)["sequence"]))
    tainted = lines("taint", f"{id_}@1").splitlines()
    assert tainted[0] == f"3 tasks and 2 versions of memories come of {id_}@1"
    assert "memory revert or forget it" in tainted[-1]
    assert "no turn was given it" in lines("who-used", cli("commit", "x", "--global")["id"])


def test_one_memory_takes_the_place_of_others(kitchen: Kitchen, cli: Cli) -> None:
    ids = [
        cli("commit", text, "--team", "kitchen")["id"] for text in ("Salt is out.", "So is oil.")
    ]
    made = cli("consolidate", *ids, "--text", "Salt and oil are out.")
    assert [each["memoryId"] for each in made["sources"]] == ids
    found = [each["id"] for each in cli("recall", "salt", "--team", "kitchen")["memories"]]
    assert made["id"] in found
    assert not set(ids) & set(found)
    other = cli("commit", "Elsewhere.", "--global")["id"]
    assert cli("consolidate", made["id"], other, "--text", "x", code=2)["error"]
    assert cli("consolidate", "0" * 32, "--text", "x", code=3)["error"]


EXTRACT = """
import asyncio
import socket


async def better(source):
    await asyncio.sleep(60)
    return f"{source.kind}: {source.result.upper()}" if source.result else None


def same(source):
    return source.content


def leaks(source):
    socket.create_connection(("127.0.0.1", 1))


def number(source):
    return 7
"""


def test_memory_is_made_anew_by_another_function(
    kitchen: Kitchen, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "extract.py").write_text(EXTRACT)
    id_ = kitchen.replies["note bread"]
    cli("commit", "By hand.", "--global")
    [diary] = cli("recall", "--agent", "helper")["memories"]
    kept = cli("rebuild-with", "extract.py:same")
    assert (kept["rewrites"], kept["same"], kept["left"]) == ([], 2, 1)
    found = {each["memoryId"]: each for each in run_different(cli, "extract.py:better")["rewrites"]}
    assert found[id_]["after"] == "tool: THE WEB SAYS THAT BREAD NEEDS SALT"
    assert found[diary["id"]]["after"] is None
    assert len(cli("history", id_)["versions"]) == 1, "it is only told"
    assert len(run_different(cli, "extract.py:better", "--agent", "helper")["rewrites"]) == 1
    assert cli("rebuild-with", "extract.py:better", "--apply")["applied"] == 2
    [first, second] = cli("history", id_)["versions"]
    assert (second["content"], second["cause"]) == (found[id_]["after"], first["cause"])
    assert cli("get", diary["id"])["forgotten"]
    assert cli("rebuild-with", "extract.py:better", "--apply")["applied"] == 0


def run_different(cli: Cli, *arguments: str) -> Any:
    return cli("rebuild-with", *arguments, code=5)


@pytest.mark.accepts("AS-21")
def test_a_function_that_has_effects_or_fails_changes_nothing(
    kitchen: Kitchen, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "extract.py").write_text(EXTRACT)
    for name in ("leaks", "number"):
        failed = cli("rebuild-with", f"extract.py:{name}", "--apply", code=1)
        assert failed["error"]["code"] == "extraction-failed"
    assert "effect" in cli("rebuild-with", "extract.py:leaks", code=1)["error"]["message"]
    for wrong in ("extract.py", "extract.py:none", "nothing.py:x", "no_such:x"):
        cli("rebuild-with", wrong, code=2)


@pytest.mark.accepts("AS-22", "AS-52")
def test_a_conversation_is_rendered_as_files(kitchen: Kitchen, cli: Cli, tmp_path: Path) -> None:
    task = kitchen.tasks["ask bread"]
    words = ["render", task, "--nats", kitchen.url]

    def rendered(directory: str, *more: str) -> dict[str, str]:
        assert run([*words, directory, *more]) == 0
        return {path.name: path.read_text() for path in (tmp_path / directory).iterdir()}

    files = rendered("one")
    assert files == rendered("two"), "the same records give the same bytes"
    assert run([*words, "one"]) == 1
    assert rendered("one", "--force") == files
    assert "> ask bread" in files["context.md"].splitlines()
    assert "> the web says that bread needs salt" in files["context.md"].splitlines()
    tasks = json.loads(files["tasks.json"])
    assert [each["agent"] for each in tasks["nodes"]] == ["cook", "helper"]
    delegated, remembered = files["decisions.log"].splitlines()[-2:]
    assert delegated.endswith(f"to helper: {json.dumps('bread')}")
    assert " helper remembers " in remembered
    assert files["issues.md"].count("Nothing.") == 2
    before = int(delegated.split()[0]) - 1
    assert "helper" not in rendered("three", "--at", str(before))["decisions.log"]


def test_recall_goes_by_meaning_if_the_settings_say_so(
    kitchen: Kitchen, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def embed(texts):\n    return [['loaf' in t or 'bread' in t, True] for t in texts]\n"
    (tmp_path / "model.py").write_text(code)
    assert cli("recall", "loaf")["memories"] == []
    monkeypatch.setenv("PELTON_MEMORY_EMBED", "model.py:embed")
    assert {each["id"] for each in cli("recall", "loaf")["memories"]} > {
        kitchen.replies["note bread"]
    }
    monkeypatch.setenv("PELTON_MEMORY_EMBED", "model.py:missing")
    assert cli("recall", "loaf", code=2)["error"]["code"] == "validation-denied"


def test_taint_follows_what_is_handed_on(
    kitchen: Kitchen, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a message: its task, the one that was handed on, what that wrote; and no other."""
    task = kitchen.tasks["ask bread"]
    assert run(["step", task, "--nats", kitchen.url, "--json"]) == 0
    message = json.loads(capsys.readouterr().out)["steps"][0]["cause"]["sequence"]
    found = cli("taint", str(message))
    tasks = [(each["agent"], each["how"], each["because"]) for each in found["tasks"]]
    assert tasks[0] == ("cook", "message", message)
    assert tasks[1][:2] == ("helper", "message")
    assert len(tasks) == 2
    assert found["tasks"][0]["taskId"] == task
    [diary] = cli("recall", "--agent", "helper")["memories"]
    assert [each["memoryId"] for each in found["memories"]] == [diary["id"]]


def exported(kitchen: Kitchen, said: str, name: str = "it.pelton") -> str:
    """Export the conversation in which something was said; return the name of the file."""
    task = kitchen.tasks[said]
    assert run(["export", task, "--out", name, "--nats", kitchen.url]) == 0
    assert run(["verify", name]) == 0
    return name


def consolidated(kitchen: Kitchen, cli: Cli) -> tuple[str, str, str, str]:
    """Put a memory that took the place of one of a person, and of the note, into another's hands.

    Return the ids of the note, of the person's, of what is made of both, and of what is made of it.
    """
    note = kitchen.replies["note bread"]
    oil = cli("commit", "Oil is out.", "--team", "kitchen")["id"]
    both = cli("consolidate", note, oil, "--text", "Bread needs salt, and oil is out.")["id"]
    last = cli("consolidate", both, "--text", "Salt for bread; buy oil.")["id"]
    return note, oil, both, last


@pytest.mark.accepts("AS-25")
def test_a_session_file_has_what_took_the_place_of_its_memories(
    kitchen: Kitchen, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where that came from: a memory that was never part of the conversation."""
    note, oil, both, last = consolidated(kitchen, cli)
    other = cli("commit", "Of no concern.", "--team", "kitchen")["id"]
    file = exported(kitchen, "note bread")
    capsys.readouterr()
    for command in ("history", "why", "get"):
        for id_ in (note, oil, both, last):
            assert cli(command, id_, "--file", file) == cli(command, id_), (command, id_)
    why = cli("why", last, "--file", file)
    assert [each["id"] for each in why["sources"]] == [both, note, oil]
    assert why["missing"] == []
    now = cli("get", last)["sequence"]
    assert [each["id"] for each in cli("as-of", str(now), "--file", file)["memories"]] == [last]
    cli("get", other, "--file", file, code=3)


def test_imported_sessions_answer_for_memories_by_their_ids(
    kitchen: Kitchen, cli: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    *_, last = consolidated(kitchen, cli)
    sequence = str(cli("get", last)["sequence"])
    commands = (
        *(("history", last), ("why", last), ("who-used", last), ("get", last)),
        *(("taint", f"{last}@1"), ("as-of", sequence), ("taint", sequence)),
    )
    on_log = {each: cli(*each) for each in commands if each[0] not in ("as-of", "taint")}
    file = exported(kitchen, "note bread")
    assert run(["import", file]) == 0
    capsys.readouterr()

    def alone(*words: str, code: int = 0) -> Any:
        assert run(["memory", *words, "--json"]) == code
        said = capsys.readouterr()
        return json.loads(said.err if code else said.out)

    for each in commands:
        assert alone(*each) == (on_log.get(each) or cli(*each, "--file", file))
    assert alone("get", "0" * 32, code=4)["error"]["code"] == "unavailable"
    other = exported(kitchen, "say bread", "other.pelton")
    assert run(["import", other]) == 0
    capsys.readouterr()
    assert "--file" in alone("as-of", sequence, code=1)["error"]["message"]
    assert alone("why", last)["version"]["id"] == last


def test_a_part_of_a_log_says_what_it_lacks(
    kitchen: Kitchen, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of an earlier version, without the sources; and a memory of another conversation."""
    *_, both, last = consolidated(kitchen, cli)
    opened = open_file(Path(exported(kitchen, "note bread")))
    subject = f"evt._memory.{both}"
    fewer = [each for each in opened.session.records if each.subject != subject]
    data, _ = pack(opened.header, Session(fewer, opened.session.blobs))
    Path("old.pelton").write_bytes(data)
    assert run(["verify", "old.pelton"]) == 0
    capsys.readouterr()
    why = cli("why", last, "--file", "old.pelton")
    assert why["sources"] == []
    assert why["missing"] == [{"memoryId": both, "version": 1}]
    assert run(["memory", "why", last, "--file", "old.pelton"]) == 0
    assert f"made of what is not here: {both}@1" in capsys.readouterr().out
    exported(kitchen, "say bread", "given.pelton")
    capsys.readouterr()
    note = kitchen.replies["note bread"]
    assert run(["memory", "why", note, "--file", "given.pelton"]) == 0
    assert "the conversation that this was in is not here" in capsys.readouterr().out
