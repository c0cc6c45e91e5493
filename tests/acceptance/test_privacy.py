"""What must not be stored is in no file and in nothing that is printed; all else is unchanged."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.running import Dev, ask, eventually, get, message, pelton
from tests.secrets import CONTEXTS, HARMLESS, MEMBERS, PREFIXED, TEXTS

AGENT = '''\
import json
import os

from pelton.events.a2a import Part
from pelton.runtime import Turn, agent
from pelton.runtime.failures import AgentError

CORPUS = json.load(open("corpus.json"))


def leak() -> dict:
    return CORPUS


def leak_much() -> list:
    return [CORPUS["texts"], "x" * 40_000]


def fail() -> None:
    raise AgentError(CORPUS["texts"])


@agent
async def leaky(turn: Turn) -> str:
    """Says in every way what it should not."""
    said = turn.text
    result = await turn.step("tool", leak)
    await turn.step("large", leak_much, idempotent=True)
    await turn.status(CORPUS["texts"])
    for start in range(0, len(CORPUS["texts"]), 97):
        await turn.stream(CORPUS["texts"][start : start + 97], name="streamed")
    await turn.artifact([Part(data=CORPUS["members"]), Part(text=CORPUS["texts"])], name="parts")
    await turn.artifact([Part(raw=CORPUS["file"], media_type="text/plain")], name="file")
    await turn.artifact(CORPUS["texts"] + "x" * 40_000, name="bulk")
    await turn.artifact([Part(text=said), Part(data=result["harmless"])], name="harmless")
    await turn.memory.commit(CORPUS["texts"])
    await turn.memory.put("members", [CORPUS["members"], said])
    await turn.memory.put("harmless", CORPUS["harmless"])
    kept = [await turn.memory.get(key=key) for key in ("members", "harmless")]
    await turn.artifact([Part(data=each.value) for each in kept], name="memory")
    print("said it")
    try:
        await turn.step("broken", fail)
    except Exception as error:
        await turn.artifact(str(error), name="error")
    if "fail" in turn.metadata:
        raise AgentError(CORPUS["texts"])
    return CORPUS["texts"]
'''


def needles() -> dict[str, bytes]:
    """Return what to look for: of what has several lines one of them, as no escape is in it."""
    secrets = {
        **PREFIXED,
        **{f"{name}, in its place": secret for name, (_, secret) in CONTEXTS.items()},
        **{f"{name}, as a member": secret for name, (_, secret) in MEMBERS.items()},
    }
    lines = {name: max(re.split(r"\n|\\n", text), key=len) for name, text in secrets.items()}
    return {name: line.encode() for name, line in lines.items()}


def found_in(data: bytes) -> list[str]:
    """Return the secrets in bytes, also where they are the text of a file."""
    spelled = [
        base64.b64decode(each) for each in re.findall(rb'"raw":"([A-Za-z0-9+/]{40,}={0,2})"', data)
    ]
    return [
        name for name, each in needles().items() if any(each in one for one in (data, *spelled))
    ]


def differing(**pairs: tuple[object, object]) -> list[str]:
    """Return the names of pairs that differ: to see how would take pytest minutes."""
    return [name for name, (found, expected) in pairs.items() if found != expected]


@pytest.mark.accepts("AS-40", "S23")
def test_no_secret_is_in_any_file_or_line(tmp_path: Path) -> None:
    texts = "\n".join(TEXTS.values())
    members = dict(MEMBERS.values())
    file = base64.b64encode(texts.encode()).decode()
    harmless = {**HARMLESS, "picture": HARMLESS["picture"][:400]}
    corpus = {"texts": texts, "members": members, "file": file, "harmless": harmless}
    assert set(found_in(json.dumps(corpus).encode())) == set(needles())  # it can be seen at all
    (tmp_path / "corpus.json").write_text(json.dumps(corpus))
    (tmp_path / "leaky.py").write_text(AGENT)
    spoken = "\n".join(harmless.values())
    parts: list[dict[str, Any]] = [
        {"text": spoken},
        {"data": {"members": members, "harmless": harmless}, "metadata": {"note": texts}},
        {"raw": file, "filename": "keys.env", "mediaType": "text/plain"},
        {"raw": HARMLESS["picture"]},
        {"text": texts},
    ]
    with Dev(tmp_path, agents=("leaky.py",), PELTON_LOG_LEVEL="debug") as dev:
        dev.ready()
        url = f"{dev.url}/leaky"
        tasks: list[dict[str, Any]] = []
        for metadata in ({}, {"fail": texts}):
            said = {"messageId": f"m{len(tasks)}", "role": "ROLE_USER", "parts": parts}
            asked = {"message": {**said, "metadata": metadata}, "metadata": metadata}
            tasks.append(ask(url, "SendMessage", asked)["task"])
        states = [task["status"]["state"].removeprefix("TASK_STATE_") for task in tasks]
        assert states == ["COMPLETED", "FAILED"]
        artifacts = {each["name"]: each["parts"] for each in tasks[0]["artifacts"]}
        redacted = artifacts["parts"][1]["text"]
        sent = tasks[0]["history"][0]["parts"]
        unlike = differing(
            text=(artifacts["harmless"][0]["text"], spoken + redacted),  # what the message said
            result=(artifacts["harmless"][1]["data"], harmless),
            remembered=(artifacts["memory"][0]["data"][1], spoken + redacted),
            kept=(artifacts["memory"][1]["data"], harmless),
            sent_text=(sent[0], parts[0]),
            sent_data=(sent[1]["data"]["harmless"], harmless),
            sent_picture=(sent[3], parts[3]),
            streamed=(artifacts["streamed"][0]["text"], redacted),
            error=(artifacts["error"][0]["text"], redacted),
        )
        assert not unlike
        assert redacted.count("(redacted:") == len(TEXTS)
        context = tasks[0]["contextId"]
        printed = [
            dev.run("show", tasks[0]["id"]),
            dev.run("timeline", context, "--json"),
            dev.run("memory", "recall", "harmless", "--agent", "leaky", "--json"),
            dev.run("export", context, "-o", ".pelton/session.pelton"),
        ]
        assert [done.returncode for done in printed] == [0, 0, 0, 0]
        assert dev.stop() == 0
    outputs = {"dev": "\n".join(dev.lines).encode()}
    outputs |= {f"command {n}": (d.stdout + d.stderr).encode() for n, d in enumerate(printed)}
    outputs["answers"] = json.dumps(tasks).encode()
    files = [each for each in (tmp_path / ".pelton").rglob("*") if each.is_file()]
    outputs |= {str(each): each.read_bytes() for each in files}
    assert any(b"(redacted:github-token)" in data for data in outputs.values())
    assert {name: found for name, data in outputs.items() if (found := found_in(data))} == {}


SEALED = '''\
from pelton.runtime import Turn, agent


def look(text: str) -> dict:
    return {"found": text}


@agent
async def secretary(turn: Turn) -> str:
    """Says what it hears, in a step, a stream, an artifact and an answer."""
    found = await turn.step("look", look, turn.text, idempotent=True)
    await turn.memory.commit(turn.text, scope="global")
    await turn.stream(turn.text)
    await turn.artifact(turn.text, name="note")
    return f"{found['found']}, after {len(turn.history)} messages"
'''


def _run_again(dev: Dev, erased: str, kept: str, said: str) -> None:
    """What is erased does not run again; what is not does, and forks, where the keys are."""
    records = dev.json("timeline", erased)["records"]
    [memory] = {e["subject"][12:] for e in records if e["subject"].startswith("evt._memory.")}
    why = dev.run("memory", "why", memory)
    assert f"task {erased}, turn 1" in why.stdout, why.stderr
    assert "was erased" in why.stdout
    again = dev.run("rerun", erased, "--json")
    assert json.loads(again.stderr)["error"]["code"] == "content-erased"
    saved = dev.run("test", "save", kept, "--json")
    assert json.loads(saved.stderr)["error"]["code"] == "content-sealed"
    assert dev.run("rerun", kept).returncode == 0
    forked = dev.run("fork", kept, "--out", "bert.pelton")
    assert forked.returncode == 0, forked.stderr
    assert said in dev.run("show", kept, "--file", "bert.pelton").stdout


@pytest.mark.accepts("AS-24", "AS-20")
def test_what_is_erased_is_gone_from_everywhere(tmp_path: Path) -> None:
    (tmp_path / "secretary.py").write_text(SEALED)
    (tmp_path / "pelton.toml").write_text('[encryption]\nkeys = "tenant.keys"\n')
    assert pelton("seal-key", cwd=tmp_path).returncode == 0
    canaries = {name: f"what-{name}-said-f3a9" for name in ("anna", "bert")}
    with Dev(tmp_path, agents=("secretary.py",)) as dev:
        dev.ready()
        url = f"{dev.url}/secretary"
        tasks: dict[str, dict[str, Any]] = {}
        for name, text in canaries.items():
            said = {"messageId": name, "role": "ROLE_USER", "parts": [{"text": text}]}
            tasks[name] = ask(url, "SendMessage", {"message": said})["task"]
            assert tasks[name]["artifacts"][1]["parts"][0]["text"] == text
            assert text in dev.run("show", tasks[name]["id"]).stdout
        anna = tasks["anna"]["contextId"]

        planned = dev.run("erase", "--context", anna)
        assert (planned.returncode, planned.stdout.splitlines()[-1]) == (
            0,
            "nothing is erased yet: say --yes",
        )
        assert canaries["anna"] in dev.run("show", tasks["anna"]["id"]).stdout
        (gone,) = json.loads(dev.run("erase", "--context", anna, "--yes", "--json").stdout)[
            "contexts"
        ]
        assert (gone["erased"], gone["chained"], gone["plain"]) == (True, True, {})

        def erased() -> bool:
            found = ask(url, "GetTask", {"id": tasks["anna"]["id"]})
            return canaries["anna"] not in json.dumps(found) and "(erased)" in json.dumps(found)

        eventually(erased)
        shown = dev.run("show", tasks["anna"]["id"])
        assert canaries["anna"] not in shown.stdout
        assert "(erased)" in shown.stdout
        assert canaries["bert"] in dev.run("show", tasks["bert"]["id"]).stdout
        with pytest.raises(RuntimeError, match="CONTENT_ERASED"):
            ask(url, "SendMessage", message("more", contextId=anna))
        for word, there in (("anna", []), ("bert", [canaries["bert"]])):
            found = get(f"{dev.url}/v1/memories?query={word}")[1]
            assert ([e["content"] for e in found["items"]], found["unsearched"]) == (there, 0)
        remembered = dev.json("memory", "recall")["memories"]
        assert [each["content"] for each in remembered] == [canaries["bert"]]
        assert gone["memories"]
        _run_again(dev, tasks["anna"]["id"], tasks["bert"]["id"], canaries["bert"])
        assert dev.run("export", anna, "-o", "anna.pelton").returncode == 0
        assert dev.run("verify", "anna.pelton").returncode == 0
        told = dev.run("show", tasks["anna"]["id"], "--file", "anna.pelton")
        assert "(erased)" in told.stdout, "as the keys beside the log tell"
        assert dev.run("rebuild", "--verify").returncode == 0
        assert dev.stop() == 0
    for file in [*(tmp_path / ".pelton").rglob("*"), *tmp_path.glob("*.pelton")]:
        if file.is_file():
            data = file.read_bytes()
            assert [text for text in canaries.values() if text.encode() in data] == [], file
    assert not [line for line in dev.lines if any(text in line for text in canaries.values())]
