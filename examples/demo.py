"""The agent of `make demo`: five recorded steps over some seconds, a streamed piece after each.

Each step ends by writing a line to a file outside, which is its effect in the world. A step is
marked as idempotent: killed before its line is written, it had no effect and may run again.
"""

import os
import time
from pathlib import Path

from pelton.runtime import Turn, agent

STEPS = ("fetch the sources", "read them", "weigh them", "write the answer", "check it")
SECONDS = float(os.environ.get("DEMO_STEP_SECONDS", "0.6"))


def work(name: str, number: int) -> str:
    time.sleep(SECONDS)  # stands for the model, the tool, the service; a thread runs it
    with Path(os.environ["DEMO_EFFECTS"]).open("a") as effects:
        effects.write(f"{number} {name}\n")
    return f"{number}. {name}: done\n"


@agent
async def demo(turn: Turn) -> str:
    """Takes its time, in five steps."""
    for number, name in enumerate(STEPS, 1):
        await turn.stream(await turn.step(name, work, name, number, idempotent=True))
    await turn.stream("That was all.\n", last=True)
    return "All five steps are done, each of them once."
