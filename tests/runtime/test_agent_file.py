"""Agent files: what they may say, and how it is said what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pelton.events.commands import WhenBusy
from pelton.events.schedule import Missed, Schedule
from pelton.runtime.agent_file import Described, load
from pelton.runtime.agents import Idle, Terms
from pelton.runtime.equipment_settings import (
    EquipmentSettings,
    HookSettings,
    PluginSettings,
    PolicySettings,
)
from pelton.runtime.toml import SettingsError

MINIMAL = 'name = "clerk"\nadapter = "agent.py"\n'


def said(tmp_path: Path, text: str) -> Described:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    return load(file)


def test_what_a_file_says_is_what_an_agent_gets(tmp_path: Path) -> None:
    (tmp_path / "first.md").write_text("You keep the books.\n")
    (tmp_path / "second.md").write_text("\nBe brief.")
    found = said(
        tmp_path,
        MINIMAL
        + """
prompt = "You are a clerk."
prompts = ["first.md", "second.md"]
tools = ["tools.py:add", "company.tools:pay"]
options = {temperature = 0}
environment = ["CLERK_KEY"]
idle = {after = 60, text = "Anything else?"}
terms = {when_busy = "reject", deadline = 30}
[[schedules]]
name = "morning"
text = "Begin."
cron = "0 9 * * mon-fri"
zone = "Europe/Berlin"
missed = "once"
""",
    )
    assert found.given() == {
        "prompt": "You are a clerk.\n\nYou keep the books.\n\nBe brief.",
        "tools": (f"{tmp_path.resolve()}/tools.py:add", "company.tools:pay"),
        "options": {"temperature": 0},
    }
    morning = Schedule(
        name="morning",
        text="Begin.",
        cron="0 9 * * mon-fri",
        zone="Europe/Berlin",
        missed=Missed.ONCE,
    )
    assert found.schedules == (morning,)
    idle = Idle(after=60, text="Anything else?")
    usual = Terms(inactivity=7)
    assert found.terms(usual) == Terms(
        when_busy=WhenBusy.REJECT, deadline=30, inactivity=7, idle=idle
    )


@pytest.mark.parametrize(
    ("more", "where", "says"),
    [
        ('nmae = "x"', "$.nmae", "there is no such key; did you mean name?"),
        ("title = 1", "$.title", "expected str, got int"),
        ('team = "No Team"', "$.team", "cannot name an agent"),
        ("idle = {after = 60}", "$.idle", "text is required"),
        ('idle = {after = 0, text = "x"}', "$.idle.after", "expected float > 0.0"),
        ("terms = {deadline = inf}", "$.terms.deadline", "expected float <="),
        ('terms = {deadlin = "x"}', "$.terms.deadlin", "did you mean deadline?"),
        ('environment = ["A=B"]', "$.environment[0]", "expected str matching"),
        ('[[schedules]]\nname = "a"\ntext = "x"', "$.schedules[0].cron", "either cron or at"),
        (
            '[[schedules]]\nname = "a"\ntext = "x"\ncron = "often"',
            "$.schedules[0].cron",
            "is no cron expression",
        ),
        (
            '[[schedules]]\nname = "a"\ntext = "x"\ncron = "* * * * *"\nzone = "Mars"',
            "$.schedules[0].zone",
            "is no time zone",
        ),
        (
            '[[schedules]]\nname = "a"\ntext = "x"\ncron = "* * * * *"\n' * 2,
            "$.schedules[1].name",
            "there are two called 'a'",
        ),
        ('[[schedules]]\nnam = "a"', "$.schedules[0].nam", "did you mean name?"),
        ('prompts = ["../secret.md"]', "$.prompts[0]", "leads out of the file's folder"),
        ('prompts = ["/etc/passwd"]', "$.prompts[0]", "leads out of the file's folder"),
        ('tools = ["a.py:b", "../../x.py:tools"]', "$.tools[1]", "leads out of"),
        ('skills = ["a", "../b"]', "$.skills[1]", "leads out of"),
        ('plugins.mine = {path = "../mine"}', "$.plugins.mine.path", "leads out of"),
        ('plugins.mine = {digest = "short"}', "$.plugins.mine.digest", "matching regex"),
        ('hooks.no = {run = "../it.py:no"}', "$.hooks.no.run", "leads out of"),
        ("hooks.no = {pints = []}", "$.hooks.no.pints", "did you mean points?"),
        ('hooks.no.points = ["tool.befor"]', "$.hooks.no.points[0]", "tool.before, tool.after"),
        ('terms.when_busy = "no"', "$.terms.when_busy", "use one of enqueue, reject"),
        ('policy.rules = {few = "/etc/passwd"}', "$.policy.rules.few", "leads out of"),
        ("policy = {max_stps = 3}", "$.policy.max_stps", "did you mean max_steps?"),
        ("limits = {tokens = 1}", "$.limits", "there is no such key"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, more: str, where: str, says: str
) -> None:
    with pytest.raises(SettingsError) as error:
        said(tmp_path, MINIMAL + more)
    assert str(error.value).startswith(f"{tmp_path}/agent.toml: {where}: ")
    assert says in str(error.value)


def test_what_an_agent_goes_by_lies_beside_its_file(tmp_path: Path) -> None:
    (tmp_path / "few.cel").write_text("false")
    (tmp_path / "look.py").touch()
    found = said(
        tmp_path,
        MINIMAL
        + """
skills = ["skills/refunds"]
policy = {max_cost = 2.5, rules = {few = "few.cel", none = "false"}}
[hooks.look]
run = "look.py:look"
[hooks.installed]
run = "company.hooks:look"
[hooks.program]
command = ["python3", "look.py", ""]
[plugins.guard]
[plugins.mine]
path = "mine"
""",
    ).equipment
    folder = tmp_path.resolve()
    assert found == EquipmentSettings(
        policy=PolicySettings(max_cost=2.5, rules={"few": f"{folder}/few.cel", "none": "false"}),
        hooks={
            "look": HookSettings(run=f"{folder}/look.py:look"),
            "installed": HookSettings(run="company.hooks:look"),
            "program": HookSettings(command=("python3", f"{folder}/look.py", "")),
        },
        plugins={"guard": PluginSettings(), "mine": PluginSettings(path=f"{folder}/mine")},
        skills=(f"{folder}/skills/refunds",),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('adapter = "x"', "$: name is required"),
        ('name = "clerk"', "$: adapter is required"),
        ('name = "Clerk Kent"\nadapter = "x"', "$.name: 'Clerk Kent' cannot name an agent"),
        ("name = ", "is not TOML"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        said(tmp_path, text)
    assert says in str(error.value)


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(tmp_path / "agent.toml")


def test_a_link_leads_no_further_than_a_path(tmp_path: Path) -> None:
    inside, outside = tmp_path / "agent", tmp_path / "shared"
    inside.mkdir()
    outside.mkdir()
    (outside / "rules.md").write_text("Be kind.")
    (inside / "rules.md").symlink_to(outside / "rules.md")
    text = MINIMAL + 'prompts = ["rules.md"]\n'
    with pytest.raises(SettingsError, match="leads out of"):
        said(inside, text)
    assert said(inside, text + 'outside = ["../shared"]').prompt() == "Be kind."
