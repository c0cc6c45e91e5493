"""A model that needs no key: it plays OpenAI on loopback, for examples to be tried offline.

It prints the variables that lead an agent to it, and answers until it is told to stop.
"""

import asyncio
import contextlib

from pelton.testing.models import Asked, Play, ScriptedModel, say


def answer(request: Asked) -> Play:
    question = request.said[-1][1].splitlines()[-1]  # who has asked stands before it
    return say(f"I have been asked {question!r}, and know nothing.")


async def main() -> None:
    async with ScriptedModel(answer) as model:
        print(f"OPENAI_BASE_URL={model.url}/v1 OPENAI_API_KEY=none", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # it was told to stop
        asyncio.run(main())
