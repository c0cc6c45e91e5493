#!/usr/bin/env python3
"""Stands for a coding command line, so that one behind A2A can be tried without a key.

`pelton dev "cli+jsonl:examples/coder.py {prompt}"`, then
`pelton send coder "write a function that adds" --stream`. Like those it stands for, it takes a
prompt, says what it does while it does it, and then what has come of it. With a key, the same is
`pelton dev "cli:claude -p {prompt} --output-format stream-json --verbose"`, or `codex`, or
`gemini`: see docs/adapters.md.
"""

import json
import sys
import tempfile
from pathlib import Path


def main(prompt: str) -> None:
    *before, task = prompt.strip().splitlines()
    say(f"I have read {len(before)} lines of our conversation.\n")
    name = "_".join(word for word in task.lower().split() if word.isalpha())[:40] or "nothing"
    file = Path(tempfile.mkdtemp(prefix="coder-")) / f"{name}.py"
    say(f"I write {file.name}.\n")
    file.write_text(f'def {name}() -> None:\n    """{task}."""\n')
    compile(file.read_text(), file.name, "exec")
    say("It compiles.\n")
    print(
        json.dumps({"answer": f"{file.name} is written, after {len(before)} lines of talk."}),
        flush=True,
    )


def say(text: str) -> None:
    print(json.dumps({"text": text}), flush=True)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
