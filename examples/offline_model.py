"""A model without a model, for examples: `python examples/offline_model.py`, and OpenAI is there.

It knows what it was told: it says which questions the conversation has had. It is the scripted
model of `pelton.testing`, which speaks the dialects of Anthropic and Gemini too.
"""

import asyncio

from pelton.testing.models import Asked, Play, ScriptedModel, say


def answer(asked: Asked) -> Play:
    questions = [text.splitlines()[-1] for role, text in asked.said if role == "user"]
    return say(f"You have asked {len(questions)} times: {'; '.join(questions)}.", delay=0.01)


async def main() -> None:
    async with ScriptedModel(answer) as model:
        print(f"export OPENAI_BASE_URL={model.url}/v1 OPENAI_API_KEY=none", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
