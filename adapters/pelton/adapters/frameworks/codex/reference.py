"""codex by reference: `codex`, `codex:MODEL`."""

from __future__ import annotations

from pathlib import Path

from pelton.adapters.frameworks.acting import given, words_of
from pelton.adapters.frameworks.codex.adapter import CodexAdapter
from pelton.adapters.frameworks.given import either
from pelton.adapters.frameworks.serving import as_agent
from pelton.runtime.agents import Agent


def load(
    reference: str, *, model: str = "", folder: Path | None = None, **_options: object
) -> Agent:
    """Return the agent that `codex[+again][+home][+policy]:[MODEL]` names.

    With `+again`, what a crash has cut off may be done again; with `+home` it has the user's home,
    where they are logged in; with `+policy` what it asks about is for policies to decide. An
    agent file may say the `model` beside the reference.

    Raises:
        InvalidInput: this is no such reference.
    """
    head, _, named = reference.partition(":")
    words = words_of(head, reference)
    wanted = either(reference, "model", named, model)
    adapter = CodexAdapter(
        thread={"model": wanted} if wanted else {},
        directory=str(folder) if folder else None,
        **given(words),
    )
    return as_agent(adapter, name="codex", description="The coding agent codex.")
