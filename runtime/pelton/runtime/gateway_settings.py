"""The settings of the model gateway."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pelton.runtime.setting_types import Secret, Section

ProviderName = Literal["anthropic", "openai", "gemini"]

Million = Annotated[float, Meta(ge=0)]


class PriceSettings(Section, frozen=True, kw_only=True):
    """What a model costs for a million tokens: read, read from a cache, and written."""

    input: Million
    output: Million
    cached: Million | None = None


class GatewaySettings(Section, frozen=True, kw_only=True):
    """The model gateway of executors, which holds the keys of models' providers."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether the calls of models that agents make by themselves go through the"
            " gateway of their executor, as far as it has a key for their provider. Needs the extra"
            " `pelton[gateway]`."
        ),
    ] = True
    keys: Annotated[
        dict[ProviderName, Secret],
        Meta(
            description="Keys of the providers `anthropic`, `openai` and `gemini`. Without one,"
            " that of the executor's environment: `ANTHROPIC_API_KEY`, `OPENAI_API_KEY`,"
            " `GEMINI_API_KEY` or `GOOGLE_API_KEY`. In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[ProviderName, Secret])
    upstreams: Annotated[
        dict[ProviderName, str],
        Meta(
            description="Base URLs of providers, if elsewhere than at their own addresses; without"
            " one, that of the executor's environment: `ANTHROPIC_BASE_URL`, `OPENAI_BASE_URL`,"
            " `GOOGLE_GEMINI_BASE_URL`. In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[ProviderName, str])
    prices: Annotated[
        dict[str, PriceSettings],
        Meta(
            description="What models cost for a million tokens, by name or by a pattern such as"
            ' `claude-sonnet-*`: `{"gpt-5" = {input = 1.25, output = 10, cached = 0.125}}`; of'
            " those that match, the longest holds. In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, PriceSettings])
    task_calls: Annotated[
        int, Meta(ge=0, description="Calls of models that one task may make; 0 is no limit.")
    ] = 0
    task_tokens: Annotated[
        int, Meta(ge=0, description="Tokens that one task may take, read and written.")
    ] = 0
    task_cost: Annotated[
        float,
        Meta(
            ge=0,
            description="What one task may cost. A model without a price in `gateway.prices` is"
            " then not asked.",
        ),
    ] = 0.0
    tenant_calls: Annotated[
        int, Meta(ge=0, description="Calls that all tasks of a tenant may make on one day (UTC).")
    ] = 0
    tenant_tokens: Annotated[
        int, Meta(ge=0, description="Tokens that all tasks of a tenant may take on one day (UTC).")
    ] = 0
    tenant_cost: Annotated[
        float, Meta(ge=0, description="What all tasks of a tenant may cost on one day (UTC).")
    ] = 0.0
