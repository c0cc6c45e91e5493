"""The documentation is true: what it shows runs, what there is it names, what it names there is.

Fenced blocks say by their info string what holds of them:

- `python`: a program that runs by itself; `python server`: it is given `NATS_URL`, where the agent
  `echo` is served; `python agent`: a file with an agent, which must load; `python greeter`: a file
  of the page on moving, which `test_moving` serves.
- `console`, `bash`, `sh`: commands. Those of `pelton`, `make` and `python -m` must exist, with
  their options; others must be among `KNOWN`.
- `json` must be that; `toml settings` is a settings file, `toml agent` an agent's, `toml plugin`
  the manifest of a plugin, `markdown skill` a skill; `mermaid` is generated; `js` is for browsers,
  where `tests/browser` runs it.
- Without an info string it is a picture. There are no others.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import pytest_asyncio
import typer

from pelton.adapters.cli.app import app
from pelton.adapters.telemetry.families import FAMILIES, SPANS, exposed
from pelton.events import context, delegation, wishes
from pelton.events.asyncapi import asyncapi
from pelton.events.calls import Call
from pelton.events.commands import COMMANDS
from pelton.events.events import EVENTS
from pelton.projections.ledger import COUNTS
from pelton.runtime import agent_file
from pelton.runtime.agents import Agent, agent
from pelton.runtime.bulk import UNREADABLE
from pelton.runtime.clock import RealWorld
from pelton.runtime.executor import Executor
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.jetstream.profiles import RELAXED
from pelton.runtime.plugin import Manifest
from pelton.runtime.settings import load, settings
from pelton.runtime.skills import skill
from pelton.runtime.turn import Turn
from tests.docs.generate import BLOCKS, PAGES, ROOT, commands_of, errors_, generate
from tests.docs.threats import THREATS, proofs

KNOWN: Final = {"cd", "curl", "docker", "git", "jq", "nats", "node", "npm", "pip", "pipx", "uv"}
"""Programs that pages may call and that are not ours."""

FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
KINDS: Final = {
    *("", "python", "python agent", "python greeter", "python server", "console", "bash", "sh"),
    *("js", "json", "toml agent", "toml settings", "toml plugin", "markdown skill", "mermaid"),
}
HEADING: Final = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)
LINK: Final = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
PATH: Final = re.compile(r"`(?P<path>(?:tests|examples|events|schemas|docs)/[\w./-]*)`")


class Block(NamedTuple):
    """A fenced block of a page."""

    place: str
    info: tuple[str, ...]
    code: str


def blocks(text: str, name: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(f"{name}:{line}", tuple(match["info"].split()), dedent(match["code"]))


def loaded(block: Block) -> dict[str, Any]:
    """Return what a program has made, run here."""
    module: dict[str, Any] = {"__name__": "shown"}
    exec(compile(block.code, block.place, "exec"), module)
    return module


ALL: Final = [block for path in PAGES for block in blocks(path.read_text("utf-8"), path.name)]
SERVED: Final = [block for block in ALL if block.info == ("python", "server")]
MOVED: Final = [block for block in ALL if block.info == ("python", "greeter")]
ALONE: Final = [b for b in ALL if b.info[:1] == ("python",) and b not in (*SERVED, *MOVED)]
SHELL: Final = [block for block in ALL if block.info[:1] in (("console",), ("bash",), ("sh",))]


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


# What it shows runs


@agent
async def echo(turn: Turn) -> str:
    """Say it again."""
    return turn.text


@pytest_asyncio.fixture
async def served(nats_url: str) -> AsyncIterator[str]:
    """Return the URL of a server on which the agent `echo` is served."""
    world = RealWorld()
    async with JetStreamLog.open(nats_url, profile=RELAXED) as log:
        executor = Executor(log, [echo], world=world)
        running = asyncio.create_task(executor.run())
        async with asyncio.timeout(10):
            await executor.ready.wait()
        yield nats_url
        executor.stop()
        await running


async def run(code: str, **environment: str) -> None:
    """Run a program to its end; what it prints to standard error is shown when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        code,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(40):
            _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()


def test_a_block_in_a_list_is_a_block_too() -> None:
    (block,) = blocks("- so:\n\n  ```console\n  $ make tea\n  ```\n", "page")
    assert block == ("page:3", ("console",), "$ make tea\n")


def test_every_block_is_of_a_kind() -> None:
    assert [block.place for block in ALL if " ".join(block.info) not in KINDS] == []


@pytest.mark.parametrize("block", ALONE, ids=lambda block: block.place)
def test_every_program_runs(block: Block) -> None:
    found = loaded(block)
    if "agent" in block.info:
        assert any(isinstance(each, Agent) for each in found.values()), "there is no agent"


@pytest.mark.parametrize("block", SERVED, ids=lambda block: block.place)
async def test_every_program_that_needs_a_server_runs(block: Block, served: str) -> None:
    await run(block.code, NATS_URL=served)


async def test_a_program_that_fails_is_noticed() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        await run("1 / 0")


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_every_command_exists(block: Block) -> None:
    for line in commands(block.code):
        check(line)


def commands(code: str) -> list[str]:
    """Return the command lines of a block: those after a `$`, or all if none has one."""
    lines = code.replace("\\\n", " ").splitlines()
    marked = [line[2:] for line in lines if line.startswith("$ ")]
    return marked or [line for line in lines if line.strip() and not line.startswith("#")]


def check(line: str) -> None:
    """Raise if a command line calls what does not exist."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    for separator in ("|", "&&", ";", "&"):
        if separator in words:
            at = words.index(separator)
            check(shlex.join(words[:at]))
            words = words[at + 1 :]
    if not words:
        return
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "pelton":
        _check_pelton(arguments)
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert all(name in targets for name in arguments if "=" not in name), line
    elif program in ("python", "python3") and arguments[:1] == ["-m"]:
        assert arguments[1] in ("pip", "venv") or find_spec(arguments[1]), line
    elif program in ("python", "python3"):
        assert (ROOT / arguments[0]).is_file(), line
    else:
        assert program in KNOWN, f"{line!r}: is {program!r} to be had?"


def _check_pelton(arguments: list[str]) -> None:
    found = commands_of(typer.main.get_command(app))
    name, *rest = arguments or ["--help"]
    if name.startswith("-"):
        assert name in ("--help", "-h", "--version")
        return
    if rest and f"{name} {rest[0]}" in found:
        name = f"{name} {rest.pop(0)}"
    assert name in found, f"there is no `pelton {name}`"
    known = {option for param in found[name].params for option in param.opts}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert given <= known | {"--help"}, f"`pelton {name}` does not take {given - known}"


WRONG: Final = (
    "pelton dance",
    "pelton send --loud a b",
    "pelton dead-letters dance",
    "pelton dead-letters redrive --loud a",
    "make tea",
    "python -m no_such",
    "frobnicate",
    "cd x && rm y",
)


@pytest.mark.parametrize("line", WRONG)
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError):
        check(line)


def test_data_can_be_read_and_settings_are_settings(tmp_path: Path) -> None:
    file = tmp_path / "pelton.toml"
    for block in ALL:
        match block.info:
            case ("json", *_):
                json.loads(block.code)
            case ("toml", "settings"):
                file.write_text(block.code)
                load(file, environment={})
            case ("toml", "agent"):
                file.write_text(block.code)
                agent_file.load(file)
            case ("toml", "plugin"):
                msgspec.convert(tomllib.loads(block.code), Manifest)
            case ("markdown", "skill"):
                (tmp_path / "SKILL.md").write_text(block.code)
                assert skill(tmp_path).text
            case _:
                pass


# What there is it names


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_is_generated_is_fresh(path: Path) -> None:
    text = path.read_text("utf-8")
    assert generate(text) == text, "run `make schemas`"


def test_a_stale_page_is_noticed() -> None:
    page = text_of("contract.md")
    spoilt = page.replace("| `taskId` | string | required |", "", 1)
    assert generate(spoilt) == page != spoilt


def test_every_block_is_used() -> None:
    text = "".join(path.read_text("utf-8") for path in PAGES)
    used = set(re.findall(r"<!-- begin ([a-z-]+) -->", text))
    assert used == set(BLOCKS)


def headings(name: str) -> set[str]:
    return {match["text"] for match in HEADING.finditer(text_of(name))}


def rows(name: str) -> set[str]:
    """Return what stands in the first two cells of the rows of a page's tables."""
    lines = (line for line in text_of(name).splitlines() if line.startswith("| "))
    return {cell.strip().strip("`") for line in lines for cell in line.split("|")[1:3]}


@pytest.mark.accepts("AS-5")
def test_every_command_and_event_has_a_heading() -> None:
    names = {str(struct.__struct_config__.tag) for struct in (*COMMANDS, *EVENTS)}
    assert names <= headings("contract.md")


def test_every_subject_has_a_row() -> None:
    addresses = {channel["address"] for channel in asyncapi()["channels"].values()}
    assert {a.replace("{", "<").replace("}", ">") for a in addresses} <= rows("contract.md")


def test_every_error_has_a_row_and_a_meaning() -> None:
    found = rows("errors.md")
    for error in errors_():
        assert {error.code, error.name} <= found
        assert error.text, f"{error.name} has no docstring"


def test_every_setting_has_a_row_and_a_text() -> None:
    found = rows("settings.md")
    for setting in settings():
        assert {setting.path, setting.variable} <= found
        assert setting.text, setting.path


def test_every_key_of_an_agent_file_has_a_row() -> None:
    assert set(agent_file.AgentFile.__struct_fields__) <= rows("agent-file.md")


def test_every_command_of_the_command_line_has_a_heading_and_help() -> None:
    for name, command in commands_of(typer.main.get_command(app)).items():
        assert f"pelton {name}" in headings("cli.md")
        assert command.help
        assert all(param.help for param in command.params), f"pelton {name}: an option without help"


def test_every_name_of_ours_in_metadata_has_a_row() -> None:
    own = (wishes.WHEN_BUSY, wishes.DEADLINE, wishes.ANSWERS, wishes.TURN)
    told = (context.POSITION, context.REDRIVEN, delegation.ORIGIN, UNREADABLE)
    assert {*own, *told} <= rows("wishes.md")


def test_every_count_has_a_row() -> None:
    assert set(COUNTS) <= rows("dead-letters.md")


def test_every_metric_and_span_has_a_row() -> None:
    found = rows("telemetry.md")
    for family in FAMILIES:
        assert family.name + ("_total" if family.kind == "counter" else "") in found
    assert {span.name for span in SPANS} <= found


def test_every_query_of_the_dashboard_names_what_there_is() -> None:
    board = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [each["query"] for each in board["templating"]["list"]]
    known = {name for family in FAMILIES for name in exposed(family)}
    labels = {label for family in FAMILIES for label in family.labels} | {"le"}
    named = {name for query in queries for name in re.findall(r"\bpelton_[a-z_]+", query)}
    grouped = {
        label.strip()
        for query in queries
        for by in re.findall(r"by \(([^)]*)\)", query)
        for label in by.split(",")
    }
    assert named <= known, named - known
    assert grouped <= labels, grouped - labels
    assert [each.name for each in FAMILIES if not named & set(exposed(each))] == []


def test_every_member_of_a_call_has_a_row() -> None:
    assert set(Call.__struct_fields__) <= rows("policy.md")


def test_every_page_is_in_the_index() -> None:
    linked = {match["target"] for match in LINK.finditer(text_of("index.md"))}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked


def test_every_threat_has_a_test_or_a_reason() -> None:
    assert [each.id for each in THREATS] == [f"S{number}" for number in range(1, 28)]
    for each in THREATS:
        assert each.left or list(proofs(each.id)), f"{each.id}: neither a test nor a reason"
        assert each.control or each.left
    for known in ("S1", "S2", "S4", "S6", "S14", "S15", "S16", "S17", "S20", "S22", "S24", "S26"):
        assert list(proofs(known)), known


@pytest.mark.accepts("AS-71")
def test_what_is_risky_is_tried_and_can_be_turned_off() -> None:
    """Authorisation, leaks between tenants, webhooks, tools: there are tests of what must fail."""
    for threat in ("S4", "S5", "S8", "S10", "S13"):
        assert list(proofs(threat)), threat
    _, _, section = text_of("operations.md").partition("\n## Turning things off\n")
    flags = re.findall(r"^\| [^|]+ \| `(?P<path>[a-z0-9_.]+)` \|", section, re.MULTILINE)
    assert len(flags) >= 10
    assert set(flags) <= {setting.path for setting in settings()}


# What it names there is


def anchor(heading: str) -> str:
    """Return the fragment that leads to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_and_path_leads_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text("utf-8"))
    for match in LINK.finditer(text):
        target, _, fragment = match["target"].partition("#")
        if target.startswith(("http:", "https:")):
            continue
        page = path.parent / target if target else path
        assert page.exists(), f"{path.name}: {target}"
        if fragment:
            found = {anchor(h["text"]) for h in HEADING.finditer(page.read_text("utf-8"))}
            assert fragment in found, f"{path.name}: {match['target']}"
    for match in PATH.finditer(text):
        assert (ROOT / match["path"]).exists(), f"{path.name}: {match['path']}"


def test_the_design_is_a_short_page() -> None:
    assert len(text_of("design.md").splitlines()) <= 150
