"""A worker with a tiny framework of its own: `guest.py URL` asks a model and calls two tools.

It knows nothing of pelton but `pelton_worker`, as a worker in another environment.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pelton.adapters.frameworks.worker.guest.pelton_worker import Failed, Turn, serve
else:
    from pelton_worker import Failed, Turn, serve

KINDS = {401: "authorisation", 403: "authorisation", 429: "provider"}
URL = sys.argv[1]


def effect(name: str) -> None:
    if path := os.environ.get("TEST_EFFECTS"):
        with Path(path).open("a") as file:
            file.write(f"{name}\n")


def add(a: int, b: int) -> int:
    effect("add")
    return a + b


def pay(amount: int) -> str:
    effect("pay")
    return f"paid {amount}"


TOOLS = {"add": add, "pay": pay}


def ask(turn: Turn, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Ask the model; this runs in a thread."""
    offered = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in TOOLS]
    body = {"model": "scripted", "stream": True, "messages": messages, "tools": offered}
    request = urllib.request.Request(
        f"{URL}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    text, calls, usage, ended = "", dict[int, dict[str, Any]](), {}, False
    try:
        with urllib.request.urlopen(request) as answer:
            for line in answer:
                data = line.decode().removeprefix("data: ").strip()
                ended = ended or data == "[DONE]"
                if not data.startswith("{"):
                    continue
                chunk = json.loads(data)
                usage = chunk.get("usage") or usage
                for delta in (choice["delta"] for choice in chunk["choices"]):
                    piece = delta.get("content") or ""
                    text += piece
                    turn.say(piece)
                    for each in delta.get("tool_calls", ()):
                        known = calls.setdefault(each["index"], {"arguments": ""})
                        known.update(id=each.get("id", known.get("id")))
                        known["name"] = each["function"].get("name", known.get("name"))
                        known["arguments"] += each["function"]["arguments"]
    except urllib.error.HTTPError as error:
        kind = KINDS.get(error.code, "provider" if error.code >= 500 else "validation")
        raise Failed(f"The model's endpoint has answered {error.code}.", kind) from error
    except (OSError, http.client.HTTPException) as error:
        raise Failed("The model's endpoint has broken off.", "provider") from error
    if not ended:
        raise Failed("The model's endpoint has broken off.", "provider")
    return {"text": text, "calls": list(calls.values()), "usage": usage}


async def agent(turn: Turn) -> str:
    """Ask the model and call tools until it has spoken."""
    print("what a framework prints is no message")
    told = [{"role": line["role"], "content": line["text"]} for line in turn.lines]
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You are a test."}, *told]
    while True:
        said = await turn.step(
            "model", ask, turn, messages, given=[messages], idempotent=True, speaks=True
        )
        used = said["usage"]
        turn.usage(
            "scripted",
            input_tokens=used["prompt_tokens"],
            output_tokens=used["completion_tokens"],
        )
        if not said["calls"]:
            return str(said["text"])
        wanted = [
            {"id": call["id"], "type": "function", "function": call} for call in said["calls"]
        ]
        messages = [
            *messages,
            {"role": "assistant", "content": said["text"], "tool_calls": wanted},
        ]
        for call in said["calls"]:
            messages.append(
                {"role": "tool", "tool_call_id": call["id"], **await called(turn, call)}
            )


async def called(turn: Turn, call: dict[str, Any]) -> dict[str, str]:
    """Call a tool; a person is asked before anything is paid."""
    name, arguments = call["name"], json.loads(call["arguments"])
    if name == "pay":
        approval = await turn.approve(f"Call pay with {arguments}?", tool=name, args=arguments)
        if not approval["approved"]:
            return {"content": f"A person has refused this. {approval['reason']}"}
    tool = TOOLS[name]
    found = await turn.step(
        f"tool {name}", lambda _: tool(**arguments), arguments, key=call["id"], idempotent=True
    )
    return {"content": found if isinstance(found, str) else json.dumps(found)}


serve(agent)
