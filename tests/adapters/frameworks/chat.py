"""What the agents of the suite that run in processes of their own have: a model to ask, two tools.

Of the standard library alone: these processes know nothing of pelton.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

SYSTEM = {"role": "system", "content": "You are a test."}


class Broken(Exception):
    """The model has failed, with a status of HTTP; 502 if it has broken off."""

    def __init__(self, status: int) -> None:
        super().__init__(f"The model's endpoint has answered {status}.")
        self.status = status


def effect(name: str) -> None:
    """Have an effect outside, in one write."""
    if path := os.environ.get("TEST_EFFECTS"):
        with Path(path).open("a") as file:
            file.write(f"{name}\n")


def add(a: int, b: int) -> int:
    effect("add")
    return a + b


def pay(amount: int) -> str:
    effect("pay")
    return f"paid {amount}"


TOOLS: dict[str, Callable[..., Any]] = {"add": add, "pay": pay}


def ask(url: str, messages: list[Json], say: Callable[[str], None]) -> Json:
    """Ask the model: returns its text, the calls it wants made, and what it took.

    Where it is stands in `url`, or in the environment if that is `-`; a key only there.
    """
    url = os.environ["OPENAI_BASE_URL"].removesuffix("/v1") if url == "-" else url
    key = os.environ.get("OPENAI_API_KEY", "")
    none: Json = {}
    offered = [
        {"type": "function", "function": {"name": name, "parameters": none}} for name in TOOLS
    ]
    body: Json = {"model": "scripted", "stream": True, "messages": messages, "tools": offered}
    body["stream_options"] = {"include_usage": True}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )
    text, calls, usage, ended = "", dict[int, Json](), Json(), False
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
                    say(piece)
                    for each in delta.get("tool_calls", ()):
                        known = calls.setdefault(each["index"], {"arguments": ""})
                        known.update(id=each.get("id", known.get("id")))
                        known["name"] = each["function"].get("name", known.get("name"))
                        known["arguments"] += each["function"]["arguments"]
    except urllib.error.HTTPError as error:
        raise Broken(error.code) from error
    except (OSError, http.client.HTTPException) as error:
        raise Broken(502) from error
    if not ended:
        raise Broken(502)
    return {"text": text, "calls": list(calls.values()), "usage": usage}


def said(answer: Json) -> Json:
    """Return an answer as the model wants to see it again."""
    calls = [{"id": call["id"], "type": "function", "function": call} for call in answer["calls"]]
    return {"role": "assistant", "content": answer["text"]} | (
        {"tool_calls": calls} if calls else {}
    )


def result(call: Json, found: Any) -> Json:
    """Return the result of a call as the model wants to see it."""
    content = found if isinstance(found, str) else json.dumps(found)
    return {"role": "tool", "tool_call_id": call["id"], "content": content}
