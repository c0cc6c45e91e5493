"""What may happen next in a story, and stories and tapes that have lived through some of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from pelton.events.a2a import TaskState
from pelton.events.commands import SendMessage
from pelton.events.decide import ahead, decide
from pelton.events.events import AttemptEnd, CommandRejected, FailureClass
from tests.stories import OUTCOMES, Story, Tape
from tests.strategies import bad_messages, contents, ids, json_values, messages, texts

Pick = Callable[[st.SearchStrategy[Any]], Any]
"""What chooses a value of a strategy: `draw`, or hypothesis's `data`."""


def moves(story: Story) -> list[str]:
    """Return the names of the moves that are legal now, likelier ones twice; see `move`."""
    found = ["send", "refused"]
    if story.commands:
        found.append("resend")
    if _open_tasks(story):
        found += ["follow up", "cancel"]
    if any(task.status.state is TaskState.FAILED for task in story.state.tasks.values()):
        found.append("redrive")
    if any(task.turns for task in story.state.tasks.values()):
        found.append("report")
    if story.state.open is None:
        if story.state.aside:
            found += ["resume", "resume"]
        return found + (["begin", "begin", "short turn", "decide"] if story.pending else [])
    if any(ahead(story.state, command) for _, command in story.pending[-1:]):
        found += ["decide ahead"] * 3
    if story.turn.over is not None:
        return [*found, "again", "again", "give up", "interrupt"]
    return found + _turn_moves(story)


def _turn_moves(story: Story) -> list[str]:
    turn = story.turn
    found = [
        "progress",
        "write",
        "write",
        "step",
        "step",
        "again",
        "end",
        "end",
        "value",
        "sleep",
        "spend",
    ]
    found += ["ask", "delegate", "delegate", "hand back", "fail for now", "give up", "interrupt"]
    if turn.artifacts:
        found += ["append", "append", "withdraw"]
    if _open_steps(story):
        found += ["done", "done", "failed", "step again", "step fails for now"]
    if _open_timers(story):
        found += ["fire", "suspend"]
    if turn.asked:
        found += ["answer", "answer", "expire", "suspend", "suspend"]
    if turn.delegated:
        found += ["report", "suspend", "suspend"]
    if _may_steer(story):
        found.append("steer")
    return found


def move(story: Story, name: str, pick: Pick) -> None:
    """Make a move; what it needs is picked from strategies."""
    _MOVES[name](story, pick)


def _refused(story: Story, pick: Pick) -> None:
    if pick(st.booleans()):
        story.send(message=pick(bad_messages))
    else:
        story.cancel(pick(ids | st.sampled_from(["", *story.state.tasks])))


def _report(story: Story, pick: Pick) -> None:
    turned = [task for task in story.state.tasks.values() if task.turns]
    task = pick(st.sampled_from(turned))
    keys = list(task.turn.delegations) if task.turn else []
    story.report(task, task.turns, pick(st.sampled_from([*keys, "delegate#1"])))


def _short_turn(story: Story, pick: Pick) -> None:
    if story.begin():
        _end(story, pick)


def _write(story: Story, pick: Pick) -> None:
    story.write(pick(st.sampled_from(["answer", "report"])), *pick(contents()))


def _append(story: Story, pick: Pick) -> None:
    artifact = pick(st.sampled_from(story.turn.artifacts))
    story.write(artifact, *pick(contents(max_size=2)), append=True)


def _step_again(story: Story, pick: Pick) -> None:
    key = pick(st.sampled_from(_open_steps(story)))
    story.step_again(key, story.turn.steps[key].name)


def _failed(story: Story, pick: Pick) -> None:
    key = pick(st.sampled_from(_open_steps(story)))
    story.failed(key, pick(st.sampled_from(FailureClass)))


def _ask(story: Story, pick: Pick) -> None:
    approvers = pick(st.sampled_from([(), ("boss",)]))
    story.ask(pick(texts), approvers=approvers, auth=pick(st.booleans()))


def _answer(story: Story, pick: Pick) -> None:
    key = pick(st.sampled_from([*story.turn.asked, "nothing"]))
    actor = pick(st.sampled_from(["anna", "boss"]))
    story.send(pick(texts), task=story.task.id, answers=key, actor=actor)


def _end(story: Story, pick: Pick) -> None:
    if pick(st.integers(0, 9)) == 0:
        story.end(text=pick(texts), bare=True)
    else:
        story.end(pick(st.sampled_from(list(OUTCOMES))), pick(texts))


def _open_tasks(story: Story) -> list[str]:
    return [task.id for task in story.state.tasks.values() if not task.ended]


def _open_steps(story: Story) -> list[str]:
    return [key for key, step in story.turn.steps.items() if not step.done]


def _open_timers(story: Story) -> list[str]:
    return [key for key, timer in story.turn.timers.items() if not timer.done]


def _may_steer(story: Story) -> bool:
    for _, command in story.pending[-1:]:
        if isinstance(command, SendMessage) and command.id not in story.state.commands:
            return not command.data.message.task_id and not isinstance(
                decide(story.state, command, time=story.tape.now)[0], CommandRejected
            )
    return False


_MOVES: Final[Mapping[str, Callable[[Story, Pick], object]]] = {
    "send": lambda story, pick: story.send(message=pick(messages)),
    "refused": _refused,
    "resend": lambda story, pick: story.put(pick(st.sampled_from([c for _, c in story.commands]))),
    "follow up": lambda story, pick: story.send(
        pick(texts), task=pick(st.sampled_from(_open_tasks(story)))
    ),
    "cancel": lambda story, pick: story.cancel(pick(st.sampled_from(_open_tasks(story)))),
    "redrive": lambda story, pick: story.send(
        pick(texts), redrives=pick(st.sampled_from(list(story.state.tasks)))
    ),
    "report": _report,
    "resume": lambda story, pick: story.again(
        story.state.tasks[pick(st.sampled_from(sorted(story.state.aside)))]
    ),
    "decide": lambda story, _: story.decide(),
    "decide ahead": lambda story, _: story.decide(ahead=True),
    "begin": lambda story, _: story.begin(),
    "short turn": _short_turn,
    "progress": lambda story, pick: story.progress(pick(texts)),
    "write": _write,
    "append": _append,
    "withdraw": lambda story, pick: story.withdraw(pick(st.sampled_from(story.turn.artifacts))),
    "step": lambda story, pick: story.step(
        pick(st.sampled_from(["search", "pay"])), idempotent=pick(st.booleans())
    ),
    "step again": _step_again,
    "done": lambda story, pick: story.done(
        pick(st.sampled_from(_open_steps(story))), pick(json_values)
    ),
    "failed": _failed,
    "step fails for now": lambda story, pick: story.fail_for_now(
        pick(st.sampled_from(_open_steps(story)))
    ),
    "again": lambda story, _: story.again(),
    "end": _end,
    "value": lambda story, pick: story.value(
        pick(st.sampled_from(["now", "uuid"])), pick(json_values)
    ),
    "spend": lambda story, pick: story.spend(
        pick(st.sampled_from(["", "small", "large"])), pick(st.integers(0, 5_000))
    ),
    "sleep": lambda story, _: story.sleep(),
    "fire": lambda story, pick: story.fire(pick(st.sampled_from(_open_timers(story)))),
    "ask": _ask,
    "answer": _answer,
    "expire": lambda story, pick: story.expire(pick(st.sampled_from(list(story.turn.asked)))),
    "delegate": lambda story, pick: story.delegate(
        pick(st.sampled_from(["poet", "other"])), pick(texts)
    ),
    "steer": lambda story, _: story.steer(),
    "suspend": lambda story, _: story.leave(AttemptEnd.SUSPENDED),
    "hand back": lambda story, _: story.leave(AttemptEnd.HANDED_BACK),
    "fail for now": lambda story, _: story.leave(AttemptEnd.FAILED),
    "give up": lambda story, _: story.give_up(),
    "interrupt": lambda story, _: story.interrupt(),
}


@st.composite
def stories(
    draw: st.DrawFn, *, max_moves: int = 16, tape: Tape | None = None, context: str = "chat"
) -> Story:
    """Draw a context that has lived through some legal moves."""
    story = Story(tape, context=context)
    for _ in range(draw(st.integers(1, max_moves))):
        move(story, draw(st.sampled_from(moves(story))), draw)
    return story


@st.composite
def histories(draw: st.DrawFn, *, max_moves: int = 40) -> tuple[Tape, Sequence[Story]]:
    """Draw a tape on which several contexts of two agents have lived, interleaved."""
    tape = Tape()
    told = [
        Story(tape, agent=agent, context=context)
        for agent, context in (("echo", "one"), ("echo", "two words"), ("poet", "one"))
    ]
    for _ in range(draw(st.integers(1, max_moves))):
        story = draw(st.sampled_from(told))
        move(story, draw(st.sampled_from(moves(story))), draw)
    return tape, told
