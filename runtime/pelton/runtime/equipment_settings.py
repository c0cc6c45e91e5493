"""The settings of hooks, policies, plugins and skills: `equipment` of all agents, or of one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pelton.events.ruling import Point
from pelton.runtime.setting_types import Section


class PolicySettings(Section, frozen=True, kw_only=True):
    """What agents may do. What is said here and of one agent hold both; the strictest counts."""

    rules: Annotated[
        dict[str, str],
        Meta(
            description="Rules in CEL over each call, by name: the rule, or a file that holds it."
            " Needs the extra `pelton[policy]`. In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, str])
    tools: Annotated[
        tuple[str, ...],
        Meta(
            description="Tools that models may call, as patterns (`read_*`). Without a policy that"
            " says so, all that an agent has."
        ),
    ] = ("*",)
    schemas: Annotated[
        dict[str, dict[str, Any]],
        Meta(
            description="JSON Schemas that the arguments of tools must fit, by the tools' names."
            " Needs the extra `pelton[policy]`. In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, dict[str, Any]])
    egress: Annotated[
        tuple[str, ...],
        Meta(
            description="Hosts that may be reached for an agent, as patterns (`api.openai.com`,"
            " `*.example.com`, `localhost:8000`): of models, webhooks and agents elsewhere."
            " Without a policy that says so, all that the settings lead to."
        ),
    ] = ("*",)
    max_steps: Annotated[int | None, Meta(description="How many steps a task may take.")] = 10_000
    max_delegations: Annotated[
        int,
        Meta(
            ge=0,
            description="How often a task may hand work to other agents. 0: as often as it likes.",
        ),
    ] = 1_000
    max_tokens: Annotated[
        int | None,
        Meta(
            description="How many tokens a task may use, of input and output; then it takes no"
            " further step."
        ),
    ] = None
    max_cost: Annotated[
        float,
        Meta(ge=0, description="What a task may cost; then it takes no further step. 0: anything."),
    ] = 0.0
    max_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="Seconds that a task may last, waits included; then it takes no further"
            " step. 0: for ever.",
        ),
    ] = 0.0
    untrusted: Annotated[
        tuple[str, ...],
        Meta(
            description="Where text comes from that is not to be trusted, as patterns: `client`,"
            " `agent:NAME`, `remote:URL`, `tool:NAME`, `memory`."
        ),
    ] = ("remote:*",)
    writes: Annotated[
        Literal["allow", "ask", "deny"],
        Meta(
            description="What becomes of a call of a tool that is not idempotent once text that is"
            " not to be trusted has come to the conversation: a person is asked, it does not"
            " happen, or it does."
        ),
    ] = "ask"
    approvers: Annotated[
        tuple[str, ...],
        Meta(
            description="Who decides where a person is asked, by the ids of principals. Without"
            " any, the owner of the task."
        ),
    ] = ()


class HookSettings(Section, frozen=True, kw_only=True):
    """A hook: who is asked, at which points, for how long, and what if it fails."""

    run: Annotated[
        str,
        Meta(
            description="A function, `module:name` or `path/to/file.py:name`, or the name of an"
            " entry point in the group `pelton.hooks`."
        ),
    ] = ""
    command: Annotated[
        tuple[str, ...],
        Meta(description="A program and its arguments, told and telling JSON, instead of `run`."),
    ] = ()
    points: Annotated[tuple[Point, ...], Meta(description="Where it is asked.")] = ()
    names: Annotated[
        tuple[str, ...],
        Meta(description="About which steps, as patterns of their names or of their tools'."),
    ] = ("*",)
    timeout: Annotated[float, Meta(gt=0, le=600, description="Seconds that it has.")] = 5.0
    on_failure: Annotated[
        Literal["deny", "allow"],
        Meta(description="What counts as its answer if it fails or is too late."),
    ] = "deny"
    order: Annotated[
        int, Meta(description="Hooks of a lower number are asked first; else as they stand.")
    ] = 0
    options: Annotated[dict[str, Any], Meta(description="What it is told of its settings.")] = (
        msgspec.field(default_factory=dict[str, Any])
    )


class PluginSettings(Section, frozen=True, kw_only=True):
    """A plugin: where it lies, and which one it must be."""

    path: Annotated[
        str, Meta(description="Its folder; without, it is the plugin of that name in pelton.")
    ] = ""
    digest: Annotated[
        str,
        Meta(
            pattern=r"^([0-9a-f]{64})?$",
            description="The digest that it must have, as `pelton plugins verify` tells.",
        ),
    ] = ""
    grants: Annotated[
        tuple[str, ...],
        Meta(description="Which of the permissions that its manifest asks for it has."),
    ] = ()
    options: Annotated[dict[str, Any], Meta(description="What its hooks are told.")] = (
        msgspec.field(default_factory=dict[str, Any])
    )


class EquipmentSettings(Section, frozen=True, kw_only=True):
    """What an agent goes by beside its code: policy, hooks, plugins, skills."""

    policy: PolicySettings = PolicySettings()
    hooks: Annotated[
        dict[str, HookSettings],
        Meta(
            description="Hooks by name: a table `[hooks.NAME]` each ([hooks.md](hooks.md)). In the"
            " variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, HookSettings])
    plugins: Annotated[
        dict[str, PluginSettings],
        Meta(
            description="Plugins by name: a table `[plugins.NAME]` each ([plugins.md](plugins.md))."
            " In the variable it is a JSON object."
        ),
    ] = msgspec.field(default_factory=dict[str, PluginSettings])
    skills: Annotated[
        tuple[str, ...],
        Meta(description="Folders of skills, each with a `SKILL.md` ([plugins.md](plugins.md))."),
    ] = ()
