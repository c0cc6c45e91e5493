"""The life of a context as a machine: any legal order of moves keeps the invariants (G2, G3)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pelton.events.a2a import TaskState
from pelton.events.commands import CancelTask
from pelton.events.context import Context, fold
from pelton.events.events import TaskEvent, TaskStatusUpdated, TurnEnded, TurnStarted
from pelton.events.states import TERMINAL
from pelton.events.upcast import decode_commit
from tests.stories import OUTCOMES, Story
from tests.strategies import contents, json_values, messages, texts


class Life(RuleBasedStateMachine):
    """Clients send, cancel and repeat themselves; executors decide, work, die and take over."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.seen: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self.read = 0
        self.rebuilt = Context(agent="echo", id="chat")

    def has_turn(self) -> bool:
        return self.story.state.open is not None

    def is_idle(self) -> bool:
        return self.story.state.open is None and bool(self.story.pending)

    def has_open_task(self) -> bool:
        return any(not task.ended for task in self.story.state.tasks.values())

    def has_open_step(self) -> bool:
        return self.has_turn() and any(not s.done for s in self.story.turn.steps.values())

    def has_stream(self) -> bool:
        return self.has_turn() and bool(self.story.turn.artifacts)

    def has_cancel(self) -> bool:
        last = self.story.pending[-1:]
        return self.has_turn() and bool(last) and isinstance(last[0][1], CancelTask)

    def open_task(self, data: st.DataObject) -> str:
        open_ = [task.id for task in self.story.state.tasks.values() if not task.ended]
        return data.draw(st.sampled_from(open_))

    @rule(message=messages)
    def send(self, message: object) -> None:
        self.story.send(message=message)  # type: ignore[arg-type]

    @precondition(lambda self: bool(self.story.commands))
    @rule(data=st.data())
    def resend_the_same_command(self, data: st.DataObject) -> None:
        self.story.put(data.draw(st.sampled_from([c for _, c in self.story.commands])))

    @precondition(has_open_task)
    @rule(data=st.data(), text=texts)
    def follow_up(self, data: st.DataObject, text: str) -> None:
        self.story.send(text, task=self.open_task(data))

    @precondition(has_open_task)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.story.cancel(self.open_task(data))

    @precondition(is_idle)
    @rule()
    def decide(self) -> None:
        self.story.decide()

    @precondition(is_idle)
    @rule()
    def begin(self) -> None:
        self.story.begin()

    @precondition(has_cancel)
    @rule()
    def cancel_the_running_turn(self) -> None:
        self.story.decide(ahead=True)

    @precondition(has_turn)
    @rule()
    def take_over(self) -> None:
        self.story.again()

    @precondition(has_turn)
    @rule(name=st.sampled_from(["search", "pay"]), idempotent=st.booleans())
    def step(self, name: str, idempotent: bool) -> None:
        self.story.step(name, idempotent=idempotent)

    @precondition(has_open_step)
    @rule(data=st.data(), result=json_values)
    def step_done(self, data: st.DataObject, result: object) -> None:
        open_ = [key for key, step in self.story.turn.steps.items() if not step.done]
        self.story.done(data.draw(st.sampled_from(open_)), result)

    @precondition(has_turn)
    @rule(text=texts)
    def report(self, text: str) -> None:
        self.story.progress(text)

    @precondition(has_turn)
    @rule(parts=contents())
    def stream(self, parts: tuple[object, ...]) -> None:
        self.story.write("answer", *parts)  # type: ignore[arg-type]

    @precondition(has_stream)
    @rule(data=st.data(), text=texts)
    def stream_on(self, data: st.DataObject, text: str) -> None:
        self.story.write(data.draw(st.sampled_from(self.story.turn.artifacts)), text, append=True)

    @precondition(has_stream)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        self.story.withdraw(data.draw(st.sampled_from(self.story.turn.artifacts)))

    @precondition(has_turn)
    @rule(state=st.sampled_from(list(OUTCOMES)), text=texts, bare=st.booleans())
    def end(self, state: TaskState, text: str, bare: bool) -> None:
        self.story.end(TaskState.COMPLETED if bare else state, text, bare=bare)

    @invariant()
    def each_task_has_one_end_and_it_is_last(self) -> None:
        for _, data in self.story.commits[self.read :]:
            for event in decode_commit(data).data.events:
                if isinstance(event, TaskEvent):
                    assert not self.ends[event.task_id] or isinstance(event, TurnEnded)
                    self.seen[event.task_id] += 1
                if isinstance(event, TurnStarted):
                    self.starts[event.task_id] += event.attempt == 1
                if isinstance(event, TaskStatusUpdated) and event.status.state in TERMINAL:
                    self.ends[event.task_id] += 1
        assert all(count == 1 for count in self.ends.values() if count)

    @invariant()
    def the_fold_counts_and_remembers(self) -> None:
        for sequence, data in self.story.commits[self.read :]:
            self.rebuilt = fold(self.rebuilt, sequence, data)
        self.read = len(self.story.commits)
        state = self.story.state
        assert self.rebuilt == state
        for task in state.tasks.values():
            assert task.sequence == self.seen[task.id]
            assert task.turns == self.starts[task.id]
            assert task.ended == bool(self.ends[task.id])
            assert not (task.ended and task.turn)
        assert sum(task.turn is not None for task in state.tasks.values()) <= 1

    @invariant()
    def each_decided_command_has_one_answer(self) -> None:
        state = self.story.state
        decided = {command.id for at, command in self.story.commands if state.decided(at)}
        assert set(state.commands) == decided
        opened = [task.command_id for task in state.tasks.values()]
        assert len(opened) == len(set(opened)), "a command opens one task at most"
        assert not set(opened) & set(state.rejected)


TestLife = pytest.mark.accepts("G2", "G3", "AS-9")(Life.TestCase)
TestLife.settings = settings(max_examples=60, stateful_step_count=30)
