"""The commands put together, and the one place where their errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

import typer

from pelton.adapters.cli import (
    adapters,
    agents,
    audit,
    bisect,
    card,
    chaos,
    check,
    conversation,
    conversations,
    dead_letters,
    demo,
    dev,
    diff,
    doctor,
    erase,
    fork,
    keys,
    mcp,
    memory,
    new,
    people,
    plugins,
    provenance,
    push,
    rebuild,
    recast,
    render,
    rerun,
    rules,
    run_agent,
    schedules,
    send,
    serve,
    sessions,
    shadow,
    status,
    tail,
    tasks,
    tokens,
    top,
    usage,
    walk,
)
from pelton.adapters.cli.output import FAILED, OK, USAGE, Output, exit_code, first_of
from pelton.events.errors import PeltonError

app = typer.Typer(
    name="pelton",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 not found, 4 unavailable,"
    " 5 not as recorded.",
)


_UsageError: Final = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What typer raises for a wrong command line; it has no public name there."""


@app.callback()
def pelton(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """An event-sourced runtime for A2A agents on NATS JetStream."""
    del version  # answered before: see main


app.command("dev")(dev.dev)
app.command("new")(new.new)
app.command("check")(check.check)
app.command("run")(run_agent.run_agent)
app.command("send")(send.send)
app.command("sessions")(conversations.sessions)
app.command("tasks")(tasks.tasks)
app.command("show")(tasks.show)
app.command("step")(walk.step)
app.command("timeline")(conversation.timeline)
app.command("graph")(conversation.graph)
app.command("render")(render.render)
app.command("rerun")(rerun.rerun)
app.add_typer(rerun.test, name="test")
app.command("fork")(fork.fork)
app.command("bisect")(bisect.bisect)
app.command("shadow")(shadow.shadow)
app.command("diff")(diff.diff)
app.command("export")(sessions.export)
app.command("verify")(sessions.verify)
app.command("import")(sessions.bring)
app.command("inbox")(people.inbox)
app.command("answer")(people.answer)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(agents.app, name="agents")
app.add_typer(adapters.app, name="adapters")
app.add_typer(schedules.app, name="schedules")
app.add_typer(memory.app, name="memory")
memory.app.command("consolidate")(recast.consolidate)
memory.app.command("rebuild-with")(recast.rebuild_with)
memory.app.command("why")(provenance.why)
memory.app.command("who-used")(provenance.who_used)
memory.app.command("as-of")(provenance.as_of)
memory.app.command("taint")(provenance.taint)
app.command("tail")(tail.tail)
app.add_typer(plugins.app, name="plugins")
app.add_typer(rules.app, name="policy")
app.command("usage")(usage.usage)
app.command("audit")(audit.audit)
app.command("erase")(erase.erase)
app.command("seal-key")(erase.seal_key)
app.command("rebuild")(rebuild.rebuild)
app.command("status")(status.status)
app.command("top")(top.top)
app.command("doctor")(doctor.doctor)
app.command("serve")(serve.serve)
app.command("chaos")(chaos.chaos)
app.command("card")(card.card)
app.command("demo")(demo.demo)
app.add_typer(keys.app, name="keys")
app.add_typer(tokens.app, name="tokens")
app.add_typer(push.app, name="push")
app.add_typer(mcp.app, name="mcp")


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; what goes wrong is said in a sentence."""
    output = Output(json="--json" in arguments)
    try:
        code = app(list(arguments) or ["--help"], prog_name="pelton", standalone_mode=False)
    except _UsageError as error:
        _misused(output, error)
        return USAGE
    except PeltonError as error:
        return _say(output, error)
    except BaseExceptionGroup as errors:
        ours, others = errors.split(PeltonError)
        if ours is None or others is not None:
            return _broken(output, errors)
        return _say(output, first_of(ours))
    except (typer.Abort, KeyboardInterrupt):
        output.error("interrupted", "interrupted")
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        output.error("failed", f"{error.strerror or error}: {error.filename or 'the system said'}")
        return FAILED
    except Exception as error:  # noqa: BLE001  nobody shall be shown a traceback
        return _broken(output, error)
    return code if isinstance(code, int) else OK


def _say(output: Output, error: PeltonError) -> int:
    output.error(error.code, str(error))
    return exit_code(error.code)


def _broken(output: Output, error: BaseException) -> int:
    """Say that pelton itself is broken, and keep what its makers need to know."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="pelton-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(error, file=file)
    output.error(
        "internal",
        f"this is a mistake in pelton itself ({type(error).__name__}): please report it, with the"
        f" file {file.name}",
    )
    return FAILED


def _misused(output: Output, error: Any) -> None:
    """Say what is wrong with a command line; of one that ends before its command, what there is."""
    said: str = error.format_message().strip()
    if error.ctx is not None and said == error.ctx.get_help().strip():
        output.piece(f"{said}\n\n")
        said = "Missing command"
    command = error.ctx.command_path if error.ctx else "pelton"
    output.error("usage", f"{said.rstrip('.')}: see {command} --help")
