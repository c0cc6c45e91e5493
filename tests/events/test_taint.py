"""What came of a bad record, told by the rules one by one; and that it never comes from nowhere."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pelton.events import subjects
from pelton.events.a2a import TaskState
from pelton.events.delegation import Delegation
from pelton.events.events import StepCompleted
from pelton.events.memory import CauseKind, MemoryCause, MemoryRef, MemoryResult
from pelton.events.taint import How, Taint
from tests.moves import histories
from tests.projections.test_memories import Diary
from tests.stories import Story, Tape
from tests.strategies import canonical


def taint(tape: Tape, source: int) -> Taint:
    found = Taint(source)
    for record in tape.records:
        found.take(record.sequence, record.subject, record.data)
    return found


def end_of(tape: Tape) -> int:
    """Return the sequence of the last record."""
    return len(tape.records)


def given_to(story: Story, diary: Diary, memory_id: str) -> None:
    """Let the open turn recall the last version of a memory."""
    ref = MemoryRef(memory_id=memory_id, version=len(diary.memories[memory_id].versions))
    key = story.step("memory.recall", idempotent=True)
    result = canonical(MemoryResult(given=(ref,)))
    story.commit(StepCompleted(task_id=story.task.id, key=key, result=result))


def cause_of(story: Story) -> MemoryCause:
    return MemoryCause(
        kind=CauseKind.MESSAGE, agent=story.agent, context_id=story.context, task_id=story.task.id
    )


def test_a_message_that_waits_has_changed_nothing_yet() -> None:
    story = Story()
    story.send("good")
    story.begin()
    story.send("bad")
    bad, first = end_of(story.tape), story.task.id
    story.write("answer", "of the good one")
    assert not taint(story.tape, bad).tasks
    story.end(TaskState.COMPLETED, "done")
    story.begin()
    second = story.task.id
    found = taint(story.tape, bad)
    assert [(each.task_id, each.how, each.because) for each in found.tasks] == [
        (second, How.MESSAGE, bad)
    ]
    story.end(TaskState.COMPLETED, "done")
    [ended] = taint(story.tape, bad).tasks
    assert (ended.ended, ended.outcome) == (end_of(story.tape), "completed")
    assert first != second


def test_later_turns_of_a_conversation_have_heard_what_was_said_there() -> None:
    story = Story()
    story.send("go")
    story.begin()
    key = story.step("search")
    story.done(key, "poison")
    bad, first = end_of(story.tape), story.task.id
    story.end(TaskState.COMPLETED, "done")
    story.send("and now?")
    story.begin()
    found = taint(story.tape, bad)
    assert [(e.task_id, e.how) for e in found.tasks] == [
        (first, How.SOURCE),
        (story.task.id, How.CONVERSATION),
    ]
    assert not taint(story.tape, end_of(story.tape) - 1).memories


def test_memories_carry_it_on_and_people_end_it() -> None:
    story, other = Story(), Story(Tape(), agent="other", context="elsewhere")
    other.tape = story.tape
    diary = Diary(story.tape)
    clean = diary.commit("clean", None)
    story.send("go")
    story.begin()
    bad = end_of(story.tape)
    wrong = diary.commit("wrong", None, cause=cause_of(story))
    made = diary.commit("of it", None, sources=(MemoryRef(memory_id=wrong.id, version=1),))
    diary.revise(wrong, "right, says a person")
    diary.revise(clean, "still clean")
    other.send("go")
    other.begin()
    given_to(other, diary, wrong.id)
    found = taint(story.tape, bad)
    assert [(e.memory_id, e.version, e.how, e.last) for e in found.memories] == [
        (wrong.id, 1, How.CONVERSATION, False),
        (made.id, 1, How.MEMORY, True),
    ]
    assert {each.agent for each in found.tasks} == {"echo"}, "it was given what a person had said"
    diary.revise(wrong, "", reverts=1)
    given_to(other, diary, wrong.id)
    found = taint(story.tape, bad)
    assert [each.version for each in found.memories if each.memory_id == wrong.id] == [1, 3]
    assert [each.how for each in found.tasks if each.agent == "other"] == [How.MEMORY]


def test_it_comes_back_with_a_report_though_the_work_was_handed_on_before() -> None:
    boss = Story(agent="boss", context="office")
    worker = Story(boss.tape, agent="worker", context="shed")
    boss.send("go")
    boss.begin()
    key = boss.delegate("worker", "do it")
    waits = Delegation(
        agent="boss", context_id="office", task_id=boss.task.id, turn=1, key=key, chain=("boss",)
    )
    worker.send("do it", delegation=waits)
    worker.begin()
    step = worker.step("search")
    worker.done(step, "poison")
    bad = end_of(boss.tape)
    worker.end(TaskState.COMPLETED, "done")
    boss.report(boss.task, 1, key)
    assert [each.agent for each in taint(boss.tape, bad).tasks] == ["worker"]
    boss.decide(ahead=True)
    found = taint(boss.tape, bad)
    assert [(each.agent, each.how) for each in found.tasks] == [
        ("worker", How.SOURCE),
        ("boss", How.MESSAGE),
    ]


def test_what_cannot_be_read_is_named() -> None:
    story = Story()
    story.send("go")
    bad = end_of(story.tape)
    story.tape.append(subjects.commits("echo", "chat"), b"nonsense")
    story.tape.append(subjects.agent_commits("echo"), b"not looked at")
    assert taint(story.tape, bad).unread == [bad + 1]


@settings(max_examples=20)
@given(histories(max_moves=20), st.data())
def test_it_never_comes_from_nowhere(lived: tuple[Tape, list[Story]], data: Any) -> None:
    """Everything found leads back to the source, record by record; and what is to come adds."""
    tape, _ = lived
    if not tape.records:
        return
    source = data.draw(st.integers(1, end_of(tape)))
    found = taint(tape, source)
    for each in found.tasks:
        assert source <= each.because <= each.sequence
        if each.how is How.CONVERSATION:
            cause = tape.records[each.because - 1]
            assert cause.subject == subjects.commits(each.agent, each.context_id)
    half = Tape()
    half.records = tape.records[: data.draw(st.integers(source, end_of(tape)))]
    before = [each.task_id for each in taint(half, source).tasks]
    assert before == [each.task_id for each in found.tasks][: len(before)]
