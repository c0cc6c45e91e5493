"""Hand-made histories, ugly ones first of all, in the words of the current contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pelton.events import subjects
from pelton.events.a2a import Artifact, BlobRef, Message, Part, Role, TaskState, TaskStatus
from pelton.events.commands import (
    WhenBusy,
)
from pelton.events.commit import Origin
from pelton.events.decide import reject
from pelton.events.envelope import digest
from pelton.events.errors import Busy, DamagedRecord
from pelton.events.events import (
    AttemptEnd,
    FailureClass,
    StepCompleted,
    TaskArtifactUpdated,
    TaskStatusUpdated,
)
from pelton.events.ids import task_id
from pelton.events.ruling import Ruling
from pelton.events.session import SessionEntry, SessionReason
from tests.histories.aggregates import (
    a_key,
    an_agent,
    erasures,
    families,
    keys,
    lives,
    memories,
    push,
    schedules,
    starts,
    teams,
)
from tests.stories import Story, Tape

S = TaskState


def short_turns() -> Tape:
    """Several short tasks in two contexts, a bare answer, ids that need encoding."""
    tape = Tape()
    one, two = Story(tape, context="two words"), Story(tape, context="\u00e9\u4f60.>*")
    for story in (one, two):
        story.send("hello")
        story.begin()
        story.end(S.COMPLETED, "hello yourself")
    one.send(
        "again", Part(data={"n": 1, "deep": [None, True, 1.5]}), Part(url="https://example.com")
    )
    one.begin()
    one.end(text="a bare answer", bare=True)
    two.send(Part(raw="AAEC", media_type="image/png", filename="a.png"))
    two.begin()
    two.end(S.REJECTED, "no pictures")
    return tape


def attempts() -> Tape:
    """A turn whose executor dies twice: steps, a superseded stream, an artifact taken back."""
    story = Story()
    story.send("tell me a story")
    story.begin()
    story.progress("thinking")
    search = story.step("search", idempotent=True)
    story.done(search, {"hits": ["a", "b"]})
    story.step("search", idempotent=True)
    story.write("answer", "Once ")
    story.write("answer", "upon", append=True)
    story.write("notes", "to be taken back")
    story.again()
    story.step_again("search#2", "search")
    story.failed("search#2", FailureClass.PROVIDER)
    story.write("answer", "Once more", append=False)
    story.again()
    story.write("answer", ", with feeling", append=True, last=True)
    story.withdraw("notes")
    story.step("pay")
    story.done("pay#1", None)
    story.end(S.COMPLETED, "the end")
    return story.tape


def canceled_in_turn() -> Tape:
    """Cancellations: before their turn, of a waiting task, of one that has ended, sent again."""
    story = Story()
    story.send("work for long")
    story.begin()
    running = story.task.id
    story.write("answer", "half of")
    story.send("wait behind it")
    cancel = story.cancel(running)
    story.decide(ahead=True)
    story.put(cancel)
    story.begin()
    waiting = story.task.id
    story.end(S.INPUT_REQUIRED, "which one?")
    story.decide()
    story.cancel(waiting)
    story.decide()
    story.cancel(waiting)
    story.decide()
    return story.tape


def refusals() -> Tape:
    """Commands that were refused, one that was no command at all, and one sent twice."""
    story = Story()
    good = story.send("hello")
    story.begin()
    task = story.task.id
    story.end()
    parts = (Part(text="x"),)
    for message in (
        Message(message_id="", role=Role.USER, parts=parts),
        Message(message_id="a", role=Role.AGENT, parts=parts),
        Message(message_id="b", role=Role.USER, parts=()),
        Message(message_id="c", role=Role.USER, parts=parts, context_id="another"),
        Message(message_id="d", role=Role.USER, parts=parts, task_id="nobody"),
        Message(message_id="e", role=Role.USER, parts=parts, task_id=task),
    ):
        story.send(message=message)
        story.decide()
    story.cancel("nobody")
    story.decide()
    story.put(good)
    story.decide()
    at = story.tape.append(subjects.commands(story.agent, story.context), b'{"type":"nonsense"}')
    name = f"record-{at}"
    story.commit(
        reject(name, DamagedRecord("a record has no versioned type: 'nonsense'")),
        origin=Origin("executor/one", "t", "executor/one", name, name),
        command=at,
        handled=at,
    )
    return story.tape


def follow_ups() -> Tape:
    """A task of four turns that asks twice and fails in the end; another in between."""
    story = Story()
    story.send("book a flight")
    story.begin()
    task = story.task.id
    story.end(S.INPUT_REQUIRED, "where to?")
    story.send("Rome", task=task)
    story.begin()
    story.end(S.AUTH_REQUIRED, "sign in first")
    story.send("something else")
    story.begin()
    story.end(S.COMPLETED, "done on the side")
    story.send("signed in", task=task)
    story.begin()
    story.progress("booking")
    story.end(S.INPUT_REQUIRED)
    story.send("go on", task=task)
    story.begin()
    story.failed(story.step("book"), FailureClass.DEPENDENCY)
    story.end(S.FAILED, "the airline is closed")
    return story.tape


def blobs() -> Tape:
    """Bulk in a message, a status, an artifact and the result of a step."""
    story = Story()
    text = BlobRef(sha256=digest(b"long"), size=40_000, member="text")
    story.send(Part(blob=text, media_type="text/plain"))
    story.begin()
    task = story.task.id
    raw = Part(blob=BlobRef(sha256=digest(b"raw"), size=99_999, member="raw"), filename="a.bin")
    story.commit(
        TaskArtifactUpdated(
            task_id=task,
            artifact=Artifact(
                artifact_id="file",
                parts=(raw,),
                name="file",
                description="A file.",
                metadata={"a": 1},
            ),
            last_chunk=True,
        )
    )
    key = story.step("read", idempotent=True)
    data = BlobRef(sha256=digest(b"data"), size=50_000, member="data")
    story.commit(StepCompleted(task_id=task, key=key, blob=data))
    message = Message(
        message_id="said",
        role=Role.AGENT,
        parts=(Part(blob=text),),
        context_id="chat",
        task_id=task,
        extensions=("https://example.com/ext",),
    )
    status = TaskStatus(state=S.WORKING, message=message, timestamp=story.tape.now)
    story.commit(TaskStatusUpdated(task_id=task, status=status))
    story.end()
    return story.tape


def left_open() -> Tape:
    """What a crash leaves: a turn open in its second attempt, a step begun, commands waiting."""
    story = Story()
    story.send("work")
    story.begin()
    story.progress("working")
    story.step("pay")
    story.write("answer", "so far")
    story.again()
    story.send("more", task=story.task.id)
    story.send("another task")
    return story.tape


def waits() -> Tape:
    """A turn that sleeps, asks two people and a delegate, and is told too late."""
    story = Story()
    story.send("plan a journey")
    story.begin()
    story.value("now", story.tape.now)
    story.value("uuid", "6f1f9f5e-7d4b-4b7e-8c63-0a4d3e2f1b00")
    sleep = story.sleep()
    story.leave(AttemptEnd.SUSPENDED)
    story.again()
    story.fire(sleep)
    key = story.delegate("poet", "a verse about \u00e9")
    other = story.delegate("other", "the weather")
    story.accept(story.delegate("https://far.example/agent", "the news"), "far-1")
    story.leave(AttemptEnd.SUSPENDED)
    story.report(story.task, 1, key, "roses")
    story.decide(ahead=True)
    story.again()
    first = story.ask("which day?")
    story.ask("may I book?", approvers=("boss",), auth=True)
    story.leave(AttemptEnd.SUSPENDED)
    task = story.state.tasks[next(iter(story.state.aside))]
    story.send("meanwhile")
    story.begin()
    story.end(S.COMPLETED, "done on the side")
    story.send("not mine", task=task.id, answers="ask#2")
    story.decide()
    story.send("yes", task=task.id, answers="ask#2", actor="boss")
    story.decide()
    story.again(task)
    story.expire(first)
    story.step("book")
    story.end(S.COMPLETED, "booked")
    story.report(task, 1, other, "rain")
    story.decide()
    return story.tape


def failures() -> Tape:
    """Steps and attempts that fail for now, a turn handed back, a dead letter, and its redrive."""
    story = Story()
    story.send("fetch it", deadline="2026-01-01T01:00:00.000Z")
    story.begin()
    key = story.step("fetch", idempotent=True)
    story.fail_for_now(key)
    story.step_again(key, "fetch")
    story.leave(AttemptEnd.HANDED_BACK)
    story.again()
    story.leave(AttemptEnd.FAILED)
    story.again()
    task = story.task
    story.give_up()
    story.send("fetch it", redrives=task.id)
    story.begin()
    story.end(S.COMPLETED, "here it is")
    story.send("again", redrives=task.id)
    story.decide()
    return story.tape


def company() -> Tape:
    """Messages that come while a turn runs: taken by it, refused, or ending it."""
    story = Story()
    story.send("work")
    story.begin()
    story.send("and this")
    story.steer()
    story.send("now!")
    at, command = story.pending[-1]
    refusal = Busy("a turn of this context is open: send the message again when it is over")
    origin = Origin.caused_by(command, "executor/one")
    story.commit(
        reject(command.id, refusal, task_id("chat", command.id)), origin=origin, command=at
    )
    story.delegate("poet", "a verse")
    story.send("instead of it", when_busy=WhenBusy.INTERRUPT)
    story.interrupt()
    story.begin()
    story.end()
    return story.tape


def framework_sessions() -> Tape:
    """A framework's session: stored, seen by others at the end of a turn, lost, and rebuilt."""
    story = Story()
    story.send("hello")
    story.begin()
    story.open_session()
    story.store(SessionEntry(key="a", value={"text": "hello"}))
    story.ask("which day?")
    story.leave(AttemptEnd.SUSPENDED)
    task = story.state.tasks[next(iter(story.state.aside))]
    story.send("meanwhile")
    story.begin()
    story.open_session()
    blob = BlobRef(sha256="0" * 64, size=40_000, member="data")
    story.store(SessionEntry(key="b", blob=blob), SessionEntry(key="c"))
    story.end(S.COMPLETED, "done on the side")
    story.send("Monday", task=task.id, answers="ask#1")
    story.decide()
    story.again(task)
    story.open_session()
    story.store(SessionEntry(key="a", value={"text": "hello again"}))
    story.end(S.COMPLETED, "hello")
    for reason in (SessionReason.LOST, SessionReason.PROCESS_DIED):
        story.send("go on")
        story.begin()
        story.open_session()
        story.lose_session(reason)
        story.leave(AttemptEnd.FAILED)
        story.again()
        story.open_session()
        story.end(S.COMPLETED)
    for adapter, format_, here in (("claude", 1, True), ("claude", 2, True), ("claude", 2, False)):
        story.send("go on")
        story.begin()
        story.open_session(adapter, format=format_, here=here)
        story.store(SessionEntry(key="d", value=[adapter, format_]))
        story.end(S.COMPLETED)
    other = Story(story.tape, context="other")
    other.send("before")
    other.begin()
    other.end(S.COMPLETED, "an answer")
    other.send("after")
    other.begin()
    other.open_session()
    return story.tape


def usage() -> Tape:
    """Two turns that report what calls to models took, one of them over two attempts."""
    story = Story()
    story.send("write a poem")
    story.begin()
    story.spend("small", 120)
    key = story.step("draft", idempotent=True)
    story.spend("large", 2_400, key="usage:draft")
    story.again()
    story.step_again(key, "draft")
    story.spend("large", 2_400, key="usage:draft")
    story.done(key, "a poem")
    story.end(text="a poem")
    story.send("another one")
    story.begin()
    story.spend("", 7)
    story.end(text="a song")
    return story.tape


def rulings() -> Tape:
    """A tool that a hook changes and a person is asked about, and one that a policy denies."""
    story = Story()
    story.send("pay")
    story.begin()
    story.rule("tool pay#1", "halve", Ruling.ALLOW, changed=True, change={"amount": 2})
    reason, who = "It is money.", ("boss",)
    story.rule("tool pay#1", "policy rule money", Ruling.ASK, reason=reason, approvers=who)
    key = story.step("tool pay")
    story.done(key, "paid 2")
    story.again()
    story.rule("tool burn#1", "policy", Ruling.DENY, reason="The tool is not among them.")
    return story.tape


TALES: Final[dict[str, Callable[[], Tape]]] = {
    "short-turns": short_turns,
    "attempts": attempts,
    "canceled-in-turn": canceled_in_turn,
    "refusals": refusals,
    "follow-ups": follow_ups,
    "blobs": blobs,
    "left-open": left_open,
    "an-agent": an_agent,
    "waits": waits,
    "failures": failures,
    "company": company,
    "lives": lives,
    "schedules": schedules,
    "a-key": a_key,
    "keys": keys,
    "families": families,
    "push": push,
    "erasures": erasures,
    "framework-sessions": framework_sessions,
    "usage": usage,
    "rulings": rulings,
    "teams": teams,
    "starts": starts,
    "memories": memories,
}
