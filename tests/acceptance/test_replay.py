"""Looking back from the command line: on a server, and on a session file without one."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.running import PELTON, Dev, environment, pelton

PAIR = '''\
import os

from pelton.runtime import Turn, agent


def effect(text: str) -> str:
    with open(os.environ["EFFECTS"], "a") as file:
        file.write(text + "\\n")
    return text + "!"


@agent
async def boss(turn: Turn) -> str:
    """Does a step and hands on the rest."""
    await turn.stream(await turn.step("first", effect, turn.text))
    turn.usage("small", input_tokens=3, output_tokens=4, cost=0.5)
    return (await turn.delegate("helper", f"help with {turn.text}")).text


@agent(options={"ending": ""})
async def helper(turn: Turn) -> str:
    """Says what it hears."""
    await turn.step("second", effect, turn.text)
    return f"heard: {turn.text}" + (await turn.options())["ending"]
'''
CHANGED = PAIR.replace('return f"heard', 'return f"HEARD').replace(
    '"first", effect', '"other", effect'
)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    cwd = tmp_path_factory.mktemp("replay")
    (cwd / "pair.py").write_text(PAIR)
    (cwd / "changed.py").write_text(CHANGED)
    pair = ("pair.py:boss", "pair.py:helper")
    with Dev(cwd, "--profile", "relaxed", agents=pair) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def sent(dev: Dev) -> dict[str, Any]:
    """Return a task that has completed, by handing on a part of it."""
    task: dict[str, Any] = dev.json("send", "boss", "it")["task"]
    return task


@pytest.fixture(scope="module")
def file(dev: Dev, sent: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a session file of it, in a directory without anything else."""
    path = tmp_path_factory.mktemp("elsewhere") / "it.pelton"
    done = dev.json("export", sent["id"], "--out", str(path))
    assert done["file"] == str(path)
    return path


@pytest.mark.accepts("AS-22")
def test_step_walks_through_a_task(dev: Dev, sent: dict[str, Any]) -> None:
    steps = dev.json("step", sent["id"])["steps"]
    timeline = dev.json("show", sent["id"])["timeline"]
    assert [each["event"] for each in steps] == [each["event"] for each in timeline]
    assert steps[0]["cause"]["what"] == "SendMessage"
    assert {
        "path": "status.state",
        "before": "TASK_STATE_SUBMITTED",
        "after": "TASK_STATE_WORKING",
    } in (steps[2]["changes"])
    assert all(each["cause"]["sequence"] < each["sequence"] for each in steps)
    lines = dev.run("step", sent["id"]).stdout
    assert "because of SendMessage at" in lines
    assert '~ status.state: "TASK_STATE_SUBMITTED" → "TASK_STATE_WORKING"' in lines
    upto = dev.json("step", sent["id"], "--at", str(steps[0]["sequence"]))["steps"]
    assert upto == [each for each in steps if each["sequence"] <= steps[0]["sequence"]]


def test_step_goes_by_keys_on_a_terminal(sent: dict[str, Any], file: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*PELTON, "step", sent["id"], "--file", str(file)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=file.parent, env=environment()
    ) as process:
        os.close(theirs)

        def shows(what: str) -> None:
            seen, until = "", time.monotonic() + 30
            while what not in seen:
                ready, _, _ = select.select([ours], [], [], until - time.monotonic())
                assert ready, seen
                seen += os.read(ours, 65536).decode()

        shows("event 1 of")
        os.write(ours, b"n")
        shows("event 2 of")
        os.write(ours, b"G")
        shows("TurnEnded")
        os.write(ours, b"g")
        shows("event 1 of")
        os.write(ours, b"p")
        shows("event 1 of")
        os.write(ours, b"q")
        assert process.wait(30) == 0
    os.close(ours)


def test_step_says_what_has_not_begun(sent: dict[str, Any], file: Path) -> None:
    """On a terminal, too: what was asked for is there, and nothing was decided yet."""
    records = [json.loads(line) for line in file.read_text().splitlines()[1:-1]]
    asked = next(str(e["sequence"]) for e in records if e["subject"].startswith("cmd.boss."))
    command = [*PELTON, "step", sent["id"], "--file", str(file), "--at", asked]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=file.parent, env=environment()
    ) as process:
        os.close(theirs)
        assert process.wait(30) == 0
    assert b"nothing yet" in os.read(ours, 65536)
    os.close(ours)


def test_timeline_is_everybody_in_one_order(dev: Dev, sent: dict[str, Any]) -> None:
    records = dev.json("timeline", sent["contextId"])["records"]
    sequences = [each["sequence"] for each in records]
    assert sequences == sorted(sequences)
    assert {each["subject"].split(".")[1] for each in records} == {"boss", "helper"}
    assert dev.json("timeline", sent["id"])["records"] == records
    lines = dev.run("timeline", sent["contextId"]).stdout
    assert "TaskDelegated" in lines
    assert "ReportTask" in lines
    assert "AgentRegistered" not in lines


def test_graph_draws_who_asked_whom(dev: Dev, sent: dict[str, Any]) -> None:
    found = dev.json("graph", sent["contextId"])
    one, other = found["nodes"]
    assert (one["agent"], other["agent"]) == ("boss", "helper")
    (edge,) = found["edges"]
    assert (edge["task"], edge["child"], edge["state"]) == (one["task"], other["task"], "reported")
    assert found["branches"][one["task"]]["steps"] == 2
    assert "delegate#1 reported → helper" in dev.run("graph", sent["id"]).stdout
    for drawn, begins in (("dot", "digraph"), ("mermaid", "flowchart")):
        drawing = dev.run("graph", sent["id"], "--format", drawn).stdout
        assert drawing.startswith(begins)
        assert "1 turn" in drawing  # what each branch took


def test_usage_and_audit_are_told(dev: Dev, sent: dict[str, Any], file: Path) -> None:
    used = dev.json("usage", "--by", "agent", "--from", "1h")["usage"]
    boss, helper = sorted(used, key=lambda each: str(each["name"]))
    assert (boss["name"], helper["name"], helper["calls"]) == ("boss", "helper", 0)
    assert boss["calls"] == boss["turns"] >= 1, "each of its turns tells of one"
    assert "small" in dev.run("usage", "--by", "model").stdout
    done = dev.json("audit", "--agent", "boss", "--from", "start")["audit"]
    told = [(each["command"], each["decision"]) for each in done if each["taskId"] == sent["id"]]
    assert told == [("SendMessage", "accepted"), ("ReportTask", "accepted")]
    alone = pelton("audit", "--file", str(file), "--limit", "1", cwd=file.parent)
    assert "go on with --after" in alone.stdout


def test_a_rule_is_asked_about_what_has_happened(
    dev: Dev, sent: dict[str, Any], file: Path
) -> None:
    rule = "call.name == 'first' ? 'ask' : call.kind == 'delegation'"
    ruled = dev.json("policy", "backtest", rule, "--from", "1h", "--agent", "boss")
    hits = [each for each in ruled["hits"] if each["call"]["task"] == sent["id"]]
    [mine] = [each["ruling"] for each in hits if each["call"]["kind"] == "step"]
    assert (mine, ruled["failed"]) == ("ask", 0)
    (file.parent / "rule.cel").write_text(rule)
    alone = pelton("policy", "backtest", "rule.cel", "--file", str(file), cwd=file.parent)
    assert "5 calls: 3 allow, 1 ask, 1 deny" in alone.stdout, alone.stderr


@pytest.mark.accepts("AS-21", "AS-23")
def test_rerun_tells_equal_or_where_it_differs_and_does_nothing(
    dev: Dev, sent: dict[str, Any]
) -> None:
    before = dev.effects.read_text()
    length = dev.run("tail", "--from", "start", "--no-follow").stdout
    child = dev.json("graph", sent["id"])["nodes"][1]["task"]
    for task in (sent["id"], child):
        done = dev.json("rerun", task)  # what runs tells where the code is
        assert done["equal"] is True
        assert done["verdict"]["divergence"] is None
    changed = dev.run("rerun", sent["id"], "--agent", "changed.py:boss")
    assert changed.returncode == 5
    assert "DIFFERENT" in changed.stdout
    assert 'recorded  StepStarted {"key":"first#1"' in changed.stdout
    assert 'found     StepStarted {"key":"other#1"' in changed.stdout
    changed = dev.run("rerun", child, "--agent", "changed.py:helper", "--json")
    assert changed.returncode == 5
    fields = json.loads(changed.stdout)["verdict"]["divergence"]["fields"]
    assert [(each["before"], each["after"]) for each in fields] == [
        ("heard: help with it", "HEARD: help with it")
    ]
    assert dev.effects.read_text() == before
    assert dev.run("tail", "--from", "start", "--no-follow").stdout == length


@pytest.mark.accepts("AS-22", "AS-23", "AS-25")
def test_a_session_file_takes_the_place_of_a_server(
    dev: Dev, sent: dict[str, Any], file: Path
) -> None:
    shutil.copy(dev.cwd / "pair.py", file.parent)
    context, task = sent["contextId"], sent["id"]
    for command in (["show", task], ["step", task], ["timeline", context], ["graph", context]):
        alone = pelton(*command, "--file", str(file), "--json", cwd=file.parent)
        assert alone.returncode == 0, alone.stderr
        assert json.loads(alone.stdout) == dev.json(*command)
    alone = pelton("rerun", task, "--agent", "pair.py:boss", "--file", str(file), cwd=file.parent)
    assert alone.returncode == 0, alone.stdout
    unnamed = pelton("rerun", task, "--file", str(file), cwd=file.parent)
    assert (unnamed.returncode, "--agent" in unnamed.stderr) == (2, True)
    tailed = pelton("tail", "--file", str(file), "--no-follow", cwd=file.parent).stdout
    assert "AgentRegistered" in tailed
    assert "TurnEnded" in tailed
    late = ("tail", "--file", str(file), "--no-follow", "--from", "0s")
    assert pelton(*late, cwd=file.parent).stdout == ""
    assert (
        pelton("show", "no-0123456789abcdef", "--file", str(file), cwd=file.parent).returncode == 3
    )
    assert pelton("graph", "nobody", "--file", str(file), cwd=file.parent).returncode == 3


@pytest.mark.accepts("AS-25")
def test_verify_finds_what_was_altered(dev: Dev, sent: dict[str, Any], file: Path) -> None:
    done = pelton("verify", str(file), "--json", cwd=file.parent)
    found = json.loads(done.stdout)
    assert (done.returncode, found["valid"], found["wrong"]) == (0, True, [])
    again = dev.run("export", sent["contextId"], "--out", str(file))
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    noted = pelton("verify", str(file), "--digest", found["digest"], cwd=file.parent)
    assert noted.returncode == 0
    assert pelton("verify", str(file), "--digest", "0" * 64, cwd=file.parent).returncode == 5
    spoilt = file.with_name("spoilt.pelton")
    spoilt.write_bytes(file.read_bytes().replace(b"help with it", b"help with IT", 1))
    done = pelton("verify", str(spoilt), cwd=file.parent)
    assert done.returncode == 5
    assert "(the record at " in done.stdout
    done = pelton("show", sent["id"], "--file", str(spoilt), cwd=file.parent)
    assert (done.returncode, "pelton verify" in done.stderr) == (5, True)
    assert file.stat().st_mode & 0o077 == 0


def test_tail_keeps_the_pace_of_what_happened(dev: Dev, file: Path) -> None:
    del dev
    lines = [json.loads(line) for line in file.read_text().splitlines()[1:-1]]
    times = [each["received"] / 1e9 for each in lines if each["type"] == "record"]
    began = time.monotonic()
    command = ("tail", "--file", str(file), "--no-follow", "--pace", "original", "--from", "start")
    done = pelton(*command, cwd=file.parent)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= len(times)
    assert time.monotonic() - began >= max(times) - min(times)


def test_a_task_becomes_a_test(dev: Dev, sent: dict[str, Any]) -> None:
    done = dev.json("test", "save", sent["id"], "--dir", "saved")
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]

    def tested() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*run, done["test"]],
            cwd=dev.cwd,
            env=environment(EFFECTS="/nowhere"),
            capture_output=True,
            text=True,
            check=False,
        )

    good = tested()
    assert good.returncode == 0, good.stdout
    assert dev.run("test", "save", sent["id"], "--dir", "saved").returncode == 1
    (dev.cwd / done["test"]).rename(dev.cwd / "saved" / "test_moved.py")
    again = dev.run("test", "save", sent["id"], "--dir", "saved")
    assert "name another --dir" in again.stderr
    (dev.cwd / "saved" / "test_moved.py").rename(dev.cwd / done["test"])
    (dev.cwd / "pair.py").write_text(CHANGED)
    try:
        bad = tested()
    finally:
        (dev.cwd / "pair.py").write_text(PAIR)
    assert bad.returncode == 1
    assert "the first event that differs" in bad.stdout


@pytest.mark.accepts("AS-21")
def test_a_fork_goes_on_beside_the_original(dev: Dev, sent: dict[str, Any], file: Path) -> None:
    shutil.copy(dev.cwd / "pair.py", file.parent)
    task, effects = sent["id"], dev.effects.read_text()
    steps = dev.json("step", task)["steps"]
    place = next(each for each in steps if each["event"]["type"] == "StepCompleted.v1")
    where = f"{task}@{place['sequence']}/{place['id'].rpartition('/')[2]}"
    fork = file.with_name("fork.pelton")
    command = ["fork", where, "--file", str(file), "--out", str(fork), "--json"]
    agents = ["--agent", "pair.py:boss", "--agent", "pair.py:helper"]
    changed = ["--tool-result", 'first#1="other "']
    done = pelton(*command, *agents, *changed, cwd=file.parent)
    assert done.returncode == 0, done.stderr
    forked = json.loads(done.stdout)["task"]
    assert forked["status"]["message"]["parts"] == [{"text": "heard: help with it"}]
    assert pelton("verify", str(fork), cwd=file.parent).returncode == 0
    found = pelton("diff", f"{file}:{task}", str(fork), "--json", cwd=file.parent)
    assert found.returncode == 5
    first, second = json.loads(found.stdout)["differences"]
    assert [(each["path"], each["after"]) for each in first["fields"]] == [("result", "other ")]
    assert second["left"]["what"] == "turn 1 artifact answer"
    assert dev.run("diff", task, f"{file}:{task}").returncode == 0
    assert dev.effects.read_text() == effects  # steps had the results of the original
    again = pelton(*command, *agents, cwd=file.parent)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)


def test_a_fork_has_other_options_and_results(
    dev: Dev, sent: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    shutil.copy(dev.cwd / "pair.py", tmp_path)
    command = ["fork", sent["id"], "--file", str(file), "--json", "--agent", "pair.py:boss"]
    done = pelton(*command, "--stub", 'first="stub "', "--model", "large", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    task = json.loads(done.stdout)["task"]
    assert task["artifacts"][0]["parts"] == [{"text": "stub "}]
    assert task["status"]["message"]["parts"] == [{"text": "heard: help with it"}]  # as recorded
    gone = ("fork", sent["id"], "--file", str(file), "--out", "gone.pelton", "--drop-memory", "x")
    none = pelton(*gone, "--agent", "pair.py:boss", cwd=tmp_path)
    assert (none.returncode, "no memory 'x'" in none.stderr) == (2, True)
    child = dev.json("graph", sent["id"])["nodes"][1]["task"]
    command = ["fork", child, "--file", str(file), "--out", "child.pelton", "--json"]
    own = ["--agent", "pair.py:helper", "--option", 'ending="?"', "--tool", "second=ask"]
    asked = subprocess.run(
        [*PELTON, *command, *own],
        cwd=tmp_path,
        env=environment(),
        input='"asked"\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout)["task"]["status"]["message"]["parts"]
    assert said == [{"text": "heard: help with it?"}]
    assert 'second#1["help with it"]' in asked.stderr


def test_bisect_finds_the_input_or_the_version(dev: Dev, sent: dict[str, Any], file: Path) -> None:
    other = dev.json("send", "boss", "them")["task"]["id"]
    check = ["--check", "grep -q 'help with it'"]
    done = dev.run("bisect", sent["id"], other, *check, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["input"], found["before"], found["after"]) == ("message 1", 0.0, 1.0)
    assert found["bad"] == [{"text": "them"}]
    versions = ["--agent", "pair.py:boss", "--agent", "pair.py:boss", "--agent", "changed.py:boss"]
    check = ["--check", "grep -q COMPLETED"]
    done = dev.run("bisect", f"{file}:{sent['id']}", *versions, *check, "--times", "2")
    assert done.returncode == 0, done.stderr
    assert "it is changed.py:boss: pair.py:boss is still good" in done.stdout
    assert "100% where it is good, 0% where bad" in done.stdout
    same = dev.run("bisect", f"{file}:{sent['id']}", *versions[:4], *check)
    assert (same.returncode, "passes at the bad end" in same.stderr) == (5, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["fork", "TASK@x"], 2),
        (["bisect", "TASK", "--check", "true"], 2),
        (["bisect", "TASK", "TASK", "--check", "true"], 1),
        (["fork", "TASK@99999"], 2),
        (["fork", "TASK@99999", "--tools", "odd"], 2),
        (["fork", "TASK@99999", "--tool-result", "first#1=not JSON"], 2),
        (["fork", "TASK@0"], 2),
        (["fork", "TASK@1"], 2),
        (["diff", "TASK", "no-0123456789abcdef"], 3),
        (["rerun", "no-0123456789abcdef"], 3),
        (["verify", "missing.pelton"], 1),
        (["show", "TASK", "--file", "pair.py"], 5),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    dev: Dev, sent: dict[str, Any], arguments: list[str], code: int
) -> None:
    done = dev.run(*(each.replace("TASK", sent["id"]) for each in arguments))
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_code_is_found_from_another_directory(
    dev: Dev, sent: dict[str, Any], tmp_path: Path
) -> None:
    """The running `pelton dev` knows where its files are, whatever its agents were called."""
    data = ("--data", str(dev.cwd / ".pelton"))
    assert pelton("rerun", sent["id"], *data, cwd=tmp_path).returncode == 0
    done = pelton("test", "save", sent["id"], "--dir", "saved", *data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code = os.path.relpath(dev.cwd / "pair.py", tmp_path / "saved")
    [test] = (tmp_path / "saved").glob("test_*.py")
    assert f"str(HERE / {code!r}) + ':boss'" in test.read_text()


@pytest.mark.accepts("AS-25")
def test_an_imported_session_is_looked_at_by_its_ids_alone(
    dev: Dev, sent: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    shutil.copy(dev.cwd / "pair.py", tmp_path)
    context, task = sent["contextId"], sent["id"]
    assert pelton("show", task, cwd=tmp_path).returncode == 4
    noted = json.loads(pelton("verify", str(file), "--json", cwd=tmp_path).stdout)["digest"]
    assert pelton("import", str(file), "--digest", "0" * 64, cwd=tmp_path).returncode == 5
    done = pelton("import", str(file), "--digest", noted, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert [(each["agent"], each["state"]) for each in found["tasks"]] == [
        ("boss", "TASK_STATE_COMPLETED"),
        ("helper", "TASK_STATE_COMPLETED"),
    ]
    assert json.loads(pelton("import", "--json", cwd=tmp_path).stdout)["sessions"] == [found]
    for command in (["show", task], ["graph", context]):
        alone = pelton(*command, "--json", cwd=tmp_path)
        assert alone.returncode == 0, alone.stderr
        assert json.loads(alone.stdout) == dev.json(*command)
    again = pelton("rerun", task, "--agent", "pair.py:boss", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert pelton("diff", task, f"{file}:{task}", cwd=tmp_path).returncode == 0
    copy = tmp_path / found["file"]
    copy.chmod(0o600)
    copy.write_bytes(file.read_bytes().replace(b"help with it", b"help with IT", 1))
    spoilt = pelton("show", task, cwd=tmp_path)
    assert (spoilt.returncode, copy.name in spoilt.stderr) == (5, True)


def test_a_new_version_is_tried_in_the_shadow(
    dev: Dev, sent: dict[str, Any], file: Path, tmp_path: Path
) -> None:
    effects = dev.effects.read_text()
    context = f"context={sent['contextId']}"
    command = ["shadow", "--agent", "pair.py:boss", "--baseline-again", "--json"]
    done = dev.run(*command, "--cohort", f"{context},state=completed,since=1h")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["counts"] == {"identical": 1, "changed": 0, "worse": 0, "unclear": 0}
    costs = {name: (lane["tokens"], lane["cost"]) for name, lane in found["lanes"].items()}
    assert costs == dict.fromkeys(("recorded", "again", "new"), (7, 0.5))
    shutil.copy(dev.cwd / "changed.py", tmp_path)
    changed = ["shadow", "--agent", "changed.py:helper", "--file", str(file), "--html", "x.html"]
    done = pelton(*changed, "--check", "grep -q heard", cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert "1 worse" in done.stdout
    assert 'message.parts[0].text: "heard: help with it" → "HEARD: help with it"' in done.stdout
    assert "HEARD" in (tmp_path / "x.html").read_text()
    assert pelton(*changed[:-2], "--cohort", "state=failed", cwd=tmp_path).returncode == 3
    assert pelton(*changed[:-2], "--cohort", "mood=good", cwd=tmp_path).returncode == 2
    assert dev.effects.read_text() == effects
