"""What people do: answer agents, and do again what failed, against one `pelton dev`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.running import Dev, ask, eventually, message

CLERK = '''\
import os

from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.runtime import Turn, agent
from pelton.runtime.agents import Terms
from pelton.runtime.failures import AgentError

QUICK = Terms(suspend_after=0.2, retries={FailureClass.PROVIDER: Retry(attempts=2, first=0.05)})


@agent(terms=QUICK)
async def clerk(turn: Turn) -> str:
    """Asks before it acts."""
    match turn.text.split():
        case ["pay", amount]:
            said = await turn.approve(f"Pay {amount}?", tool="pay", args={"amount": amount})
            return f"paid {amount}" if said.approved else f"not paid: {said.reason}"
        case ["guarded"]:
            said = await turn.approve("Pay?", approvers=("bert",))
            return f"{said.approved} by {said.by}"
        case ["seats"]:
            return f"{await turn.ask('How many?', schema=int) + 1}"
        case ["order"]:
            await turn.require_input("Which one?")
        case ["sleep"]:
            await turn.sleep(3600)
        case ["try", *_]:
            if not os.path.exists("mended"):
                raise AgentError("The printer is away.", kind=FailureClass.PROVIDER)
            return "printed"
        case ["boss"]:
            report = await turn.delegate("clerk2", "try this")
            return report.text
    return f"noted: {turn.text}"


@agent(terms=QUICK)
async def clerk2(turn: Turn) -> str:
    """Fails until it is mended."""
    if not os.path.exists("mended"):
        raise AgentError("The printer is away.", kind=FailureClass.PROVIDER)
    return "printed"
'''


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    cwd = tmp_path_factory.mktemp("people")
    (cwd / "clerk.py").write_text(CLERK)
    agents = ("clerk.py:clerk", "clerk.py:clerk2")
    with Dev(cwd, "--profile", "relaxed", agents=agents) as running:
        yield running.ready()


def send(dev: Dev, text: str, agent: str = "clerk") -> Any:
    """Send a message and return its task, once it rests."""
    return ask(f"{dev.url}/{agent}", "SendMessage", message(text))["task"]


def get(dev: Dev, task: str) -> Any:
    return ask(f"{dev.url}/clerk", "GetTask", {"id": task})


def settled(dev: Dev, task: str, state: str = "COMPLETED") -> Any:
    """Wait until a task is in a state, and return it."""
    eventually(lambda: get(dev, task)["status"]["state"] == f"TASK_STATE_{state}")
    return get(dev, task)


def asked(dev: Dev, task: str) -> dict[str, Any]:
    """Wait until a question of a task is in the inbox, and return it."""

    def look() -> dict[str, Any] | None:
        questions = dev.json("inbox", "--agent", "clerk", "--limit", "100")["questions"]
        return next((each for each in questions if each["taskId"] == task), None)

    return eventually(look)


def says(task: Any) -> str:
    text: str = task["status"]["message"]["parts"][0]["text"]
    return text


def test_an_approval_is_in_the_inbox_and_answered_from_the_shell(dev: Dev) -> None:
    task = send(dev, "pay 30")
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    question = asked(dev, task["id"])
    assert question["question"] == "approve#1"
    assert question["message"]["parts"] == [{"text": "Pay 30?"}]
    assert "Pay 30?" in dev.run("inbox").stdout
    shown = dev.run("show", task["id"]).stdout
    assert "approve#1 'Pay 30?'" in shown
    assert f"pelton answer {task['id']} --approve" in shown
    assert "approve#1" in dev.run("tasks", "clerk").stdout

    done = dev.json("answer", task["id"], "--approve")

    assert (done["question"], done["by"], done["decided"]) == ("approve#1", "anonymous", True)
    assert says(settled(dev, task["id"])) == "paid 30"
    again = dev.run("answer", task["id"], "--approve")
    assert again.returncode == 1
    assert "asks nothing" in again.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "reply"),
    [
        ("pay 31", ["--reject", "too much"], "not paid: too much"),
        ("pay 32", ["no, not today"], "not paid: not today"),
        ("seats", ["--value", "3", "--question", "ask#1"], "4"),
        ("seats", ["3"], "4"),
    ],
)
def test_answers_are_words_data_or_decisions(
    dev: Dev, text: str, arguments: list[str], reply: str
) -> None:
    task = send(dev, text)["id"]
    asked(dev, task)
    assert dev.run("answer", task, *arguments).returncode == 0
    assert says(settled(dev, task)) == reply


@pytest.mark.accepts("AS-57")
def test_only_an_approver_may_answer_if_there_are_some(dev: Dev) -> None:
    task = send(dev, "guarded")["id"]
    assert asked(dev, task)["approvers"] == ["bert"]
    assert "--as" in dev.run("show", task).stdout
    refused = dev.run("answer", task, "--approve", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stderr)["error"]["code"] == "policy-denied"
    assert get(dev, task)["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert dev.run("answer", task, "--approve", "--as", "bert").returncode == 0
    assert says(settled(dev, task)) == "True by bert"


def test_send_says_that_it_was_asked_something_and_how_to_answer(dev: Dev) -> None:
    done = dev.run("send", "clerk", "seats")
    assert done.returncode == 0
    assert done.stdout == "How many?\n"
    assert "[input-required]" in done.stderr
    [hint] = [line for line in done.stderr.splitlines() if "pelton answer" in line]
    task = hint.split()[-2]
    assert dev.json("answer", task, "2")["taskId"] == task
    denied = dev.json("send", "clerk", "guarded")["task"]["id"]
    refused = dev.run("send", "clerk", "me", "--task", denied, "--json")
    assert json.loads(refused.stderr)["error"]["code"] == "policy-denied"


def test_a_turn_that_ended_with_a_question_is_answered_too(dev: Dev) -> None:
    task = send(dev, "order")["id"]
    assert asked(dev, task)["question"] == ""
    assert dev.run("answer", task, "the red one").returncode == 0
    assert says(settled(dev, task)) == "noted: the red one"


def test_show_and_tasks_tell_what_a_turn_waits_for(dev: Dev) -> None:
    said = message("sleep") | {"configuration": {"returnImmediately": True}}
    task = ask(f"{dev.url}/clerk", "SendMessage", said)["task"]["id"]
    outlook = eventually(
        lambda: (
            (found := dev.json("show", task)["outlook"]).get("turn", {}).get("suspended") and found
        )
    )
    [wait] = outlook["waits"]
    assert (wait["key"], wait["kind"]) == ("sleep#1", "timer")
    assert wait["until"]
    assert "sleep#1" in dev.run("show", task).stdout

    def listed() -> Any:
        [entry] = [e for e in dev.json("tasks", "clerk")["tasks"] if e["id"] == task]
        return entry["pause"] == "suspended" and entry

    assert eventually(listed)["waits"] == {"sleep#1": wait["until"]}
    assert f"sleep#1, until {wait['until']}" in dev.run("tasks", "clerk").stdout


@pytest.mark.accepts("AS-15", "AS-16", "AS-18", "AS-19")
def test_what_failed_for_good_is_redriven_after_the_fix_and_its_caller_sees_it(dev: Dev) -> None:
    mended = dev.cwd / "mended"
    task = send(dev, "try it")
    assert task["status"]["state"] == "TASK_STATE_FAILED"
    assert says(send(dev, "hello")) == "noted: hello"  # the poison is in nobody's way
    boss = send(dev, "boss")
    assert boss["status"]["state"] == "TASK_STATE_FAILED"
    letters = eventually(lambda: dev.json("dead-letters", "list", "--agent", "clerk")["total"])
    assert letters >= 1
    letter = dev.json("dead-letters", "show", task["id"])
    assert (letter["class"], letter["attempts"]) == ("provider", 2)
    assert letter["message"] == "The printer is away."
    assert letter["task"]["history"][0]["parts"] == [{"text": "try it"}]
    assert "mend the cause" in dev.run("dead-letters", "show", task["id"]).stdout
    assert f"pelton dead-letters redrive {task['id']}" in dev.run("show", task["id"]).stdout

    mended.touch()
    try:
        done = dev.json("dead-letters", "redrive", task["id"])
        again = done["redrivenAs"]
        assert says(settled(dev, again)) == "printed"
    finally:
        mended.unlink()
    old = get(dev, task["id"])
    assert old["status"]["state"] == "TASK_STATE_FAILED"
    assert old["metadata"]["pelton/redriven"] == again
    assert get(dev, again)["history"][0]["parts"] == [{"text": "try it"}]
    assert f"as {again}" in dev.run("show", task["id"]).stdout
    twice = dev.run("dead-letters", "redrive", task["id"])
    assert twice.returncode == 1
    assert again in twice.stderr
    eventually(lambda: dev.json("dead-letters", "show", task["id"])["redrivenAs"] == again)
    every = dev.json("dead-letters", "list", "--agent", "clerk", "--all")["deadLetters"]
    assert task["id"] in {each["taskId"] for each in every}
    left = dev.json("dead-letters", "list", "--agent", "clerk")["deadLetters"]
    assert task["id"] not in {each["taskId"] for each in left}
    counted = dev.json("status")["agents"]["clerk"]
    assert counted["dead-letters"] >= 1
    assert counted["retries"] >= 1
    assert counted["redriven"] >= 1
    assert "DEAD-LETTERS" in dev.run("status").stdout


@pytest.mark.accepts("AS-28")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["answer", "no-such-0123456789abcdef", "hi"], 3, "task-not-found"),
        (["answer", "no-such-0123456789abcdef"], 2, "usage"),
        (["answer", "no-such-0123456789abcdef", " "], 2, "usage"),
        (["answer", "no-such-0123456789abcdef", "hi", "--approve"], 2, "usage"),
        (["answer", "no-such-0123456789abcdef", "--value", "{"], 2, "usage"),
        (["answer", "no-such-0123456789abcdef", "hi", "--as", "a\nb"], 2, "validation-denied"),
        (["dead-letters", "show", "no-such-0123456789abcdef"], 3, "task-not-found"),
        (["dead-letters", "redrive", "no-such-0123456789abcdef"], 3, "task-not-found"),
        (["dead-letters", "redrive", "\x1b[31m"], 3, "task-not-found"),
        (["dead-letters", "list", "--after", "x"], 2, "validation-denied"),
        (["dead-letters", "list", "--data", "elsewhere"], 4, "unavailable"),
        (["dead-letters", "dance"], 2, "usage"),
        (["dead-letters"], 2, "usage"),
        (["inbox", "--after", "x"], 2, "validation-denied"),
        (["inbox", "--data", "elsewhere"], 4, "unavailable"),
        (["status", "--data", "elsewhere"], 4, "unavailable"),
    ],
)
def test_errors_are_one_sentence_and_an_exit_code(
    dev: Dev, arguments: list[str], exit_code: int, code: str
) -> None:
    done = dev.run(*arguments)
    assert done.returncode == exit_code, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    error = json.loads(dev.run(*arguments, "--json").stderr)["error"]
    assert error["code"] == code
    assert error["message"]


def test_a_task_that_has_not_failed_is_not_redriven(dev: Dev) -> None:
    task = send(dev, "hello again")["id"]
    done = dev.run("dead-letters", "redrive", task)
    assert done.returncode == 1
    assert "only a task that has failed" in done.stderr


def test_lists_go_on_page_by_page(dev: Dev) -> None:
    tasks = {send(dev, "seats")["id"] for _ in range(3)}
    for task in tasks:
        asked(dev, task)
    found: set[str] = set()
    cursor = ""
    while True:
        page = dev.json("inbox", "--limit", "2", "--after", cursor)
        found |= {each["taskId"] for each in page["questions"]}
        cursor = page["next"]
        if not cursor:
            break
    assert tasks <= found
    assert "go on with --after" in dev.run("inbox", "--limit", "1").stdout


def test_the_read_models_with_all_of_it_are_what_the_log_says(dev: Dev) -> None:
    send(dev, "pay 5")
    assert dev.json("rebuild", "--verify")["equal"] is True
