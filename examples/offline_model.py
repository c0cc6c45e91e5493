"""A model without a model, for examples: `python examples/offline_model.py`, and there is one.

It knows what it was told: it says which questions the conversation has had. Where it has the tool
`Write`, it writes that into the file `hello.md` first. It is the scripted model of
`pelton.testing`, which speaks the dialects of OpenAI, Anthropic and Gemini.
"""

import asyncio

from pelton.testing.models import Asked, Play, ScriptedModel, call, say


def answer(asked: Asked) -> Play:
    questions = [text.splitlines()[-1] for role, text in asked.said if role == "user"]
    told = f"You have asked {len(questions)} times: {'; '.join(questions)}."
    if "Write" in asked.tools and asked.lines[-1].role != "tool":
        return call("Write", file_path="hello.md", content=told)
    return say(told, delay=0.01)


async def main() -> None:
    async with ScriptedModel(answer) as model:
        openai = f"OPENAI_BASE_URL={model.url}/v1 OPENAI_API_KEY=none"
        print(f"export {openai} ANTHROPIC_BASE_URL={model.url} ANTHROPIC_API_KEY=none", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
