"""`pelton rerun`, `pelton test save`: an agent's code against what it has done before."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pelton.adapters.cli import options
from pelton.adapters.cli.output import DIFFERENT, OK, CommandFailed, Output

if TYPE_CHECKING:
    from pelton.runtime.replay.session import Session
    from pelton.runtime.settings import Settings

_TEST: Final = '''\
"""A task of the agent {agent}, run again from its record: run it with `pytest {file}`."""

from pathlib import Path

from pelton.testing import rerun

HERE = Path(__file__).parent


def test_{name}_does_again_what_is_recorded() -> None:
    rerun(HERE / "{record}", "{task}", {reference}).check()
'''

test = typer.Typer(help="Tests made of tasks.", no_args_is_help=True)

AgentOption = Annotated[
    str | None,
    typer.Option(
        "--agent",
        metavar="AGENT",
        help="module:name or file.py[:name]; default: the one of that name in the settings, or in"
        " the running pelton dev.",
    ),
]


def rerun(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    *,
    agent: AgentOption = None,
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> int:
    """Run an agent's code again against a recorded task, without any effect, and compare."""
    from pelton.adapters.cli.parts import quiet
    from pelton.adapters.cli.references import environ_of, load_agent
    from pelton.runtime.redaction import redactor_of
    from pelton.runtime.replay.rerun import rerun as run_again

    quiet()  # what an agent lets out is said on standard error

    settings = options.settings(config, data=data, nats__url=nats)
    session = _session(settings, task, file)
    reference = agent or reference_of(settings, task, session)
    found = load_agent(reference, environ_of(settings))
    verdict = run_again(session, task, found, redactor=redactor_of(settings))
    value = {"equal": verdict.equal, "reference": reference, "verdict": verdict}
    Output(json=json).result(value, verdict.lines())
    return OK if verdict.equal else DIFFERENT


@test.command("save")
def save(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    *,
    agent: AgentOption = None,
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where to write the files.")
    ] = Path(),
    file: options.File = None,
    nats: options.Nats = None,
    data: options.Data = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """Write a task as a test for pytest: its record, and a test that runs it again."""
    from pelton.adapters.cli import sessions
    from pelton.events.ids import context_of, derive
    from pelton.runtime.replay.session import sealed_with
    from pelton.runtime.vault import ContentSealed

    settings = options.settings(config, data=data, nats__url=nats)
    session = _session(settings, task, file)
    if sealed_with(session):
        raise ContentSealed(
            "the conversation is sealed, and a test has no keys to run it again with"
        )
    reference = agent or reference_of(settings, task, session)
    name = f"{names_of(task, session)[0]}_{derive(task)[:8]}"
    stem = re.sub(r"[^a-z0-9]", "_", name)
    record, test_file = directory / f"{stem}.pelton", directory / f"test_{stem}.py"
    for each in (test_file, record):
        if each.exists():
            raise CommandFailed(f"{str(each)!r} is there already: name another --dir")
    directory.mkdir(parents=True, exist_ok=True)
    sessions.save(record, context_of(task), session)
    text = _TEST.format(
        agent=names_of(task, session)[0],
        file=test_file.name,
        name=stem,
        record=record.name,
        task=task,
        reference=beside(directory, reference),
    )
    test_file.write_text(text, encoding="utf-8")
    Output(json=json).result(
        {"test": str(test_file), "record": str(record)},
        [f"wrote {test_file} and {record}", f"run it:  pytest {test_file}"],
    )


def _session(settings: Settings, task: str, file: Path | None) -> Session:
    from pelton.adapters.cli.connect import on_reader
    from pelton.adapters.cli.library import conversation
    from pelton.runtime.replay.session import Reader, task_session

    async def read(reader: Reader) -> Session:
        return await task_session(reader, task)

    return on_reader(settings, file, read, about=conversation(task))


def names_of(task: str, session: Session) -> list[str]:
    """Return the agents that have the context of a task."""
    from pelton.events.ids import context_of

    return [agent for agent, id_ in session.contexts if id_ == context_of(task)]


def reference_of(settings: Settings, task: str, session: Session) -> str:
    """Return what leads to the agent of a task: in the settings, or in the running `pelton dev`.

    Raises:
        CommandFailed: nothing does.
    """
    from pelton.adapters.cli.references import environ_of, load_agent
    from pelton.adapters.cli.stack import running

    dev = running(settings.directory)
    names, environ = names_of(task, session), environ_of(settings)
    for reference in (*settings.executor.agents, *(dev.agents if dev is not None else ())):
        if load_agent(reference, environ).name in names:
            return reference
    raise CommandFailed(f"where is the code of {' or '.join(names)}? Name it with --agent", "usage")


def beside(directory: Path, reference: str) -> str:
    """Return the Python that names an agent in a test in a directory."""
    from pelton.adapters.cli.references import file_of

    file, behind = file_of(reference)
    if not file:
        return repr(reference)
    found = f"str(HERE / {os.path.relpath(file, directory)!r})"
    return f"{found} + {behind!r}" if behind else found
