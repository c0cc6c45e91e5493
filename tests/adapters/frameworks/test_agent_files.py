"""Agents by file: what becomes of what a file says, and what is looked for before the start."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from pelton.adapters.cli.equip import equipped, played
from pelton.adapters.cli.plugins import outfit_of
from pelton.adapters.cli.preflight import NotReady, look, prepared
from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks import environments
from pelton.adapters.frameworks.contract import AdapterError
from pelton.events.a2a import text_of
from pelton.events.errors import InvalidInput
from pelton.events.events import FailureClass
from pelton.events.ruling import Point
from pelton.runtime import agent_file
from pelton.runtime.agents import Agent, Idle
from pelton.runtime.diagnosis import Check
from pelton.runtime.equipment_settings import (
    EquipmentSettings,
    HookSettings,
    PluginSettings,
    PolicySettings,
)
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.plugin import digest_of
from pelton.runtime.settings import ExecutorSettings, Settings
from pelton.runtime.toml import SettingsError
from pelton.testing.models import ScriptedModel, call, say
from tests.runtime.clients import Client, only, reply, serving

CODE = """
from pelton.runtime import Idle, Terms, Turn, agent

@agent(initial="begin", options={"model": "small"}, terms=Terms(retries={}, inactivity=9))
async def clerk(turn: Turn) -> str:
    "Keeps books."
    return str(await turn.options())
"""
FITTED = """
from pelton.runtime import Turn, agent
from pelton.runtime.guard import CallDenied

@agent
async def clerk(turn: Turn) -> str:
    "Keeps books."
    said = [await turn.skill("refunds")]
    for name in ("first", "second"):
        try:
            said.append(await turn.step(name, str, name))
        except CallDenied as denied:
            said.append(str(denied))
    return " / ".join(said)
"""
HOOK = """
def look(occasion):
    with open(occasion.options["file"], "a") as file:
        file.write(occasion.options["says"])
"""
SKILL = "---\nname: refunds\ndescription: How money comes back.\n---\nAsk first.\n"
TOOLS = """
from pelton.adapters.frameworks.model import tool

@tool(idempotent=True)
def add(a: int, b: int) -> int:
    "Adds."
    return a + b
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "prompt.md").write_text("You add.")
    return tmp_path


def described(folder: Path, text: str) -> str:
    (folder / "agent.toml").write_text(f'name = "clerk"\n{text}')
    return str(folder / "agent.toml")


def script(folder: Path, text: str = '#!/bin/sh\necho "$1"\n') -> Path:
    path = folder / "answer.sh"
    path.write_text(text)
    path.chmod(stat.S_IRWXU)
    return path


def test_a_file_goes_over_what_the_code_says(folder: Path) -> None:
    found = load_agent(
        described(
            folder,
            """
adapter = "code.py"
title = "The clerk"
role = "bookkeeper"
version = "2.1"
team = "office"
model = "large"
prompts = ["prompt.md"]
idle = {after = 9, text = "?"}
""",
        )
    )
    profile = found.profile
    assert (profile.name, profile.title, profile.version) == ("clerk", "The clerk", "2.1")
    assert profile.description == "Keeps books."
    assert [skill.tags for skill in profile.skills] == [("clerk", "bookkeeper")]
    assert found.options == {"model": "large", "prompt": "You add."}
    assert (found.initial, found.team) == ("begin", "office")
    assert (found.terms.idle, found.terms.inactivity) == (Idle(after=9, text="?"), 9)


async def test_a_model_with_a_prompt_and_tools(
    model: ScriptedModel, log: JetStreamLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{model.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    model.script(call("add", a=1, b=2), say("3"))
    given = 'adapter = "model"\nmodel = "openai/gpt"\nprompts = ["prompt.md"]\n'
    given += 'tools = ["tools.py:add"]\noptions = {temperature = 0}\nenvironment = ["HOME"]'
    found = load_agent(described(folder, given))
    client = Client(log, "clerk")
    async with serving(log, found):
        context, task = await client.send("1 + 2?")
        ended = await client.settled(context, task)
    assert text_of(only(ended).parts) == "3"
    assert model.asked[0].said == [("system", "You add."), ("user", "1 + 2?")]
    assert (model.asked[0].model, model.asked[0].body["temperature"]) == ("gpt", 0)


async def test_a_command_runs_in_the_folder(log: JetStreamLog, folder: Path) -> None:
    script(folder, "#!/bin/sh\ncat prompt.md\n")
    client = Client(log, "clerk")
    async with serving(log, load_agent(described(folder, 'adapter = "cli:./answer.sh"'))):
        context, task = await client.send("what?")
        ended = await client.settled(context, task)
    assert text_of(only(ended).parts) == "You add."


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ('adapter = "langgraph:a:b"\nmodel = "x"', "model", "does not take it"),
        ('adapter = "code.py"\ntools = ["tools.py:add"]', "tools", "does not take it"),
        ('adapter = "cli:cat -"\nprompt = "x"', "prompt", "does not take it"),
        ('adapter = "model"\nmodel = "nobody/x"', "adapter", "write model:openai/NAME"),
        ('adapter = "model:openai/x"\nmodel = "openai/y"', "adapter", "names a model already"),
        ('adapter = "codex:x"\nmodel = "y"', "adapter", "names a model already"),
        ('adapter = "model:openai/x?system=prompt.md"', "adapter", "say 'system' in the file"),
        ('adapter = "model:openai/x?tools=tools.py:add"', "adapter", "say 'tools' in the file"),
        ('adapter = "../code.py"', "adapter", "leads out of the file's folder"),
        ('adapter = "code.py:nobody"', "adapter", "the module has no 'nobody'"),
    ],
)
def test_what_nobody_would_heed_is_refused(folder: Path, text: str, where: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_agent(described(folder, text))
    assert f"agent.toml: $.{where}: " in str(error.value)
    assert says in str(error.value)


def test_code_that_does_not_load_says_why(folder: Path) -> None:
    (folder / "code.py").write_text("import no_such_package\n")
    with pytest.raises(InvalidInput, match="No module named 'no_such_package'"):
        load_agent(str(folder / "code.py"))


async def test_an_agent_goes_by_its_file_beside_the_settings(
    log: JetStreamLog, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "fitted.py").write_text(FITTED)
    (folder / "hook.py").write_text(HOOK)
    (folder / "refunds").mkdir()
    (folder / "refunds" / "SKILL.md").write_text(SKILL)
    seen = folder / "seen"

    def look(says: str, run: str) -> HookSettings:
        options = {"file": str(seen), "says": says}
        return HookSettings(run=run, points=(Point.TURN_BEFORE,), options=options)

    file = described(
        folder,
        f"""
adapter = "fitted.py"
skills = ["refunds"]
policy = {{max_steps = 2}}
[plugins.guard]
[hooks.of-file]
run = "hook.py:look"
points = ["turn.before"]
options = {{file = "{seen}", says = "file"}}
""",
    )
    settings = Settings(
        data=str(tmp_path_factory.mktemp("data")),
        plugins={"guard": PluginSettings()},
        hooks={"of-all": look("all ", f"{folder}/hook.py:look")},
        agents={
            "clerk": EquipmentSettings(hooks={"of-one": look("one ", f"{folder}/hook.py:look")})
        },
        executor=ExecutorSettings(agents=(file,)),
    )
    plain = await prepared(agent_file.load(Path(file)), {})
    with pytest.raises(InvalidInput, match="no outfit was made"):
        plain.fitted()
    (found,) = equipped([plain], settings)
    client = Client(log, "clerk")
    async with serving(log, found):
        context, task = await client.send("?")
        ended = await client.settled(context, task)
    assert reply(ended) == "Ask first.\n / first / The task has used up its steps: 2."
    assert seen.read_text() == "all one file"
    assert outfit_of(settings, "clerk").equipment == found.fitted().equipment
    assert [*played(plain).fitted().skills] == ["refunds"]
    assert not played(plain).fitted().hooks


def test_a_file_that_says_nothing_of_a_policy_adds_none(folder: Path) -> None:
    file = described(folder, 'adapter = "code.py"\nplugins.guard = {}')
    loose = Settings(data=str(folder / "data"), policy=PolicySettings(max_steps=None))
    (found,) = equipped([load_agent(file)], loose)
    assert [each.bounds.steps for each in found.fitted().policies] == [None]


async def looked(
    folder: Path, text: str, environ: Mapping[str, str]
) -> tuple[Agent | None, dict[str, Check]]:
    """Return the agent if it can be loaded, and the checks by name."""
    file = described(folder, text)
    agent, checks = await look(agent_file.load(Path(file)), environ)
    return agent, {each.name: each for each in checks}


async def test_all_that_an_agent_needs_is_there(folder: Path) -> None:
    script(folder)
    agent, checks = await looked(
        folder, 'adapter = "cli:./answer.sh {text}"\nenvironment = ["KEY"]', {"KEY": "x"}
    )
    assert agent is not None
    assert {each.state for each in checks.values()} == {"ok"}
    assert set(checks) == {"environment", "agent", "adapter"}


@pytest.mark.accepts("AS-69")
@pytest.mark.parametrize(
    ("text", "name", "finding"),
    [
        ('adapter = "code.py"\nenvironment = ["KEY", "B"]', "environment", ("wrong", "KEY, B are")),
        ('adapter = "code.py"\nprompts = ["no.md"]', "prompt no.md", ("wrong", "No such file")),
        ('adapter = "code.py"\nprompts = ["empty.md"]', "prompts", ("warn", "says nothing")),
        ('adapter = "cli:./no-such-program"', "adapter", ("wrong", "No such file or directory")),
        ('adapter = "acp:./no-such-program"', "adapter", ("wrong", "No such file or directory")),
        ('adapter = "worker:./plain.txt"', "adapter", ("wrong", "Permission denied")),
        ('adapter = "cli:./plain.txt"', "adapter", ("wrong", "Permission denied")),
        ('adapter = "cli:./answer.sh"', "adapter", ("wrong", "/no/such/shell: No such file")),
        ('adapter = "broken.py"', "agent", ("wrong", "No module named 'no_such_package'")),
        ('adapter = "model"\nmodel = "openai/x"', "adapter", ("wrong", "there is no key")),
    ],
)
async def test_what_is_missing_is_found_with_what_the_system_says(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    name: str,
    finding: tuple[str, str],
) -> None:
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    (folder / "empty.md").write_text("\n")
    (folder / "plain.txt").write_text("no program")
    (folder / "broken.py").write_text("import no_such_package")
    script(folder, "#!/no/such/shell\n")
    _, checks = await looked(folder, text, {})
    assert checks[name].state == finding[0]
    assert finding[1] in checks[name].says
    assert checks[name].remedy


@pytest.mark.accepts("AS-69")
@pytest.mark.parametrize(
    ("adapter", "remedy"),
    [
        ("codex", "npm install --global @openai/codex"),
        ("acp:gemini --acp", "npm install --global @google/gemini-cli"),
        ("crewai:mine:crew", "pelton adapters install crewai"),
        ("hermes:any", "pelton adapters install hermes"),
        ("worker:no-such", "install it"),
    ],
)
async def test_what_is_not_installed_is_found_with_what_installs_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, adapter: str, remedy: str
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    environ = {environments.VARIABLE: str(folder)}
    agent, checks = await looked(folder, f'adapter = "{adapter}"', environ)
    assert checks["adapter"].remedy == remedy
    assert remedy not in checks["adapter"].says
    assert agent is not None
    with pytest.raises(AdapterError, match=re.escape(remedy)):
        async with agent.opened(None):
            pass


@pytest.mark.accepts("AS-69")
@pytest.mark.parametrize(
    ("text", "name", "finding"),
    [
        ('skills = ["refunds"]', "skill refunds", ("ok", "")),
        ('skills = ["no-such"]', "skill no-such", ("wrong", "SKILL.md: cannot be read")),
        ('skills = ["empty"]', "skill empty", ("warn", "says nothing")),
        ('policy.rules = {few = "call.before >= 3"}', "policy", ("ok", "")),
        ('policy.rules = {few = "call.nothing"}', "policy", ("wrong", "the rule 'few'")),
        ("plugins.guard = {}", "plugin guard", ("ok", "")),
        ("plugins.no-such = {}", "plugin no-such", ("wrong", "no plugin 'no-such' comes with")),
        ('plugins.mine = {path = "mine"}', "plugin mine", ("wrong", "is not pinned")),
        ('plugins.mine = {path = "mine", digest = "DIGEST"}', "plugin mine", ("ok", "")),
        (
            f'plugins.mine = {{path = "mine", digest = "{"0" * 64}"}}',
            "plugin mine",
            ("wrong", "another"),
        ),
        (
            'plugins.mine = {path = "mine", digest = "DIGEST", grants = ["ask"]}',
            "plugin mine",
            ("warn", "granted: ask"),
        ),
        (
            'hooks.no = {run = "code.py:nobody", points = ["turn.before"]}',
            "hook no",
            ("wrong", "nobody"),
        ),
        (
            'hooks.no = {command = ["no-such"], points = ["turn.before"]}',
            "hook no",
            ("wrong", "no program"),
        ),
        ('hooks.no = {command = ["sh"]}', "hook no", ("wrong", "asked nowhere")),
        ('hooks.no = {command = ["sh"], POINTS}', "hook no", ("ok", "")),
    ],
)
async def test_what_an_agent_goes_by_is_looked_at_and_left_as_it_is(
    folder: Path, text: str, name: str, finding: tuple[str, str]
) -> None:
    for skill, said in (("refunds", SKILL), ("empty", SKILL.replace("Ask first.\n", ""))):
        (folder / skill).mkdir()
        (folder / skill / "SKILL.md").write_text(said)
    (folder / "mine").mkdir()
    (folder / "mine" / "plugin.toml").write_text('name = "mine"\nversion = "1"')
    text = text.replace("DIGEST", digest_of(folder / "mine")).replace("OTHER", "0" * 64)
    text = text.replace("POINTS", 'points = ["turn.before"]')
    _, checks = await looked(folder, f'adapter = "code.py"\n{text}', {})
    assert checks[name].state == finding[0]
    assert finding[1] in checks[name].says
    assert checks[name].remedy or finding[0] == "ok"


async def test_an_endpoint_that_does_not_answer_now_is_a_warning(folder: Path) -> None:
    environ = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    _, checks = await looked(folder, 'adapter = "model"\nmodel = "openai/x"', environ)
    assert checks["adapter"].state == "warn"
    assert "nobody listens" in checks["adapter"].says


async def test_a_package_that_is_too_old_or_missing_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = ["langgraph>=99; extra == 'langgraph'", "no-such>=2; extra == 'langgraph'", "msgspec"]

    def requires(_: str) -> list[str]:
        return asks

    monkeypatch.setattr("importlib.metadata.requires", requires)
    agent, checks = await looked(folder, 'adapter = "langgraph:graph.py:graph"', {})
    assert agent is None
    says = checks["packages"].says
    assert "and >=99 is needed" in says
    assert "no-such>=2 is not installed" in says
    assert checks["packages"].remedy == "pip install 'pelton[langgraph]'"


@pytest.mark.accepts("AS-69")
async def test_an_agent_that_is_not_ready_is_not_started(folder: Path) -> None:
    file = described(folder, 'adapter = "code.py"\nenvironment = ["KEY"]')
    with pytest.raises(NotReady, match="clerk is not ready: environment: KEY is not set") as error:
        await prepared(agent_file.load(Path(file)), {})
    assert error.value.kind is FailureClass.VALIDATION
    assert (await prepared(agent_file.load(Path(file)), {"KEY": "x"})).checked
