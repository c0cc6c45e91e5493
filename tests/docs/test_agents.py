"""The agents that the pages show do what the pages say: each is served and asked."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from pelton.events.a2a import Message, Part, Role, TaskState, TaskStatus
from pelton.events.a2a import Task as A2ATask
from pelton.runtime.agents import Agent, Terms, agent
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.turn import Turn
from tests.docs.generate import ROOT
from tests.docs.test_docs import blocks, loaded
from tests.runtime.clients import WORLD, Client, reply, serving

TALKS: Final[dict[str, tuple[str, list[str], str]]] = {
    "greeter": ("Ada", [], "Hello, Ada!"),
    "shop": ("screws", [], "3 screws, 1.5 kg"),
    "lottery": ("go", [], r"[0-9a-f-]{36} draws 0\.[0-9]{3}, True"),
    "cashier": ("pay", ["some", "12", "yes"], "paid 12"),
    "navigator": ("north", [], "north"),
    "thinker": ("why", [], r"why\?"),
    "boss": ("dig", [], "worker says: dug"),
    "survey": ("tea", [], "2 of 3: yes, yes"),
    "abroad": ("bonjour", [], "good day"),
}
"""For each agent: what it is told, what it is answered when it asks, a pattern of its reply."""


def shown() -> dict[str, Agent]:
    """Return the agents of the pages, by name."""
    found: dict[str, Agent] = {}
    for page in ("agents.md", "delegation.md"):
        for block in blocks((ROOT / "docs" / page).read_text("utf-8"), page):
            if block.info == ("python", "agent"):
                each = loaded(block).values()
                found |= {one.name: one for one in each if isinstance(one, Agent)}
    return found


SHOWN: Final = shown()


@agent
async def worker(_: Turn) -> str:
    """Digs."""
    return "dug"


def voter(number: int) -> Agent:
    @agent(name=f"voter-{number}")
    async def vote(turn: Turn) -> str:
        return "yes" if number else await turn.reject("I do not vote.")

    return vote


class Translator:
    """An agent elsewhere that answers at once."""

    def allows(self, url: str) -> bool:
        return url == "https://agents.example.com/translator"

    async def send(self, url: str, message: Message, *, deadline: str) -> A2ATask | Message:
        assert (url, deadline) == ("https://agents.example.com/translator", "")
        said = Message(message_id="m", role=Role.AGENT, parts=(Part(text="good day"),))
        status = TaskStatus(state=TaskState.COMPLETED, message=said)
        self.task = A2ATask(id="t", context_id=message.context_id, status=status)
        return self.task

    async def find(self, url: str, message: Message) -> A2ATask | None:
        raise AssertionError(url, message)

    async def get(self, url: str, task_id: str) -> A2ATask:
        assert (url, task_id) == ("https://agents.example.com/translator", "t")
        return self.task

    async def changed(self, url: str, task_id: str) -> None:
        raise AssertionError(url, task_id)

    async def cancel(self, url: str, task_id: str) -> None:
        raise AssertionError(url, task_id)


def test_every_agent_that_is_shown_is_asked() -> None:
    assert set(SHOWN) == set(TALKS)


@pytest.mark.parametrize("name", TALKS)
async def test_an_agent_that_is_shown_does_what_is_said(nats_url: str, name: str) -> None:
    told, answers, expected = TALKS[name]
    helpers = (worker, *map(voter, range(3)))
    async with (
        JetStreamLog.open(nats_url, profile=RELAXED) as log,
        serving(log, SHOWN[name], *helpers, remote=Translator()),
    ):
        client = Client(log, name)
        context, task = await client.send(told)
        for number, answer in enumerate(answers, 1):

            def asked(state: Any, number: int = number) -> bool:
                turn = state.tasks[task].turn if task in state.tasks else None
                return turn is not None and len(turn.questions) == number and bool(turn.asked)

            await client.until(context, asked)
            await client.send(answer, context, task=task, id_=WORLD.new_id())
        ended = await client.settled(context, task)
    assert ended.status.state is TaskState.COMPLETED
    assert re.fullmatch(expected, reply(ended)), reply(ended)


def test_the_terms_that_are_listed_are_all_there_are() -> None:
    page = (ROOT / "docs" / "agents.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page.partition("## Terms")[2], re.MULTILINE)
    assert set(Terms.__dataclass_fields__) == set(listed[: len(Terms.__dataclass_fields__)])
