"""A command line agent: `command.py URL PROMPT` asks a model, and prints JSON lines."""

from __future__ import annotations

import json
import sys
import urllib.request


def main(url: str, prompt: str) -> None:
    """Ask, and print what comes as it comes."""
    body = {
        "model": "scripted",
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            data = line.decode().removeprefix("data: ").strip()
            if not data.startswith("{"):
                continue
            for choice in json.loads(data)["choices"]:
                print(json.dumps({"text": choice["delta"].get("content", "")}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
