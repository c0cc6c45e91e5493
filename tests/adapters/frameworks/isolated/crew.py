"""An agent of CrewAI with the tools of the suite: runs in CrewAI's environment."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

crewai: Any = importlib.import_module("crewai")
tool: Any = importlib.import_module("crewai.tools").tool


def effect(name: str) -> None:
    if path := os.environ.get("TEST_EFFECTS"):
        with Path(path).open("a") as file:
            file.write(f"{name}\n")


@tool("add")  # type: ignore[untyped-decorator]
def add(a: int, b: int) -> int:
    """Add two numbers."""
    effect("add")
    return a + b


@tool("pay")  # type: ignore[untyped-decorator]
def pay(amount: int) -> str:
    """Pay an amount."""
    effect("pay")
    return f"paid {amount}"


llm: Any = crewai.LLM(
    model="openai/scripted",
    base_url=os.environ["TEST_MODEL"],
    api_key="sk-test",
    max_retries=0,
    stream=True,
)
agent: Any = crewai.Agent(
    role="a test", goal="pass", backstory="You are a test.", llm=llm, tools=[add, pay]
)


def led() -> Any:
    """Make one whose model is where the environment says, with a key from there."""
    away = crewai.LLM(model="openai/gpt-4o-mini", max_retries=0, stream=True)
    return crewai.Agent(role="led", goal="pass", backstory="You are a test.", llm=away)


def crew() -> Any:
    """Make a crew of two, one after the other; the second one answers."""
    first = crewai.Agent(role="first", goal="think", backstory="You think.", llm=llm, tools=[add])
    second = crewai.Agent(role="second", goal="write", backstory="You write.", llm=llm)
    tasks = [
        crewai.Task(description="Think about {message}", expected_output="thoughts", agent=first),
        crewai.Task(description="Answer {message}", expected_output="answer", agent=second),
    ]
    return crewai.Crew(agents=[first, second], tasks=tasks)


def reviewed() -> Any:
    """Make a crew of one, whose answer a person reviews."""
    one = crewai.Agent(role="one", goal="write", backstory="You write.", llm=llm)
    task = crewai.Task(
        description="{message}", expected_output="answer", agent=one, human_input=True
    )
    return crewai.Crew(agents=[one], tasks=[task])


class Flow(crewai.flow.flow.Flow):  # type: ignore[misc]  # there is no CrewAI here
    """Asks a model twice."""

    @crewai.flow.flow.start()  # type: ignore[untyped-decorator]
    def begin(self) -> str:
        found: str = llm.call(f"begin {self.state['message']}")
        return found

    @crewai.flow.flow.listen(begin)  # type: ignore[untyped-decorator]
    def end(self, begun: str) -> str:
        found: str = llm.call(f"end {begun}")
        return found
