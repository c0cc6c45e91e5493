"""Agents by file: `agent.toml` says what an agent is, what runs it, and what it needs.

What is wrong is an error that names the place: `agent.toml: $.schedules[0].cron: …`. Paths are
relative to the file, and lead nowhere but into its folder unless `outside` says so.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from pelton.events.commands import WhenBusy
from pelton.events.errors import InvalidInput
from pelton.events.ids import check_agent
from pelton.events.schedule import MOST, Missed, Schedule
from pelton.runtime.agents import DEFAULT, Idle, Terms
from pelton.runtime.equipment_settings import (
    EquipmentSettings,
    HookSettings,
    PluginSettings,
    PolicySettings,
)
from pelton.runtime.setting_types import Section
from pelton.runtime.slots import check_times
from pelton.runtime.toml import Fault, SettingsError, fault, hint, read

SUFFIX: Final = ".toml"
"""What the name of an agent file ends with; nothing else that names an agent does."""

_CODE: Final = re.compile(r"(?P<place>.+?)(?P<name>:[^:]*)?")
_VARIABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
_Text = Annotated[str, Meta(min_length=1)]
_Seconds = Annotated[float, Meta(gt=0, le=366 * 86400)]


class ScheduleEntry(Section, frozen=True, kw_only=True):
    """A schedule, `[[schedules]]` each: see docs/schedules.md."""

    name: Annotated[str, Meta(description="What it is called, among those of the agent.")]
    text: Annotated[str, Meta(description="What is said.")]
    cron: Annotated[str, Meta(description="When: five fields, or six with seconds first.")] = ""
    at: Annotated[str, Meta(description="Or the one time, as in `2026-12-24T18:00`.")] = ""
    zone: Annotated[str, Meta(description="The time zone of both.")] = "UTC"
    context: Annotated[
        str, Meta(description="The conversation that it goes on with; else each begins its own.")
    ] = ""
    missed: Annotated[
        Missed, Meta(description="What becomes of missed slots: `skip`, `once`, `all`.")
    ] = Missed.SKIP
    limit: Annotated[
        int, Meta(ge=1, le=MOST, description="How many missed slots fire at most, with `all`.")
    ] = 10
    grace: Annotated[int, Meta(ge=0, description="Seconds after which a slot is missed.")] = 60
    enabled: Annotated[bool, Meta(description="Whether it has slots at all.")] = True


class IdleEntry(Section, frozen=True, kw_only=True):
    """What is said in a conversation in which nothing has happened for a while, `[idle]`."""

    after: Annotated[_Seconds, Meta(description="Seconds in which nothing has happened.")]
    text: Annotated[_Text, Meta(description="What is said then, once.")]


class TermsEntry(Section, frozen=True, kw_only=True):
    """How its turns are run, `[terms]`; what is not said stays as the agent's code has it."""

    when_busy: Annotated[
        WhenBusy | None,
        Meta(description="What becomes of a message that comes while a turn is open."),
    ] = None
    deadline: Annotated[
        _Seconds | None, Meta(description="Seconds after which a turn fails that has not ended.")
    ] = None
    inactivity: Annotated[
        _Seconds | None, Meta(description="Seconds without progress after which a turn fails.")
    ] = None
    suspend_after: Annotated[
        _Seconds | None, Meta(description="Seconds after which a turn that waits holds no process.")
    ] = None
    degraded_after: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Turns that come to nothing before it counts as degraded."),
    ] = None


class AgentFile(Section, frozen=True, kw_only=True):
    """What an agent file says."""

    name: Annotated[str, Meta(description="The slug that subjects and paths use.")]
    adapter: Annotated[
        str,
        Meta(
            min_length=1,
            description="What runs it, as where agents are named: `model`, `cli:PROGRAM ARGUMENT…`,"
            " `langgraph:graph.py:graph`, `agent.py:name`, `module:name`.",
        ),
    ]
    title: Annotated[str, Meta(description="The name that people read.")] = ""
    description: Annotated[str, Meta(description="What it does, in a sentence.")] = ""
    role: Annotated[
        str, Meta(description="What it is among others, one word: a tag of its skill in its card.")
    ] = ""
    version: Annotated[str, Meta(description="Its version.")] = ""
    team: Annotated[str, Meta(description="Whose memory it shares.")] = ""
    model: Annotated[
        str, Meta(description="The model, as the adapter names it: `anthropic/NAME` for `model`.")
    ] = ""
    prompt: Annotated[str, Meta(description="What it is told before all else.")] = ""
    prompts: Annotated[
        tuple[_Text, ...], Meta(description="Files that go on with it, in this order.")
    ] = ()
    tools: Annotated[
        tuple[_Text, ...], Meta(description="Tools of a model: `tools.py:NAME`, `module:NAME`.")
    ] = ()
    skills: Annotated[
        tuple[_Text, ...],
        Meta(description="Folders of skills, each with a `SKILL.md` ([plugins.md](plugins.md))."),
    ] = ()
    policy: Annotated[
        PolicySettings,
        Meta(description="What it may do, and how much, `[policy]` ([policy.md](policy.md))."),
    ] = PolicySettings()
    hooks: Annotated[
        dict[str, HookSettings],
        Meta(description="Its hooks by name, `[hooks.NAME]` each ([hooks.md](hooks.md))."),
    ] = msgspec.field(default_factory=dict[str, HookSettings])
    plugins: Annotated[
        dict[str, PluginSettings],
        Meta(description="Its plugins by name, `[plugins.NAME]` each ([plugins.md](plugins.md))."),
    ] = msgspec.field(default_factory=dict[str, PluginSettings])
    options: Annotated[
        dict[str, Any],
        Meta(description="Options of its turns, as JSON: `temperature` for `model`."),
    ] = msgspec.field(default_factory=dict[str, Any])
    environment: Annotated[
        tuple[Annotated[str, Meta(pattern=_VARIABLE)], ...],
        Meta(description="Variables that it needs; without one it does not start."),
    ] = ()
    outside: Annotated[
        tuple[_Text, ...],
        Meta(description="Folders beside its own that the paths in this file may lead into."),
    ] = ()
    initial: Annotated[str, Meta(description="What it is told once, when a life of it begins.")] = (
        ""
    )
    idle: Annotated[IdleEntry | None, Meta(description="The idle prompt, `[idle]`.")] = None
    schedules: Annotated[
        tuple[ScheduleEntry, ...], Meta(description="Its schedules, `[[schedules]]` each.")
    ] = ()
    terms: Annotated[TermsEntry, Meta(description="How its turns are run, `[terms]`.")] = (
        TermsEntry()
    )


@dataclass(frozen=True)
class Described:
    """An agent file that was read: where it is, what it says, and what follows from that."""

    file: Path
    says: AgentFile

    @property
    def folder(self) -> Path:
        """The folder that its paths are relative to."""
        return self.file.resolve().parent

    @property
    def reference(self) -> str:
        """What `adapter` names, with a colon after a kind that stands alone."""
        return self.says.adapter if ":" in self.says.adapter else f"{self.says.adapter}:"

    def wrong(self, path: str, says: str) -> SettingsError:
        """Return the error for a place in the file."""
        return SettingsError(f"{self.file}: $.{path}: {says}")

    def path(self, given: str, at: str) -> Path:
        """Return where a path leads that stands at a place in the file.

        Raises:
            SettingsError: it leads out of the folder, and nobody has said that it may.
        """
        found = (self.folder / given).resolve()
        allowed = (self.folder, *((self.folder / each).resolve() for each in self.says.outside))
        if not any(found.is_relative_to(each) for each in allowed):
            raise self.wrong(at, f"{given!r} leads out of the file's folder: name it in `outside`")
        return found

    def code(self, given: str, at: str) -> str:
        """Return `file.py:name` with the file where it is; `module:name` as it stands."""
        match = _CODE.fullmatch(given)
        if match is None or not match["place"].endswith(".py"):
            return given
        return f"{self.path(match['place'], at)}{match['name'] or ''}"

    def given(self) -> Mapping[str, Any]:
        """Return what it says to its adapter beside where it is, by key.

        Raises:
            SettingsError: a file of its prompt cannot be read.
        """
        says = self.says
        tools = tuple(self.code(each, f"tools[{at}]") for at, each in enumerate(says.tools))
        found = {"model": says.model, "prompt": self.prompt(), "tools": tools}
        return {key: value for key, value in {**found, "options": says.options}.items() if value}

    @property
    def prompt_files(self) -> tuple[Path, ...]:
        """The files with the prompt."""
        given = self.says.prompts
        return tuple(self.path(each, f"prompts[{at}]") for at, each in enumerate(given))

    def prompt(self) -> str:
        """Return the whole prompt.

        Raises:
            SettingsError: a file of it cannot be read.
        """
        texts = [self.says.prompt] if self.says.prompt else []
        for at, path in enumerate(self.prompt_files):
            try:
                texts.append(path.read_text("utf-8").strip())
            except (OSError, UnicodeDecodeError) as error:
                raise self.wrong(f"prompts[{at}]", unreadable(error)) from error
        return "\n\n".join(texts)

    @property
    def equipment(self) -> EquipmentSettings:
        """What it goes by beside its code, with paths that count wherever it runs.

        Raises:
            SettingsError: a path leads out of the folder.
        """
        says = self.says
        skills = (self.path(each, f"skills[{at}]") for at, each in enumerate(says.skills))
        return EquipmentSettings(
            policy=replace(
                says.policy,
                rules={
                    name: self._rule(each, f"policy.rules.{name}")
                    for name, each in says.policy.rules.items()
                },
            ),
            hooks={
                name: replace(
                    each,
                    run=self.code(each.run, f"hooks.{name}.run"),
                    command=tuple(map(self._word, each.command)),
                )
                for name, each in says.hooks.items()
            },
            plugins={
                name: replace(each, path=str(self.path(each.path, f"plugins.{name}.path")))
                if each.path
                else each
                for name, each in says.plugins.items()
            },
            skills=tuple(map(str, skills)),
        )

    def _rule(self, given: str, at: str) -> str:
        """Return a rule as it stands, or where the file is that holds it."""
        return str(self.path(given, at)) if _is_file(self.folder / given) else given

    def _word(self, given: str) -> str:
        """Return a word of a command: one that names a file in the folder leads there."""
        found = self.folder / given
        return str(found) if _is_file(found) else given

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """Its schedules."""
        return tuple(Schedule(**msgspec.structs.asdict(each)) for each in self.says.schedules)

    def terms(self, usual: Terms = DEFAULT) -> Terms:
        """Return its terms: what the file says, and `usual` where it says nothing."""
        said = msgspec.structs.asdict(self.says.terms)
        changed: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        if self.says.idle is not None:
            changed["idle"] = Idle(after=self.says.idle.after, text=self.says.idle.text)
        return dataclasses.replace(usual, **changed)


def is_agent_file(reference: str) -> bool:
    """Whether what names an agent is an agent file."""
    return reference.endswith(SUFFIX)


def load(file: Path) -> Described:
    """Return what an agent file says.

    Raises:
        SettingsError: it cannot be read, or says what cannot be; the text names the place.
    """
    values = read(file)
    try:
        found = Described(file, msgspec.convert(values, AgentFile))
    except msgspec.ValidationError as error:
        raise _told(file, fault(error, AgentFile, values)) from None
    _check(found)
    return found


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Return why a file cannot be read, as the system says it."""
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    return f"cannot be read: {reason}"


def _is_file(path: Path) -> bool:
    """Whether there is such a file; what is no name of one names none."""
    try:
        return path.is_file()
    except OSError:  # it is longer than a name may be
        return False


def _told(file: Path, found: Fault) -> SettingsError:
    """Return the error for what is wrong, with its place."""
    says = found.says
    if found.unknown:
        says = f"there is no such key{hint(found.path.rpartition('.')[2], found.names)}"
    elif says.startswith("object missing required field"):
        says = f"{says.rpartition(' ')[2]} is required"
    where = f"$.{found.path}" if found.path and not found.path.startswith("[") else "$"
    return SettingsError(f"{file}: {where}: {says}")


def _check(found: Described) -> None:
    """Check what no type says.

    Raises:
        SettingsError: something is not as it must be.
    """
    says, at = found.says, ""
    try:
        at = "name"
        check_agent(says.name)
        if says.team:
            at = "team"
            check_agent(says.team)
        for number, each in enumerate(found.schedules):
            at = f"schedules[{number}]"
            check_times(each)
    except InvalidInput as error:
        member = error.field.removeprefix("schedule.") if at.startswith("schedules") else ""
        raise found.wrong(f"{at}.{member}" if member else at, str(error)) from error
    names = [each.name for each in says.schedules]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise found.wrong(f"schedules[{number}].name", f"there are two called {name!r}")
    _ = found.prompt_files, found.equipment
    for number, tool in enumerate(says.tools):
        found.code(tool, f"tools[{number}]")
