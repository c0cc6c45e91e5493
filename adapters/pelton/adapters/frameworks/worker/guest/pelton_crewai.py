"""CrewAI in a worker: `python -m pelton_crewai module:name [--again TOOL…] [--ask TOOL…]`.

Each call of a model and of a tool is a step, whichever agent of a crew or a flow makes it. This
runs in CrewAI's environment, and knows of pelton only `pelton_worker`.
"""

from __future__ import annotations

import argparse
import builtins
import contextvars
import hashlib
import importlib
import inspect
import json
import os
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pelton.adapters.frameworks.worker.guest.pelton_worker import Failed, Turn, serve
else:
    from pelton_worker import Failed, Turn, serve

for name, value in (
    ("CREWAI_DISABLE_TELEMETRY", "true"),
    ("CREWAI_TRACING_ENABLED", "false"),
    ("OTEL_SDK_DISABLED", "true"),
):
    os.environ.setdefault(name, value)  # read when it is imported

crewai: Any = importlib.import_module("crewai")
llms: Any = importlib.import_module("crewai.llms.base_llm")
tools: Any = importlib.import_module("crewai.tools.base_tool")
structured: Any = importlib.import_module("crewai.tools.structured_tool")
people: Any = importlib.import_module("crewai.core.providers.human_input")
events: Any = importlib.import_module("crewai.events")

Json = dict[str, Any]

_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside", default=False)
_CLIENTS = ("anthropic", "google", "httpcore", "httpx", "openai")


class Journal:
    """The turn that this process has in hand, and what its agents do, as steps."""

    def __init__(self) -> None:
        self.again, self.ask = frozenset[str](), frozenset[str]()
        self.turn: Turn | None = None
        self.failed: Failed | None = None
        self.silent = False
        """Whether the model has said nothing, which CrewAI takes for a failure."""
        self.speaker: object = None
        """The task whose agent speaks to clients; with None, all do."""
        self._speaks = False
        self._calls: Counter[str] = Counter()

    def begin(self, turn: Turn) -> None:
        """Take a turn in hand."""
        self.turn, self.failed, self.speaker, self.silent = turn, None, None, False
        self._calls.clear()
        wrap_models()

    def model(self, method: Callable[..., Any], llm: Any, args: Any, named: Json) -> Any:
        """Call a model as a step."""
        turn = self._turning()
        if self.failed is not None:  # what it has tried often enough, the framework need not
            raise self.failed
        given = inspect.signature(method).bind(llm, *args, **named).arguments
        task = given.get("from_task")
        speaks = llm.supports_function_calling() and self.speaker in (None, task)

        def asking() -> Json:
            token = _inside.set(True)
            before, self._speaks = usage(llm), speaks
            try:
                with llms.call_stream_override(llm, stream=True):
                    found = method(llm, *args, **named)
            except Exception as error:
                raise failure(error) from error
            finally:
                _inside.reset(token)
            spent = {key: count - before[key] for key, count in usage(llm).items()}
            if not found and not any(spent.values()):  # so reads what is no answer at all
                raise Failed("What the model said is no answer.", "provider")
            text = found if isinstance(found, str) else ""
            return {"result": plain(found), "text": text, "usage": spent}

        model = getattr(llm, "model", "")
        asked = [model, plain(given.get("messages")), plain(given.get("tools"))]
        try:
            done = turn.wait(
                turn.step(
                    "model", asking, given=asked, idempotent=True, speaks=speaks, kind="model"
                )
            )
        except Failed as failed:
            self.failed = failed
            raise
        turn.usage(model, **done["usage"])
        self.silent = not done["result"]
        shape = given.get("response_model")
        if shape is not None and not isinstance(done["result"], str):
            return shape.model_validate(done["result"])
        return done["result"]

    def tool(self, name: str, call: Callable[[], Any], arguments: Json) -> Any:
        """Call a tool as a step; perhaps a person is asked first."""
        turn = self._turning()
        spelled = json.dumps(plain(arguments), sort_keys=True)
        self._calls[name + spelled] += 1
        digest = hashlib.sha256(spelled.encode()).hexdigest()[:12]
        if name in self.ask:
            what = f"Call {name} with {spelled}?"
            approval = turn.wait(turn.approve(what, tool=name, args=plain(arguments)))
            if not approval["approved"]:
                return f"A person has refused this. {approval['reason']}".rstrip()

        def calling() -> Any:
            token = _inside.set(True)
            try:
                return plain(call())
            finally:
                _inside.reset(token)

        return turn.wait(
            turn.step(
                f"tool {name}",
                calling,
                given=[plain(arguments)],
                key=f"{digest}#{self._calls[name + spelled]}",
                idempotent=name in self.again,
                kind="tool",
            )
        )

    def asked(self, prompt: object = "") -> str:
        """Ask a person, in place of who sits at a terminal."""
        turn = self._turning()
        return turn.wait(turn.ask(str(prompt).strip() or "What do you say?"))

    def heard(self, _: object, event: Any) -> None:
        """Let clients hear a piece of what a model says."""
        if (
            self.turn is not None
            and self._speaks
            and event.chunk
            and not getattr(event, "tool_call", None)
        ):
            self.turn.say(str(event.chunk))

    def _turning(self) -> Turn:
        if self.turn is None:
            raise RuntimeError("no turn is running")
        return self.turn


JOURNAL = Journal()


def plain(value: Any) -> Any:
    """Return a value as JSON."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [plain(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in cast("Json", value).items()}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json", exclude_none=True))
    return str(value)


def usage(llm: Any) -> dict[str, int]:
    """Return what a model has taken so far."""
    spent = llm.get_token_usage_summary()
    return {
        "input_tokens": spent.prompt_tokens,
        "output_tokens": spent.completion_tokens,
        "cached_tokens": spent.cached_prompt_tokens,
    }


def failure(error: BaseException) -> Failed:
    """Return how a model's provider has failed, as its client says."""
    at: BaseException | None = error
    chain: list[BaseException] = []
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    for each in chain:
        if isinstance(each, Failed):
            return each
        status = getattr(each, "status_code", None)
        if isinstance(status, int) and status >= 400:
            kinds = {401: "authorisation", 403: "authorisation", 408: "timeout"}
            usual = "provider" if status in (409, 429) or status >= 500 else "validation"
            return Failed(f"The model's endpoint has answered {status}.", kinds.get(status, usual))
    if any("Timeout" in type(each).__name__ for each in chain):
        return Failed("The model took too long.", "timeout")
    if any(type(each).__name__ == "ConnectError" for each in chain):
        return Failed("The model's endpoint cannot be reached.", "dependency-unavailable")
    return Failed("The model has broken off, or what it said is no answer.", "provider")


def wrap_models() -> None:
    """Make steps of the calls of every kind of model that there is by now."""
    kinds: list[Any] = [llms.BaseLLM]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        for name in ("call", "acall"):
            method = kind.__dict__.get(name)
            if method is not None and not hasattr(method, "pelton"):
                setattr(kind, name, wrapped(name, method))


def wrapped(name: str, method: Any) -> Any:
    """Return a model's method that makes a step; CrewAI's own retries are left out."""
    inner = inspect.unwrap(method)

    @wraps(inner)
    def call(llm: Any, *args: Any, **named: Any) -> Any:
        if _inside.get():
            return method(llm, *args, **named)
        return JOURNAL.model(inner, llm, args, named)

    @wraps(inner)
    async def acall(llm: Any, *args: Any, **named: Any) -> Any:
        if _inside.get():
            return await method(llm, *args, **named)
        context = contextvars.copy_context()
        sync = inspect.unwrap(cast("Any", type(llm)).call)
        return await in_thread(context.run, JOURNAL.model, sync, llm, args, named)

    found: Any = acall if name == "acall" else call
    found.pelton = True
    return found


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run what waits in a thread."""
    asyncio: Any = importlib.import_module("asyncio")
    return await asyncio.get_running_loop().run_in_executor(None, lambda: function(*args))


def wrap_tools() -> None:
    """Make steps of the calls of tools, by whichever way they are called."""
    for kind in (tools.BaseTool, tools.Tool):
        run = kind.run

        def called(tool: Any, *args: Any, run: Any = run, **named: Any) -> Any:
            if _inside.get():
                return run(tool, *args, **named)
            given = {**named, **({"args": list(args)} if args else {})}
            return JOURNAL.tool(sanitized(tool), lambda: run(tool, *args, **named), given)

        kind.run = called
    invoke = structured.CrewStructuredTool.invoke

    def invoked(tool: Any, input: Any, *args: Any, **named: Any) -> Any:
        if _inside.get():
            return invoke(tool, input, *args, **named)
        given = cast("Json", input) if isinstance(input, dict) else {"input": input}
        return JOURNAL.tool(sanitized(tool), lambda: invoke(tool, input, *args, **named), given)

    async def ainvoked(tool: Any, input: Any, *args: Any, **named: Any) -> Any:
        context = contextvars.copy_context()
        return await in_thread(lambda: context.run(invoked, tool, input, *args, **named))

    structured.CrewStructuredTool.invoke = invoked
    structured.CrewStructuredTool.ainvoke = ainvoked


def sanitized(tool: Any) -> str:
    """Return a tool's name as models see it."""
    found: str = importlib.import_module("crewai.utilities.string_utils").sanitize_tool_name(
        tool.name
    )
    return found


def wrap_people() -> None:
    """Ask people through pelton wherever CrewAI would ask at a terminal."""
    builtins.input = JOURNAL.asked

    class Provider(people.SyncHumanInputProvider):  # type: ignore[misc]  # there is no CrewAI here
        """Whoever reviews what a task with `human_input` has come to."""

        def handle_feedback(self, formatted_answer: Any, context: Any) -> Any:
            self.answer = self._get_output_string(formatted_answer)
            return self._reviewed("handle_feedback", formatted_answer, context)

        def _reviewed(self, method: str, *args: Any) -> Any:
            return getattr(people.SyncHumanInputProvider, method)(self, *args)

        async def handle_feedback_async(self, formatted_answer: Any, context: Any) -> Any:
            self.answer = self._get_output_string(formatted_answer)
            return await self._reviewed("handle_feedback_async", formatted_answer, context)

        async def _prompt_input_async(self, crew: Any) -> str:
            return str(await in_thread(self._prompt_input, crew))

        def _prompt_input(self, _: Any) -> str:
            turn = JOURNAL.turn
            if turn is None:
                raise RuntimeError("no turn is running")
            what = f"Is this well? If not, say what is to be better.\n\n{self.answer}"
            approval = turn.wait(turn.approve(what, tool="human_input", args={}))
            return "" if approval["approved"] else approval["reason"] or "Try again."

    people.get_provider = Provider
    executor: Any = importlib.import_module("crewai.agents.agent_executor")
    executor.get_provider = Provider


def load(reference: str) -> Any:
    """Return what `module:name` names: an agent, a crew, a flow, or what makes one."""
    place, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(place), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise Failed(f"{reference!r} leads nowhere: {error}", "validation") from error


async def run(made: Any, turn: Turn) -> Any:
    """Run a turn, and return its answer."""
    JOURNAL.begin(turn)
    found: Any = made() if inspect.isfunction(made) or inspect.isclass(made) else made
    history = [{"role": line["role"], "content": line["text"]} for line in turn.lines]
    inputs = {
        "message": turn.text,
        "history": "\n".join(f"{each['role']}: {each['content']}" for each in history[:-1]),
    }
    try:
        if isinstance(found, crewai.Agent):
            return told(await found.copy().akickoff(history))
        if isinstance(found, crewai.Crew):
            crew = found.copy()
            JOURNAL.speaker = crew.tasks[-1]
            return told(await crew.akickoff(inputs=inputs))
        JOURNAL.speaker = found  # no task is it: what a flow's models say is no answer
        return told(await found.akickoff(inputs=inputs))
    except Exception:
        if JOURNAL.failed is not None:
            raise JOURNAL.failed from None
        if JOURNAL.silent:
            return ""
        raise
    finally:
        JOURNAL.turn = None


def told(output: Any) -> Any:
    """Return what an agent, a crew or a flow has come to."""
    shape = getattr(output, "pydantic", None)
    if shape is not None:
        return plain(shape)
    return plain(getattr(output, "raw", output))


def main() -> None:
    """Serve what is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("reference")
    parser.add_argument("--again", action="append", default=[])
    parser.add_argument("--ask", action="append", default=[])
    given = parser.parse_args()
    JOURNAL.again, JOURNAL.ask = frozenset(given.again), frozenset(given.ask)
    wrap_tools()
    wrap_people()
    events.crewai_event_bus.register_handler(events.LLMStreamChunkEvent, JOURNAL.heard)

    def start(_: str) -> Any:
        made = load(given.reference)
        wanted = (crewai.Agent, crewai.Crew, crewai.Flow)
        if not (isinstance(made, wanted) or inspect.isfunction(made) or inspect.isclass(made)):
            raise Failed(f"{given.reference!r} is no agent, crew or flow", "validation")

        async def agent(turn: Turn) -> Any:
            return await run(made, turn)

        return agent

    serve(start=start)


if __name__ == "__main__":
    main()
