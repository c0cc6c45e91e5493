"""Agents in Python: what one is, how a name on the command line leads to it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast, overload

from pelton.events.card import AgentExtension, AgentProfile, AgentSkill
from pelton.events.commands import WhenBusy
from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.events import FailureClass
from pelton.events.ids import check_agent
from pelton.events.retries import Retry
from pelton.events.schedule import Schedule
from pelton.runtime.slots import check_times

if TYPE_CHECKING:
    from pelton.runtime.equipment_settings import EquipmentSettings
    from pelton.runtime.model_gateway import ModelGateway
    from pelton.runtime.outfit import Outfit
    from pelton.runtime.turn import Turn

ENTRY_POINTS: Final = "pelton.agents"
"""The group of entry points under which packages offer agents by name."""

MODES: Final = ("text/plain", "application/json")
"""The media types that an agent takes and gives unless it says otherwise."""

Run = Callable[["Turn"], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Idle:
    """What is said in a context in which nothing has happened for `after` seconds.

    The time counts from the end of a turn. What is said opens a task of its own, and the turn of
    that one begins no idle time: it is said once, until somebody has said something again.
    """

    after: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How the turns of an agent are run; times are in seconds.

    `when_busy` is what becomes of a message that comes while a turn of its context is open, unless
    the message says otherwise. A turn fails that has not ended within `deadline`, or makes no
    progress for `inactivity`: a step that ends, anything said. One that does nothing but wait for
    `suspend_after` is suspended: no process holds it until what it waits for has come. `retries`
    overrides how failures of a class are tried again (`pelton.events.retries`). `idle` is what is
    said when nothing happens. After `degraded_after` turns in a row that came to nothing, the agent
    counts as degraded.
    """

    when_busy: WhenBusy = WhenBusy.ENQUEUE
    deadline: float | None = None
    inactivity: float = 600.0
    suspend_after: float = 5.0
    retries: Mapping[FailureClass, Retry] = field(default_factory=dict[FailureClass, Retry])
    idle: Idle | None = None
    degraded_after: int = 3


class Health(NamedTuple):
    """Whether a turn could be run now, as far as can be told without one; `detail` says why not.

    What is `passing` may be over soon by itself, as what a network has. `fix` is what to do.
    """

    ok: bool
    detail: str = ""
    passing: bool = False
    fix: str = ""


async def well() -> Health:
    """Return that a turn could be run: plain code needs nothing."""
    return Health(ok=True)


DEFAULT: Final = Terms()
"""The terms of an agent that names none."""


@dataclass(frozen=True)
class Agent:
    """An agent: what it says of itself, the function that takes a turn, and on which terms.

    `schedules` are those that its code asks for; `initial` is what it is told once, when a life of
    it begins; `options` is JSON that its turns get (`Turn.options`), such as its model and prompt;
    `team` is whose memory it shares, if its code names one. `outfit` gives what an attempt goes by
    that begins now; without, that is `outfit.STANDARD`. An executor enters what `opened` returns
    for its gateway to models, before it serves the agent, and leaves it when no turn of its runs
    any more: what the agent needs as long as it is served. `health` looks whether that is to be
    had. `checked` says that all it needs was looked for before it was loaded, as its file says
    (`agent_file`). `equipment` is what its file says that it goes by: whoever runs it makes an
    outfit of that.
    """

    profile: AgentProfile
    run: Run
    terms: Terms = DEFAULT
    schedules: tuple[Schedule, ...] = ()
    initial: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    team: str = ""
    opened: Callable[[ModelGateway | None], AbstractAsyncContextManager[object]] = nullcontext
    health: Callable[[], Awaitable[Health]] = well
    checked: bool = False
    outfit: Callable[[], Outfit] | None = None
    equipment: EquipmentSettings | None = None

    @property
    def name(self) -> str:
        """The slug that subjects and paths use."""
        return self.profile.name

    def fitted(self) -> Outfit:
        """Return what an attempt goes by that begins now.

        Raises:
            PeltonError: it cannot be had as it must be.
        """
        from pelton.runtime.outfit import STANDARD  # noqa: PLC0415  it needs agents to be there

        if self.outfit is not None:
            return self.outfit()
        if self.equipment is not None:  # to run it without its fences would be unsafe
            raise InvalidInput(f"no outfit was made of what the file of {self.name!r} says")
        return STANDARD


@overload
def agent(run: Run, /) -> Agent: ...
@overload
def agent(
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    version: str = "1.0.0",
    skills: tuple[AgentSkill, ...] = (),
    input_modes: tuple[str, ...] = MODES,
    output_modes: tuple[str, ...] = MODES,
    terms: Terms = DEFAULT,
    extensions: tuple[AgentExtension, ...] = (),
    extended_skills: tuple[AgentSkill, ...] | None = None,
    streaming: bool = True,
    schedules: tuple[Schedule, ...] = (),
    initial: str = "",
    options: Mapping[str, Any] | None = None,
    team: str = "",
) -> Callable[[Run], Agent]: ...
def agent(
    run: Run | None = None,
    /,
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    version: str = "1.0.0",
    skills: tuple[AgentSkill, ...] = (),
    input_modes: tuple[str, ...] = MODES,
    output_modes: tuple[str, ...] = MODES,
    terms: Terms = DEFAULT,
    extensions: tuple[AgentExtension, ...] = (),
    extended_skills: tuple[AgentSkill, ...] | None = None,
    streaming: bool = True,
    schedules: tuple[Schedule, ...] = (),
    initial: str = "",
    options: Mapping[str, Any] | None = None,
    team: str = "",
) -> Agent | Callable[[Run], Agent]:
    """Make an agent of an `async def` function; used as a decorator, with or without arguments.

    The name is the function's with hyphens unless one is given, the description the first line of
    its docstring, and without `skills` it has one, which is itself.

    Raises:
        InvalidInput: the name may not name an agent, or the team a team, or a schedule is none.
    """
    for each in schedules:
        check_times(each)
    if len({each.name for each in schedules}) < len(schedules):
        raise InvalidInput("two schedules have the same name", field="schedules")

    def make(run: Run) -> Agent:
        if team:
            check_agent(team)
        called = check_agent(name or slug(getattr(run, "__name__", "agent")))
        says = description or (getattr(run, "__doc__", None) or "").strip().partition("\n")[0]
        says = says or f"The agent {called}."
        shown = title or called.replace("-", " ").replace("_", " ").capitalize()
        own = AgentSkill(id=called, name=shown, description=says, tags=(called,))
        profile = AgentProfile(
            name=called,
            title=shown,
            description=says,
            version=version,
            skills=skills or (own,),
            input_modes=input_modes,
            output_modes=output_modes,
            extensions=extensions,
            extended_skills=extended_skills,
            streaming=streaming,
        )
        return Agent(profile, run, terms, schedules, initial, dict(options or {}), team)

    return make if run is None else make(run)


def slug(name: str) -> str:
    """Return what an agent may be called, by the name of what it is made of."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or "agent"


def load(reference: str) -> Agent:
    """Return the agent that a reference names.

    A reference is `module:name`, `path/to/file.py[:name]`, or the name of an entry point in the
    group `pelton.agents`. Without a name, a file holds exactly one agent. What is named is an
    `Agent`, or an async function, which becomes one.

    Raises:
        InvalidInput: the reference leads to no agent; the text says why and what to write.
    """
    place, _, name = reference.partition(":")
    if place.endswith(".py"):
        return _agent_in(_file(Path(place)), name, reference)
    if name:
        return _agent_in(_module(place, reference), name, reference)
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if reference in found:
        return _as_agent(found[reference].load(), reference)
    raise InvalidInput(
        f"{reference!r} leads to no agent: write module:name, file.py:name, or one of the installed"
        f" agents ({', '.join(sorted(found)) or 'there are none'})"
    )


def named(reference: str, whole: str = "") -> object:
    """Return what `module:name` or `path/to/file.py:name` names, whatever it is.

    Errors speak of the `whole` reference that it is a part of.

    Raises:
        InvalidInput: there is no such thing.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise InvalidInput(f"{whole or reference!r}: write module:name or file.py:name")
    module = module_at(place, whole or reference)
    if not hasattr(module, name):
        raise InvalidInput(f"{whole or reference!r}: {place!r} has no {name!r}")
    return getattr(module, name)


def module_at(place: str, reference: str) -> object:
    """Return the module, or what is in the file, that a reference begins with.

    Raises:
        InvalidInput: there is none, or it cannot be imported.
    """
    return _file(Path(place)) if place.endswith(".py") else _module(place, reference)


def function_of(reference: str) -> Callable[..., Any]:
    """Return the function that a reference names; see `named`.

    Raises:
        InvalidInput: there is none.
    """
    found = named(reference)
    if not callable(found):
        raise InvalidInput(f"{reference!r} is no function")
    return cast("Callable[..., Any]", found)


def importable(module: str) -> bool:
    """Tell whether there is such a module, beside the user or installed."""
    _reach()
    return importlib.util.find_spec(module) is not None


def _reach() -> None:
    """Let an agent beside the user be imported, as with python -m."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _module(place: str, reference: str) -> object:
    _reach()
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(error.name + ".")):
            raise InvalidInput(f"{reference!r}: there is no module {place!r}") from error
        raise _broken(reference, error) from error
    except PeltonError:
        raise
    except Exception as error:
        raise _broken(reference, error) from error


def _broken(reference: str, error: Exception) -> InvalidInput:
    """Return the error for code that fails while it is imported, with what it said."""
    return InvalidInput(f"{reference!r} cannot be imported: {type(error).__name__}: {error}")


def _file(path: Path) -> object:
    if not path.is_file():
        raise InvalidInput(f"there is no file {str(path)!r}")
    module_name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.resolve().parent))  # so that it can import its neighbours
    try:
        spec.loader.exec_module(module)
    except PeltonError:
        raise
    except Exception as error:
        raise _broken(str(path), error) from error
    return module


def _agent_in(module: object, name: str, reference: str) -> Agent:
    if name:
        if not hasattr(module, name):
            raise InvalidInput(f"{reference!r}: the module has no {name!r}")
        return _as_agent(getattr(module, name), reference)
    agents = {id(value): value for value in vars(module).values() if isinstance(value, Agent)}
    if len(agents) != 1:
        raise InvalidInput(
            f"{reference!r} holds {len(agents)} agents: name the one, as in {reference}:name,"
            " or decorate it with @agent"
        )
    return next(iter(agents.values()))


def _as_agent(value: object, reference: str) -> Agent:
    if isinstance(value, Agent):
        return value
    if inspect.iscoroutinefunction(value):
        return agent(cast("Run", value))
    raise InvalidInput(f"{reference!r} is neither an agent nor an async function")
