"""An agent that asks models as its environment leads it: `asker.py STEP…`; prints what they say.

A step is `DIALECT:WHAT`, where `@FILE` is what a file has; `env` prints the environment. With
`once:FILE` it kills itself unless the file is there, which it makes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PATHS = {
    "messages": ("ANTHROPIC_BASE_URL", "/v1/messages"),
    "chat": ("OPENAI_BASE_URL", "/chat/completions"),
    "responses": ("OPENAI_BASE_URL", "/responses"),
    "generate": ("GOOGLE_GEMINI_BASE_URL", "/v1beta/models/scripted:streamGenerateContent?alt=sse"),
}
ENDS = ("message_stop", "[DONE]", "response.completed", '"STOP"')


def body_of(dialect: str, what: str) -> Any:
    """Return a question."""
    said = {"role": "user", "content": what}
    match dialect:
        case "generate":
            return {"contents": [{"role": "user", "parts": [{"text": what}]}]}
        case "responses":
            return {"model": "scripted", "stream": True, "input": [said]}
        case _:
            return {"model": "scripted", "stream": True, "max_tokens": 9, "messages": [said]}


def words(part: Any) -> str:
    """Return what a part of a stream says."""
    match part:
        case {"delta": {"text": str(text)}}:
            return text
        case {"type": "response.output_text.delta", "delta": str(text)}:
            return text
        case {"choices": [{"delta": {"content": str(text)}}]}:
            return text
        case {"candidates": [{"content": {"parts": [{"text": str(text)}]}}]}:
            return text
        case _:
            return ""


def ask(dialect: str, what: str) -> None:
    """Ask, and print what comes as it comes."""
    variable, path = PATHS[dialect]
    if what.startswith("@"):
        what = Path(what[1:]).read_text()
    data = json.dumps(body_of(dialect, what)).encode()
    headers = {"content-type": "application/json", "authorization": "Bearer mine"}
    request = urllib.request.Request(os.environ[variable] + path, data, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            whole = False
            for line in answer:
                text = line.decode().removeprefix("data: ")
                if text.startswith("{"):
                    print(words(json.loads(text)), flush=True)
                whole = whole or any(end in text for end in ENDS)
            if not whole:
                sys.exit("it broke off")
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode(), flush=True)
        sys.exit(1)


for step in sys.argv[1:]:
    kind, _, rest = step.partition(":")
    if kind == "env":
        print(json.dumps(sorted(os.environ.items())), flush=True)
    elif kind == "once":
        if not Path(rest).exists():
            Path(rest).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        ask(kind, rest)
