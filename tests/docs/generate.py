"""The parts of the documentation that are made from the code: `python -m tests.docs.generate`.

They stand in the pages between `<!-- begin NAME -->` and `<!-- end NAME -->`, held by a test.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
import typer

import pelton
from pelton.adapters.a2a.errors import INTERNAL, fault_of
from pelton.adapters.api.openapi import openapi
from pelton.adapters.cli.app import app
from pelton.adapters.cli.output import exit_code
from pelton.adapters.frameworks.contract import Capability
from pelton.adapters.mcp.contract import SERVERS
from pelton.adapters.telemetry.families import ALL as ALL_PARTS
from pelton.adapters.telemetry.families import FAMILIES, SPANS
from pelton.events.asyncapi import asyncapi
from pelton.events.commands import COMMANDS, CommandEnvelope
from pelton.events.commit import Commit
from pelton.events.envelope import Envelope
from pelton.events.errors import PeltonError
from pelton.events.events import EVENTS
from pelton.events.presence import TRANSITIONS as STANDINGS
from pelton.events.presence import AgentStatus, Fact
from pelton.events.ruling import Point
from pelton.events.schema import schemas
from pelton.events.secret_kinds import KINDS
from pelton.events.states import INTERRUPTED, TERMINAL, TRANSITIONS
from pelton.runtime.agent_file import AgentFile, IdleEntry, ScheduleEntry, TermsEntry
from pelton.runtime.jetstream.profiles import PROFILES
from pelton.runtime.setting_types import Section
from pelton.runtime.settings import settings
from tests.adapters.frameworks.kits import KITS, Kit
from tests.docs.threats import THREATS, Threat, proofs

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK: Final = re.compile(
    r"(?P<begin><!-- begin (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end (?P=name) -->)", re.DOTALL
)


def generate(page: str) -> str:
    """Return a page with its generated parts made anew."""
    return _BLOCK.sub(
        lambda block: f"{block['begin']}\n{BLOCKS[block['name']]().strip()}\n\n{block['end']}", page
    )


def main() -> None:
    """Make all pages anew."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        if generate(page) != page:
            path.write_text(generate(page), encoding="utf-8")


def table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def prose(thing: object) -> str:
    """Return what a docstring says, in the names of the wire: `task_id` is `taskId` there."""
    text = inspect.cleandoc(thing.__doc__ or "")

    def wire(name: re.Match[str]) -> str:
        head, *rest = name[1].split("_")
        return f"`{head}{''.join(word.capitalize() for word in rest)}`"

    return re.sub(r"`([a-z][a-z.]*(?:_[a-z]+)+)`", wire, text)


def line(thing: object) -> str:
    """Return a docstring on one line."""
    return " ".join(prose(thing).split())


# The contract

_A2A: Final = {"Message", "Part", "Artifact", "TaskStatus", "TaskState", "Role"}
_CARD: Final = {"AgentExtension", "AgentProvider", "AgentSkill"}
_OWN: Final = (
    *("Failure", "FailureClass", "Outcome", "AttemptEnd", "WhenBusy", "Delegation"),
    *(
        "TaskOutcome",
        "BlobRef",
        "AgentProfile",
        "AgentStatus",
        "Fact",
        "Schedule",
        "Missed",
        "PushEnd",
        "MemoryScope",
        "MemoryCause",
        "CauseKind",
        "MemoryRef",
        "SessionStart",
        "SessionReason",
        "SessionEntry",
        "Stage",
        "StepKind",
        "Ruling",
        "Point",
        "Equipment",
        "EquipmentKind",
    ),
)


def _type(member: dict[str, Any]) -> str:
    """Return how a table names the type of a member."""
    if "$ref" in member:
        name = str(member["$ref"]).rpartition("/")[2]
        if name == "pelton:Event":
            return "[event](#events)"
        return f"[{name}](#{name.lower()})" if name in _OWN else f"A2A {name}"
    if "anyOf" in member:
        return " or ".join(_type(each) for each in member["anyOf"])
    if member.get("type") == "array":
        return f"array of {_type(member['items'])}"
    if member.get("type") == "integer":
        return "integer from 0"
    return str(member.get("type", "any JSON"))


def _members(schema: dict[str, Any]) -> str:
    rows = (
        (
            f"`{name}`",
            _type(member),
            "required" if name in schema["required"] else f"`{json.dumps(member.get('default'))}`",
        )
        for name, member in schema["properties"].items()
        if name != "type"
    )
    return table(("member", "type", "default"), rows)


def subjects_() -> str:
    """Return the table of the subjects."""
    channels = asyncapi()["channels"].values()
    return table(
        ("subject", "what it holds"),
        (
            (f"`{c['address'].replace('{', '<').replace('}', '>')}`", c["description"])
            for c in channels
        ),
    )


def operations() -> str:
    """Return the table of what one does with the subjects."""
    document = asyncapi()
    addresses = {f"#/channels/{name}": c["address"] for name, c in document["channels"].items()}
    return table(
        ("operation", "", "subject", "how"),
        (
            (
                f"`{name}`",
                operation["action"],
                f"`{addresses[operation['channel']['$ref']]}`",
                operation["summary"],
            )
            for name, operation in document["operations"].items()
        ),
    )


def envelope() -> str:
    """Return the table of the attributes of records."""
    command, commit = schemas()["SendMessage.v1"], schemas()["Commit.v1"]
    names = list(command["properties"] | commit["properties"])

    def used(schema: dict[str, Any], name: str) -> str:
        if name not in schema["properties"]:
            return "not there"
        if name in schema["required"]:
            return "required"
        default = schema["properties"][name].get("default")
        return "may be absent" if default is None else f"`{json.dumps(default)}`"

    attributes = table(
        ("attribute", "in commands", "in commits"),
        ((f"`{name}`", used(command, name), used(commit, name)) for name in names),
    )
    return "\n\n".join((prose(Envelope), prose(CommandEnvelope), prose(Commit), attributes))


def commands() -> str:
    """Return a section for each command."""
    sections: list[str] = []
    for struct in COMMANDS:
        name = str(struct.__struct_config__.tag)
        definitions = schemas()[name.removeprefix("pelton.")]["$defs"]
        data = definitions[f"{struct.__name__}Data"]
        sections += [f"### {name}", prose(struct), data["description"], _members(data)]
    return "\n\n".join(sections)


def commit() -> str:
    """Return the section of commits."""
    data = schemas()["Commit.v1"]["$defs"]["CommitData"]
    return "\n\n".join((data["description"], _members(data)))


def events() -> str:
    """Return a section for each event."""
    sections: list[str] = []
    for struct in EVENTS:
        name = str(struct.__struct_config__.tag)
        sections += [f"### {name}", prose(struct), _members(schemas()[name])]
    return "\n\n".join(sections)


def types() -> str:
    """Return a section for each type of ours that members have."""
    definitions: dict[str, Any] = {}
    for schema in schemas().values():
        definitions |= schema.get("$defs", {})
    assert set(definitions) <= _A2A | _CARD | set(_OWN) | {"CommitData"} | {
        f"{struct.__name__}Data" for struct in COMMANDS
    }
    sections: list[str] = []
    for name in _OWN:
        definition = definitions[name]
        sections += [f"### {name}", definition["description"]]
        if "enum" in definition:
            sections.append(", ".join(f"`{value}`" for value in definition["enum"]))
        else:
            sections.append(_members(definition))
    return "\n\n".join(sections)


def states() -> str:
    """Return the diagram of the life of a task."""
    short = {state: str(state).removeprefix("TASK_STATE_").lower() for state in TRANSITIONS}
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {short[next(iter(TRANSITIONS))]}"]
    for state, after in TRANSITIONS.items():
        lines += [f"    {short[state]} --> {short[n]}" for n in TRANSITIONS if n in after]
    lines += [f"    {short[state]} --> [*]" for state in TRANSITIONS if state in TERMINAL]
    waiting = ", ".join(f"`{state}`" for state in TRANSITIONS if state in INTERRUPTED)
    return "\n".join([*lines, "```", "", f"A task waits for somebody outside in {waiting}."])


def presence() -> str:
    """Return the diagram of how an agent stands, and what its names mean."""
    arrows: dict[tuple[AgentStatus, AgentStatus], list[Fact]] = {}
    for status, facts in STANDINGS.items():
        for fact, after in facts.items():
            arrows.setdefault((status, after), []).append(fact)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> starting: registered"]
    lines += [
        f"    {status} --> {after}: {', '.join(facts)}" for (status, after), facts in arrows.items()
    ]
    statuses = table(
        ("status", "meaning"), ((f"`{s}`", doc) for s, doc in _members_of(AgentStatus))
    )
    facts_ = table(("fact", "what is seen"), ((f"`{f}`", doc) for f, doc in _members_of(Fact)))
    return "\n\n".join(("\n".join([*lines, "```"]), statuses, facts_))


def _members_of(enum: type[StrEnum]) -> Iterator[tuple[str, str]]:
    """Yield the members of an enumeration with the texts that stand below them."""
    body = ast.parse(inspect.getsource(enum)).body[0]
    assert isinstance(body, ast.ClassDef)
    for before, after in pairwise(body.body):
        if isinstance(before, ast.Assign) and isinstance(after, ast.Expr):
            yield str(ast.literal_eval(before.value)), str(ast.literal_eval(after.value))


# What is beside the contract


class Error(NamedTuple):
    """An error class as the documentation speaks of it."""

    code: str
    name: str
    module: str
    text: str


def errors_() -> list[Error]:
    """Return all errors that pelton can raise: the subclasses of `PeltonError` in its packages."""
    for module in pkgutil.walk_packages(pelton.__path__, "pelton."):
        if not module.name.endswith("__main__") and ".simulation" not in module.name:
            importlib.import_module(module.name)
    found: list[type[PeltonError]] = [PeltonError]
    for known in found:  # grows as it goes
        found += [each for each in known.__subclasses__() if each not in found]
    return sorted(
        Error(each.code, each.__name__, each.__module__, line(each))
        for each in found
        if each.__module__.startswith("pelton.") and ".simulation" not in each.__module__
    )


def errors() -> str:
    """Return the table of the errors."""

    def outside(code: str) -> tuple[str, str, str, str]:
        fault = fault_of(type("Any", (PeltonError,), {"code": code})())
        if fault is INTERNAL:
            return ("-32603", "500", "`INTERNAL`", "`INTERNAL_ERROR`")
        return (str(fault.rpc), str(fault.http), f"`{fault.status}`", f"`{fault.reason}`")

    rows = (
        (f"`{e.code}`", f"`{e.name}`", e.text, *outside(e.code), str(exit_code(e.code)))
        for e in errors_()
    )
    heads = ("code", "class", "meaning", "JSON-RPC", "HTTP", "gRPC", "reason", "exit")
    return table(heads, rows)


def api() -> str:
    """Return the table of the routes of our own API."""
    rows: list[tuple[str, ...]] = []
    for path, methods in openapi()["paths"].items():
        ((verb, operation),) = methods.items()
        named = [f"`{each['name']}`" for each in operation["parameters"] if each["in"] != "path"]
        shown = f"`{path}`" if verb == "get" else f"`{verb.upper()} {path}`"
        if operation.get("security") == []:
            rows.append((shown, operation["summary"], "none", ", ".join(named)))
            continue
        scope = re.search(r"`[a-z]+:[a-z]+`", operation["description"])
        assert scope, path
        rows.append((shown, operation["summary"], scope[0], ", ".join(named)))
    return table(("path", "what for", "scope", "parameters"), iter(rows))


def settings_() -> str:
    """Return the table of the settings."""
    return table(
        ("setting", "variable", "default", "meaning"),
        (
            (f"`{s.path}`", f"`{s.variable}`", f"`{_default(s.default)}`", s.text)
            for s in settings()
        ),
    )


def agent_file() -> str:
    """Return the table of the keys of an agent file."""
    tables: dict[str, type[Section]] = {
        "": AgentFile,
        "idle.": IdleEntry,
        "schedules[].": ScheduleEntry,
        "terms.": TermsEntry,
    }
    rows = (
        (f"`{prefix}{field.name}`", _default_of(field), _meaning(kind, field.name))
        for prefix, kind in tables.items()
        for field in msgspec.structs.fields(kind)
    )
    return table(("key", "default", "meaning"), rows)


def _default_of(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default is None or isinstance(field.default, Section):
        return "none"
    default: Any = {} if field.default is msgspec.NODEFAULT else field.default
    return f"`{msgspec.json.encode(default).decode()}`"


def _meaning(kind: type[Section], name: str) -> str:
    return str(get_type_hints(kind, include_extras=True)[name].__metadata__[-1].description)


def _default(value: object) -> str:
    if value is None:
        return "none"
    return json.dumps(value, default=str)


def profiles() -> str:
    """Return the table of the durability profiles."""
    return table(
        ("profile", "`sync_interval`", "copies", "an accepted message survives"),
        ((f"`{p.name}`", f"`{p.sync}`", str(p.replicas), p.survives) for p in PROFILES.values()),
    )


def cli() -> str:
    """Return a section for each command of the command line."""
    sections: list[str] = []
    for name, command in commands_of(typer.main.get_command(app)).items():
        rows = [
            (
                f"`{p.metavar or p.name}`" if p.param_type_name == "argument" else _option(p),
                p.help or "",
            )
            for p in command.params
            if not p.hidden
        ]
        sections += [f"### pelton {name}", command.help, table(("", ""), iter(rows))]
    return "\n\n".join(sections)


def commands_of(group: Any) -> dict[str, Any]:
    """Return the commands of a group by what one writes, with those of the groups within it."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        if inner is None or command.invoke_without_command:
            found[name] = command
        if inner is not None:
            found |= {f"{name} {word}": each for word, each in commands_of(command).items()}
    return found


def _option(option: Any) -> str:
    value = f" {option.metavar}" if option.metavar else ""
    return f"`{option.opts[0]}{value}`"


def secrets() -> str:
    """Return the table of the kinds of secrets, those of one issuer's wording in one row."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        found.setdefault(kind.about, []).append(f"`{kind.name}`")
    rows = ((about, ", ".join(dict.fromkeys(names))) for about, names in found.items())
    return table(("of", "kind"), rows)


def threats() -> str:
    """Return the security checklist."""

    def shown(threat: Threat) -> str:
        tests = [f"{name}" for name in proofs(threat.id)]
        return "<br>".join([*tests, *([threat.left] if threat.left else [])])

    rows = ((each.id, each.name, each.control, shown(each)) for each in THREATS)
    return table(("", "threat", "what is done", "what shows it, and what is left"), rows)


def adapters() -> str:
    """Return the table of the adapters: what they declare, which their suite proves."""
    rows = (
        (f"`{name}`", *("yes" if each in kit.capabilities else "" for each in Capability))
        for name, kit in KITS.items()
    )
    texts = "\n".join(f"- *{name}*: {text}" for name, text in _members_of(Capability))
    heads = ("adapter", *(f"*{each}*" for each in Capability))
    return f"{table(heads, iter(rows))}\n\n{texts}"


def points() -> str:
    """Return the table of where hooks are asked, adapter by adapter, which their suite proves."""

    def cell(kit: Kit, point: Point) -> str:
        if point not in kit.points:
            return ""
        begun = kit.apart and point is Point.TOOL_BEFORE
        return "when it has begun" if begun else "yes"

    shown = [point for point in Point if any(point in kit.points for kit in KITS.values())]
    rows = ((f"`{name}`", *(cell(kit, point) for point in shown)) for name, kit in KITS.items())
    late = (
        "*When it has begun*: its process calls tools by itself, and tells of a call as it makes"
        " it. A denial ends the turn, and whether the call had its effect nobody knows: keep such"
        " tools from it."
    )
    return f"{table(('adapter', *(f'`{each}`' for each in shown)), rows)}\n\n{late}"


def tools_() -> str:
    """Return the tools that are served over MCP: what each does, and where there is one of it."""
    servers: dict[str, dict[str, str]] = {}
    for server, tools in SERVERS.items():
        for tool in tools:
            servers.setdefault(tool.name, {}).setdefault(server, tool.description)
    rows = ["| tool | of | what for |", "| --- | --- | --- |"]
    for name, said in servers.items():
        texts: dict[str, list[str]] = {}
        for server, text in said.items():
            texts.setdefault(text, []).append(server)
        rows += [f"| `{name}` | {', '.join(of)} | {text} |" for text, of in texts.items()]
    return "\n".join(rows)


def metrics() -> str:
    """Return the table of the metrics."""
    return table(
        ("metric", "kind", "labels", "where", "meaning"),
        (
            (
                f"`{each.name}_total`" if each.kind == "counter" else f"`{each.name}`",
                each.kind,
                ", ".join(f"`{label}`" for label in each.labels),
                "all" if each.parts == ALL_PARTS else ", ".join(each.parts),
                each.text,
            )
            for each in FAMILIES
        ),
    )


def spans() -> str:
    """Return the table of the spans."""
    return table(
        ("span", "kind", "attributes", "meaning"),
        (
            (
                f"`{each.name}`",
                each.kind,
                ", ".join(f"`pelton.{name}`" for name in each.attributes),
                each.text,
            )
            for each in SPANS
        ),
    )


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "adapters": adapters,
    "points": points,
    "agent-file": agent_file,
    "subjects": subjects_,
    "operations": operations,
    "envelope": envelope,
    "commands": commands,
    "commit": commit,
    "events": events,
    "types": types,
    "states": states,
    "presence": presence,
    "errors": errors,
    "secrets": secrets,
    "settings": settings_,
    "api": api,
    "threats": threats,
    "tools": tools_,
    "profiles": profiles,
    "cli": cli,
    "metrics": metrics,
    "spans": spans,
}

if __name__ == "__main__":
    main()
