"""Who may touch what: owners, those who are asked by name, and those who reach all (S4, AS-57)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from pelton.events.a2a import Message, Part, Role, TaskState, TaskStatus
from pelton.events.commands import CancelTask, CancelTaskData, SendMessage, SendMessageData
from pelton.events.commit import Commit, CommitData
from pelton.events.context import Context, apply
from pelton.events.decide import decide
from pelton.events.events import (
    AnyEvent,
    CommandRejected,
    QuestionAsked,
    TaskStatusUpdated,
    TaskSubmitted,
    TurnStarted,
)
from pelton.events.reach import reaches

NOW = "2026-01-01T00:00:00.000Z"
ATTRIBUTES: dict[str, Any] = {
    "id": "c",
    "source": "test",
    "subject": "echo/talk",
    "time": NOW,
    "tenant": "t",
    "correlationid": "c",
    "causationid": "c",
}


def said(task: str = "") -> Message:
    return Message(message_id="m", role=Role.USER, parts=(Part(text="x"),), task_id=task)


def asked(*approvers: str) -> Context:
    """Return anna's context, whose task `t1` has asked somebody."""
    message = replace(said(), role=Role.AGENT)
    events: tuple[AnyEvent, ...] = (
        TaskSubmitted(task_id="t1", message=said()),
        TurnStarted(task_id="t1", turn=1, attempt=1, message_id="m", executor="e"),
        TaskStatusUpdated(task_id="t1", status=TaskStatus(state=TaskState.WORKING)),
        QuestionAsked(task_id="t1", key="q#1", message=message, approvers=approvers),
    )
    commit = Commit(
        **ATTRIBUTES, actor="anna", sequence=1, prevhash="", data=CommitData(events=events)
    )
    context = Context(agent="echo", id="talk")
    for event in events:
        context = apply(context, event, commit)
    return context


def refusal(context: Context, command: SendMessage | CancelTask) -> str:
    """Return the code of a refusal, or nothing."""
    [*_, last] = decide(context, command, time=NOW)
    return last.code if isinstance(last, CommandRejected) else ""


def send(actor: str, task: str = "t1", **more: Any) -> SendMessage:
    data = SendMessageData(message=said(task))
    return SendMessage(**ATTRIBUTES, actor=actor, data=data, **more)


def cancel(actor: str, **more: Any) -> CancelTask:
    return CancelTask(**ATTRIBUTES, actor=actor, data=CancelTaskData(task_id="t1"), **more)


@pytest.mark.accepts("AS-57", "S4", "S13")
@pytest.mark.parametrize(
    ("approvers", "actor", "more", "code"),
    [
        ((), "anna", {}, ""),
        ((), "bert", {}, "task-not-found"),
        ((), "olga", {"reach": "tenant"}, ""),
        (("paul",), "anna", {}, "policy-denied"),
        (("paul",), "paul", {}, ""),
        (("paul",), "bert", {}, "task-not-found"),
        (("paul",), "bert", {"reach": "tenant"}, "policy-denied"),
        (("paul",), "olga", {"reach": "tenant", "decides": True}, ""),
        (("paul",), "bert", {"decides": True}, "task-not-found"),
    ],
)
def test_who_answers(
    approvers: tuple[str, ...], actor: str, more: dict[str, Any], code: str
) -> None:
    assert refusal(asked(*approvers), send(actor, **more)) == code


@pytest.mark.accepts("S4")
def test_whoever_is_asked_by_name_may_read_and_answer_and_no_more() -> None:
    context = asked("paul")
    assert reaches(context, "paul", "t1", every=False)
    assert not reaches(context, "paul", every=False)
    assert not reaches(context, "bert", "t1", every=False)
    assert refusal(context, cancel("paul")) == "task-not-found"
    assert refusal(context, send("paul", "")) == "validation-denied"
    assert not refusal(context, cancel("anna"))
    assert not refusal(context, cancel("olga", reach="tenant"))
