"""Where records lie: subjects are injective and their parser is the builders' inverse (S6)."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pelton.events import subjects
from pelton.events.errors import InvalidInput
from pelton.events.ids import task_id, token
from pelton.events.subjects import Subject
from tests.strategies import agents, ids


@pytest.mark.accepts("S6")
@given(agents, ids)
@example("a", "_agent")
@example("a", ">")
def test_parsing_is_the_inverse_of_building(agent: str, context: str) -> None:
    command, commit = subjects.commands(agent, context), subjects.commits(agent, context)
    assert subjects.parse(command) == Subject("cmd", agent, context)
    assert subjects.parse(commit) == Subject("evt", agent, context)
    assert str(subjects.parse(command)) == command
    assert command.count(".") == 2
    assert len(command.encode()) <= 280
    assert not set(command) & set("*> \t\r\n\0")


@pytest.mark.accepts("S6")
@given(agents, ids, agents, ids)
@example("a", "_agent", "a", "a")
def test_two_contexts_never_share_a_subject(a: str, x: str, b: str, y: str) -> None:
    assert (subjects.commits(a, x) == subjects.commits(b, y)) == ((a, x) == (b, y))
    assert subjects.commits(a, x) != subjects.commands(b, y)


@given(agents)
def test_an_agents_own_subject_is_no_contexts(agent: str) -> None:
    own = subjects.agent_commits(agent)
    assert own == f"evt.{agent}._agent"
    assert subjects.parse(own) == Subject("evt", agent, "", "_agent")
    assert str(subjects.parse(own)) == own
    assert subjects.commits(agent, "_agent") != own


@given(agents)
def test_the_subjects_of_schedules_are_no_contexts(agent: str) -> None:
    for kind, own, context in (
        ("cmd", subjects.schedule_commands(agent), subjects.commands(agent, "_schedules")),
        ("evt", subjects.schedule_commits(agent), subjects.commits(agent, "_schedules")),
    ):
        assert own == f"{kind}.{agent}._schedules"
        assert subjects.parse(own) == (kind, agent, "", "_schedules")
        assert str(subjects.parse(own)) == own
        assert context != own


@given(st.text(max_size=40) | st.from_regex(r"\A(cmd|evt|live)\.[a-z.=>*]{0,20}\Z"))
@example("cmd.a")
@example("cmd.a.b.c")
@example("evt.A.b")
@example("evt.a.=")
@example("evt.a.a b")
@example("live.evt.a.b")
@example("evt.a.*")
def test_what_parses_is_what_is_built(text: str) -> None:
    try:
        subject = subjects.parse(text)
    except InvalidInput:
        return
    assert str(subject) == text


@pytest.mark.parametrize("context", ["", "\n", "\x00", "a" * 129, "\ud800"])
def test_what_is_no_id_gets_no_subject(context: str) -> None:
    with pytest.raises(InvalidInput):
        subjects.commits("a", context)
    with pytest.raises(InvalidInput):
        subjects.commands("A", "a")


@pytest.mark.accepts("S6")
@given(agents, ids)
def test_the_claim_of_a_key_has_a_subject_of_its_own(agent: str, key: str) -> None:
    claim = subjects.claims(agent, key)
    assert subjects.parse(claim) == Subject("evt", agent, "", f"_key.{token(key)}")
    assert str(subjects.parse(claim)) == claim
    assert claim.count(".") == 3


@pytest.mark.accepts("S6")
@given(agents, ids, ids)
@example("a", ">", "x")
def test_the_push_configs_of_a_task_have_a_subject_of_their_own(
    agent: str, context: str, command: str
) -> None:
    task = task_id(context, command)
    own = subjects.pushes(agent, task)
    assert subjects.parse(own) == Subject("evt", agent, "", f"_push.{task}")
    assert str(subjects.parse(own)) == own
    assert own.count(".") == 3
    assert not set(own) & set("*> \t\r\n\0")
    assert subjects.pushes_of(task) == own.replace(f"evt.{agent}.", "evt.*.", 1)


@pytest.mark.accepts("S6")
@pytest.mark.parametrize(
    "task", ["", "x", "a.b", "*-0123456789abcdef", "=-0123456789abcdef", "\u00e9"]
)
def test_what_is_no_task_has_no_push_configs(task: str) -> None:
    for build in (partial(subjects.pushes, "a"), subjects.pushes_of):
        with pytest.raises(InvalidInput):
            build(task)
