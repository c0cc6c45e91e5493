"""Agents of a model by reference: `model:anthropic/NAME`, `model:openai/NAME`, and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from pelton.adapters.frameworks.model.adapter import ModelAdapter
from pelton.adapters.frameworks.model.endpoint import Endpoint
from pelton.adapters.frameworks.model.tools import Tool
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.errors import InvalidInput
from pelton.runtime.agents import Agent, named, slug

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
    provider, _, name = (what or model).partition("/")
    if provider not in _PROVIDERS or not name or (what and model):
        raise InvalidInput(f"{what or model or reference!r}: {_FORM}")
    asked = parse_qsl(query, keep_blank_values=True)
    if unknown := {key for key, _ in asked} - _OPTIONS:
        known = ", ".join(sorted(_OPTIONS))
        raise InvalidInput(f"{reference!r}: no option is called {min(unknown)!r}: {known} are")
    given = dict(asked)
    url, usual, key = _PROVIDERS[provider]
    endpoint = Endpoint(
        provider, environ.get(url) or usual, name, environ.get(key, ""), options or {}
    )
    places = (*(value for key, value in asked if key == "tools"), *tools)
    adapter = ModelAdapter(
        endpoint,
        system=_system(given.get("system", ""), reference) or prompt,
        tools=[each for place in places for each in _tools(place, reference)],
    )
    return as_agent(
        adapter,
        name=given.get("name") or slug(name),
        description=f"The model {name}.",
    )


def _system(file: str, reference: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{reference!r}: the file {file!r} cannot be read as a text") from error


def _tools(place: str, reference: str) -> list[Tool]:
    found: Any = named(place, reference)
    given: list[object] = [found]
    if isinstance(found, list | tuple) and not isinstance(found, Tool):
        given = [*found]  # pyright: ignore[reportUnknownVariableType]  they are looked at below
    tools = [each for each in given if isinstance(each, Tool)]
    if len(tools) < len(given):
        raise InvalidInput(
            f"{reference!r}: {place!r} is no tool, nor a list of such: make them with @tool"
        )
    return tools
