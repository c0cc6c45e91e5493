"""A worker with a tiny framework of its own: `guest.py URL` asks a model and calls two tools."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pelton.adapters.frameworks.worker.guest.pelton_worker import Failed, Turn, serve
    from tests.adapters.frameworks.chat import SYSTEM, TOOLS, Broken, Json, ask, result, said
else:
    from chat import SYSTEM, TOOLS, Broken, Json, ask, result, said
    from pelton_worker import Failed, Turn, serve

KINDS = {401: "authorisation", 403: "authorisation", 429: "provider"}


def asking(turn: Turn, messages: list[Json]) -> Json:
    """Ask the model; this runs in a thread."""
    try:
        return ask(sys.argv[1], messages, turn.say)
    except Broken as error:
        usual = "provider" if error.status >= 500 else "validation"
        raise Failed(str(error), KINDS.get(error.status, usual)) from error


async def agent(turn: Turn) -> str:
    """Ask the model and call tools until it has spoken."""
    print("what a framework prints is no message")
    messages = [SYSTEM, *({"role": line["role"], "content": line["text"]} for line in turn.lines)]
    while True:
        answer = await turn.step(
            "model",
            asking,
            turn,
            messages,
            given=[messages],
            idempotent=True,
            speaks=True,
            kind="model",
        )
        used = answer["usage"]
        turn.usage(
            "scripted",
            input_tokens=used["prompt_tokens"],
            output_tokens=used["completion_tokens"],
        )
        if not answer["calls"]:
            return str(answer["text"])
        results = [result(call, await called(turn, call)) for call in answer["calls"]]
        messages = [*messages, said(answer), *results]


async def called(turn: Turn, call: Json) -> Any:
    """Call a tool; a person is asked before anything is paid."""
    name, arguments = call["name"], json.loads(call["arguments"])
    if name == "pay":
        approval = await turn.approve(f"Call pay with {arguments}?", tool=name, args=arguments)
        if not approval["approved"]:
            return f"A person has refused this. {approval['reason']}"
    tool = TOOLS[name]
    return await turn.step(
        f"tool {name}",
        partial(tool, **arguments),
        given=[arguments],
        key=call["id"],
        idempotent=True,
        kind="tool",
    )


serve(agent)
