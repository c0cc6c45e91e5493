"""An agent that plans, hands parts of the work to three others at the same time, and merges.

`pelton dev --config examples/orchestrator.toml --executors 2`, then
`pelton send orchestrator "open a bakery"`. The agent `figures` kills its process in the middle of
its work: what was recorded stands, another executor goes on, and the answer is complete. The agent
`critic` refuses what it finds silly, which changes nothing for the others: try "a flying bakery".
"""

import asyncio
import os
import signal

import msgspec

from pelton.runtime import DelegationFailed, Report, Turn, agent


class Part(msgspec.Struct):
    """A part of the plan: who is asked what."""

    agent: str
    question: str


async def plan(goal: str) -> list[dict[str, str]]:
    await asyncio.sleep(0.1)  # stands for the model that makes the plan
    questions = {
        "facts": f"What is known about this: {goal}?",
        "figures": f"What does this cost: {goal}?",
        "critic": f"What could go wrong: {goal}?",
    }
    return [{"agent": who, "question": question} for who, question in questions.items()]


@agent
async def orchestrator(turn: Turn) -> str:
    """Asks three agents about a plan of yours, and puts together what they say."""
    # The plan is a step: the model may answer otherwise the next time, the record does not.
    parts = msgspec.convert(await turn.step("plan", plan, turn.text, idempotent=True), list[Part])
    await turn.status(f"I ask {', '.join(part.agent for part in parts)}.")
    # In the order of the plan, whoever is first; one that fails leaves its exception in its place.
    found = await turn.gather(*(turn.delegate(p.agent, p.question, within=120) for p in parts))
    answers = [f"- {part.agent}: {said(each)}" for part, each in zip(parts, found, strict=True)]
    return "\n".join([f"About {turn.text!r}:", *answers])


def said(found: Report | Exception) -> str:
    """Return what came of a part; whatever it is, it is another agent's words."""
    if isinstance(found, Report):
        return found.text
    if isinstance(found, DelegationFailed):
        return f"(no answer: {found.report.text})"
    raise found


async def look_up(question: str) -> str:
    await asyncio.sleep(0.5)  # stands for a search
    return f"three sources on {question!r}"


@agent
async def facts(turn: Turn) -> str:
    """Looks up what is known."""
    return await turn.step("look up", look_up, turn.text, idempotent=True)


@agent
async def figures(turn: Turn) -> str:
    """Calculates, in two steps, and dies between them the first time."""
    rows = await turn.step("collect", look_up, turn.text, idempotent=True)
    if turn.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)  # the crash of this example
    total = await turn.step("add up", len, rows, idempotent=True)
    return f"{total} in all, after {turn.attempt} attempts"


@agent
async def critic(turn: Turn) -> str:
    """Says what could go wrong."""
    if "flying" in turn.text:
        await turn.reject("I do not comment on that.")
    return "nobody comes, or everybody"
