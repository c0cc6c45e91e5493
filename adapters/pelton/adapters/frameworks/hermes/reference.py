"""Hermes by reference: `hermes:MODEL`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.given import either
from pelton.adapters.frameworks.hermes.adapter import HermesAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent


def load(
    reference: str,
    *,
    environ: Mapping[str, str],
    model: str = "",
    folder: Path | None = None,
) -> Agent:
    """Return the agent that `hermes[+again][+policy]:MODEL` names.

    `OPENAI_BASE_URL` says where the model is, and `OPENAI_API_KEY` is its key. With `+again`, what
    a crash has cut off may be done again; with `+policy`, what it asks about is for policies to
    decide. An agent file may say the `model` beside the reference.

    Raises:
        InvalidInput: this is no such reference.
    """
    head, _, named = reference.partition(":")
    model = either(reference, "model", named, model)
    words = frozenset(head.split("+")[1:])
    if not model or words - {"again", "policy"}:
        raise InvalidInput(f"{reference!r}: write hermes:MODEL, with +again or +policy")
    adapter = HermesAdapter(
        environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1",
        model,
        key=environ.get("OPENAI_API_KEY", ""),
        routed=True,
        environment=environments.root(environ) / "hermes",
        directory=str(folder) if folder else None,
        again="again" in words,
        policy="policy" in words,
    )
    return as_agent(adapter, name="hermes", description=f"Hermes with the model {model}.")
