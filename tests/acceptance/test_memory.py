"""`pelton memory`: what an agent has remembered, put right by hand, and recalled by it again."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import pytest

from tests.acceptance.running import Dev, ask, get, message

COOK = '''\
from pelton.runtime import Turn, agent


@agent(team="kitchen")
async def cook(turn: Turn) -> str:
    """Remembers recipes."""
    if turn.text.startswith("note "):
        note = await turn.memory.commit(turn.text.removeprefix("note "), scope="team")
        return note.memory_id
    found = await turn.memory.recall(turn.text.rpartition(" ")[2])
    return " | ".join(each.content for each in found.items) or "nothing"
'''


@pytest.mark.accepts("AS-53", "AS-54")
def test_people_put_right_what_an_agent_remembers(tmp_path: Path) -> None:
    (tmp_path / "cook.py").write_text(COOK)
    with Dev(tmp_path, "--profile", "relaxed", agents=("cook.py",)) as dev:
        dev.ready()

        def say(text: str) -> str:
            sent = message(text)
            answer = ask(f"{dev.url}/cook", "SendMessage", sent)["task"]["status"]["message"]
            return str(answer["parts"][0]["text"])

        id_ = say("note Bread needs salt.")
        assert say("1 bread") == "Bread needs salt."
        revised = dev.json("memory", "revise", id_, "Bread needs yeast.", "--expect", "1")
        assert (revised["version"], revised["cause"]["kind"]) == (2, "person")
        assert say("2 bread") == "Bread needs yeast."
        assert dev.run("memory", "forget", id_, "--reason", "wrong").returncode == 0
        assert say("3 bread") == "nothing"
        assert dev.json("memory", "recall", "bread")["memories"] == []
        assert dev.run("memory", "revert", id_, "1").returncode == 0
        assert say("4 bread") == "Bread needs salt."
        assert dev.json("agents", "move", "cook", "bakery")["team"] == "bakery"
        assert say("5 bread") == "nothing"

        asked = urllib.parse.urlencode({"query": "bread", "owner": "kitchen"})
        [listed] = get(f"{dev.url}/v1/memories?{asked}")[1]["items"]
        assert (listed["id"], listed["version"]) == (id_, 4)
        readers = get(f"{dev.url}/v1/memories/{id_}/readers")[1]["items"]
        assert [each["version"] for each in readers] == [4, 2, 1]
        why = get(f"{dev.url}/v1/memories/{id_}/why")[1]
        assert [each["version"] for each in why["sources"]] == [1]
