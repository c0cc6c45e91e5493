"""Agents of a model by reference: `model:anthropic/NAME`, `model:openai/NAME`, and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pelton.adapters.frameworks.given import Given, either
from pelton.adapters.frameworks.model.adapter import ModelAdapter
from pelton.adapters.frameworks.model.endpoint import Endpoint
from pelton.adapters.frameworks.model.tools import tools_at
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, slug

_PROVIDERS: Final = {
    "anthropic": ("ANTHROPIC_BASE_URL", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "openai": ("OPENAI_BASE_URL", "https://api.openai.com/v1", "OPENAI_API_KEY"),
}
_OPTIONS: Final = frozenset({"name", "system", "tools"})
_FORM: Final = "write model:openai/NAME or model:anthropic/NAME, perhaps with ?system=FILE"


def load(
    reference: str,
    *,
    environ: Mapping[str, str],
    model: str = "",
    prompt: str = "",
    tools: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Agent:
    """Return the agent that `model:PROVIDER/MODEL[?name=…&system=FILE&tools=module:name]` names.

    Where the endpoint is, and its key, the variables say that the providers' own clients read:
    `OPENAI_BASE_URL`, `OPENAI_API_KEY`, `ANTHROPIC_BASE_URL`, `ANTHROPIC_API_KEY`. `tools` names a
    list of tools, and may be given more than once. The rest may be said beside the reference, as an
    agent file does: the `model`, if the reference names none, the system `prompt`, more `tools`,
    and `options` of each request.

    Raises:
        InvalidInput: this is no such reference, or something in it leads nowhere.
    """
    what, _, query = reference.partition(":")[2].partition("?")
    whole = either(reference, "model", what, model)
    provider, _, name = whole.partition("/")
    if provider not in _PROVIDERS or not name:
        raise InvalidInput(f"{whole or reference!r}: {_FORM}")
    given = Given.of(reference, query, _OPTIONS)
    url, usual, key = _PROVIDERS[provider]
    endpoint = Endpoint(
        provider, environ.get(url) or usual, name, environ.get(key, ""), options or {}
    )
    adapter = ModelAdapter(
        endpoint,
        system=either(reference, "prompt", given.text("system"), prompt),
        tools=tools_at([*given.all("tools"), *tools], reference),
    )
    return as_agent(
        adapter,
        name=given.one("name") or slug(name),
        description=f"The model {name}.",
    )
