#!/usr/bin/env python3
"""Prints what a coding command line prints: its words as they come, and the whole in the end."""

import json
import sys
from pathlib import Path

files = sorted(path.name for path in Path().iterdir() if path.is_file())
answer = f"You said {sys.argv[-1].splitlines()[-1]!r}. Here are {', '.join(files)}."
for word in answer.split(" "):
    event = {"delta": {"type": "text_delta", "text": f"{word} "}}
    print(json.dumps({"type": "stream_event", "event": event}), flush=True)
print(json.dumps({"type": "result", "is_error": False, "result": answer}))
