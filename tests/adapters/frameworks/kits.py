"""One agent for each adapter, made alike, so that one suite can be run on all of them.

Each is told `SYSTEM` where its framework takes that, asks the scripted model at a URL, and where it
can call tools has `add` and `pay`; a person approves the latter. Both leave a line in the file that
the environment variable `EFFECTS` names, for their effects to be counted whatever process has them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from pelton.adapters.frameworks.acp import AcpAdapter
from pelton.adapters.frameworks.cli import CliAdapter
from pelton.adapters.frameworks.codex import CodexAdapter
from pelton.adapters.frameworks.codex.adapter import COMMAND
from pelton.adapters.frameworks.contract import Adapter, Capability
from pelton.adapters.frameworks.hermes import HermesAdapter
from pelton.adapters.frameworks.model import Endpoint, ModelAdapter, tool
from pelton.adapters.frameworks.serving import as_agent
from pelton.adapters.frameworks.worker import WorkerAdapter
from pelton.adapters.gateway.server import Gateway
from pelton.events.events import FailureClass
from pelton.events.retries import Retry
from pelton.events.ruling import Point
from pelton.runtime.agents import Agent, Terms
from pelton.runtime.gateway_settings import GatewaySettings
from pelton.runtime.jetstream.log import JetStreamLog
from pelton.runtime.model_gateway import ModelGateway
from tests.runtime.clients import serving

SYSTEM: Final = "You are a test."
EFFECTS: Final = "TEST_EFFECTS"
FRAMEWORKS: Final = "TEST_FRAMEWORKS"
"""The variable with the names of what is installed beside this environment."""
CLOSE: Final = {"connection": "close"}
"""For clients that live as long as their process: no connection of theirs is left over."""
QUICK: Final = Retry(attempts=3, first=0.02, longest=0.05)
"""Tried again at once: nobody waits for a provider here."""

TERMS: Final = Terms(suspend_after=0.1, retries=dict.fromkeys(FailureClass, QUICK))


def effect(name: str) -> None:
    """Have an effect outside, in one write."""
    if path := os.environ.get(EFFECTS):
        with Path(path).open("a") as file:
            file.write(f"{name}\n")


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    effect("add")
    return a + b


def pay(amount: int) -> str:
    """Pay an amount."""
    effect("pay")
    return f"paid {amount}"


_ALWAYS: Final = frozenset(
    {
        Point.COMMAND_RECEIVED,
        Point.TURN_BEFORE,
        Point.PROMPT_BUILT,
        Point.PUBLISH_BEFORE,
        Point.TURN_AFTER,
    }
)
_OF_MODELS: Final = frozenset({Point.MODEL_BEFORE, Point.MODEL_AFTER})
_OF_TOOLS: Final = frozenset({Point.TOOL_BEFORE, Point.TOOL_AFTER})


class Kit(NamedTuple):
    """An adapter in the suite: `make` makes one whose model is at a URL.

    What `needs` names is installed by `make test-frameworks`, which sets `FRAMEWORKS`. With `apart`
    its process asks the model by itself, and asks again when it goes on with another one's turn.
    """

    name: str
    make: Callable[[str], Adapter]
    needs: str = ""
    gateway: bool = False
    """Whether its agents' calls of models go through one."""
    apart: bool = False
    whole: bool = False
    """It is asked for a whole turn in one step, and what it asks a model is its own affair."""
    wilful: bool = False
    """Its framework tries its model again by itself, and says in its own way that it has failed."""
    without: frozenset[Capability] = frozenset()
    """What it has, and is proved elsewhere: its tools are its own, and not those of the suite."""

    @property
    def there(self) -> bool:
        """Whether what it needs is there."""
        return not self.needs or self.needs in os.environ.get(FRAMEWORKS, "").split(",")

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What its adapter declares."""
        return self.make("http://127.0.0.1").capabilities

    @property
    def points(self) -> frozenset[Point]:
        """Where hooks are asked in a turn of its agent, beside steps that are no model or tool."""
        found = _ALWAYS if self.whole else _ALWAYS | _OF_MODELS
        return found | _OF_TOOLS if Capability.TOOLS in self.capabilities else found

    def agent(self, url: str) -> Agent:
        """Return its agent, called by the adapter's name."""
        return as_agent(self.make(url), name=self.name, terms=TERMS)

    @asynccontextmanager
    async def executor(self, url: str) -> AsyncGenerator[ModelGateway | None]:
        """Give what its executor needs for a model at a URL."""
        if not self.gateway:
            yield None
            return
        environ = {"ANTHROPIC_API_KEY": "sk-test", "ANTHROPIC_BASE_URL": url}
        async with Gateway(GatewaySettings(), environ=environ) as gateway:
            yield gateway

    @asynccontextmanager
    async def served(
        self, log: JetStreamLog, url: str, agent: Agent | None = None, **options: Any
    ) -> AsyncGenerator[None]:
        """Serve its agent, or another one in its place, with a model at a URL."""
        async with (
            self.executor(url) as gateway,
            serving(log, agent or self.agent(url), gateway=gateway, **options),
        ):
            yield


def _model(dialect: str) -> Callable[[str], Adapter]:
    def make(url: str) -> Adapter:
        where = f"{url}/v1" if dialect == "openai" else url
        tools = [tool(idempotent=True)(add), tool(ask=True, idempotent=True)(pay)]
        endpoint = Endpoint(dialect, where, "scripted", "sk-test")
        return ModelAdapter(endpoint, system=SYSTEM, tools=tools, retry=QUICK)

    return make


def _langgraph(url: str) -> Adapter:
    from langchain.agents import create_agent  # pyright: ignore[reportUnknownVariableType]
    from langchain.agents.middleware import HumanInTheLoopMiddleware
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    from pelton.adapters.frameworks.langgraph import LangGraphAdapter

    model = ChatOpenAI(
        model="scripted",
        base_url=f"{url}/v1",
        api_key=SecretStr("sk-test"),
        max_retries=0,
        default_headers=CLOSE,
        stream_usage=True,
    )
    asking = HumanInTheLoopMiddleware(interrupt_on={"pay": True})
    graph: Any = create_agent(model, [add, pay], system_prompt=SYSTEM, middleware=[asking])
    return LangGraphAdapter(graph, idempotent={"model", "add", "pay"}, retry=QUICK)


def _pydantic_ai(url: str) -> Adapter:
    from openai import AsyncOpenAI
    from pydantic_ai import Agent, Tool
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from pelton.adapters.frameworks.pydantic_ai import PydanticAIAdapter

    client = AsyncOpenAI(
        base_url=f"{url}/v1", api_key="sk-test", max_retries=0, default_headers=CLOSE
    )
    again = {"pelton": {"idempotent": True}}
    tools = [Tool(add, metadata=again), Tool(pay, metadata=again, requires_approval=True)]
    agent = Agent(
        OpenAIChatModel("scripted", provider=OpenAIProvider(openai_client=client)),
        name="tester",
        output_type=[str, type(None)],
        system_prompt=SYSTEM,
        tools=tools,
    )
    return PydanticAIAdapter(agent, retry=QUICK)


def _openai_agents(dialect: str) -> Callable[[str], Adapter]:
    def make(url: str) -> Adapter:
        from agents import (
            Agent,
            OpenAIChatCompletionsModel,
            OpenAIResponsesModel,
            function_tool,
        )
        from openai import AsyncOpenAI

        from pelton.adapters.frameworks.openai_agents import OpenAIAgentsAdapter

        client = AsyncOpenAI(
            base_url=f"{url}/v1", api_key="sk-test", max_retries=0, default_headers=CLOSE
        )
        kind = OpenAIChatCompletionsModel if dialect == "openai" else OpenAIResponsesModel
        agent = Agent(
            name="tester",
            instructions=SYSTEM,
            model=kind("scripted", client),
            tools=[function_tool(add), function_tool(pay, needs_approval=True)],
        )
        return OpenAIAgentsAdapter(agent, idempotent={"add", "pay"}, retry=QUICK)

    return make


def _google_adk(url: str) -> Adapter:
    import httpx
    from google.adk.agents import LlmAgent
    from google.adk.models import Gemini
    from google.adk.tools.function_tool import FunctionTool
    from google.genai import Client

    from pelton.adapters.frameworks.google_adk import GoogleADKAdapter

    options: Any = {"base_url": url, "httpx_async_client": httpx.AsyncClient(headers=CLOSE)}
    client = Client(api_key="test", http_options=options)
    agent = LlmAgent(
        name="tester",
        model=Gemini(model="scripted", client=client),
        instruction=SYSTEM,
        tools=[add, FunctionTool(pay, require_confirmation=True)],
    )
    return GoogleADKAdapter(agent, idempotent={"add", "pay"}, retry=QUICK)


def _webhook(url: str) -> Adapter:
    from tests.adapters.frameworks.elsewhere import Hosted

    return Hosted(url)


def _cli(url: str) -> Adapter:
    command = [sys.executable, "-I", str(Path(__file__).with_name("command.py")), url, "{prompt}"]
    return CliAdapter(command, dialect="jsonl", idempotent=True)


def _claude(url: str) -> Adapter:
    if find_spec("claude_agent_sdk"):  # it takes seconds, that would be those of an executor
        import_module("claude_agent_sdk")

    from pelton.adapters.frameworks.claude import ClaudeAdapter

    tools = [tool(idempotent=True)(add), tool(ask=True, idempotent=True)(pay)]
    own = ("Bash", "Edit", "Read")
    return ClaudeAdapter(model="scripted", system=SYSTEM, tools=tools, allowed=own, retry=QUICK)


def _worker(url: str) -> Adapter:
    command = [sys.executable, str(Path(__file__).with_name("guest.py")), url]
    return WorkerAdapter(command, retry=QUICK)


def _acp(url: str) -> Adapter:
    command = [sys.executable, str(Path(__file__).with_name("coder.py")), url]
    return AcpAdapter(command, again=True, retry=QUICK)


def _codex(url: str) -> Adapter:
    command = [sys.executable, str(Path(__file__).with_name("appserver.py")), url]
    return CodexAdapter(command, again=True, retry=QUICK)


def _codex_cli(url: str) -> Adapter:
    retries = "request_max_retries=0,stream_max_retries=0"
    provider = f'{{name="test",base_url="{url}/v1",wire_api="responses",{retries}}}'
    command = (*COMMAND, "-c", f"model_providers.test={provider}")
    thread = {"model": "scripted", "modelProvider": "test", "sandbox": "read-only"}
    return CodexAdapter(command, thread=thread, again=True, retry=QUICK)


def _gemini(url: str) -> Adapter:
    more = {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "sk-test"}
    command = ("gemini", "--acp", "--model", "gemini-2.5-flash")
    return AcpAdapter(
        command, name="gemini", more=more, auth="gemini-api-key", again=True, retry=QUICK
    )


def _hermes(url: str) -> Adapter:
    return HermesAdapter(f"{url}/v1", "scripted", key="sk-test", again=True, retry=QUICK)


def _crewai(url: str) -> Adapter:
    from pelton.adapters.frameworks.crewai import CrewAIAdapter

    return CrewAIAdapter(
        "crew:agent",
        idempotent=("add", "pay"),
        ask=("pay",),
        retry=QUICK,
        directory=str(Path(__file__).with_name("isolated")),
        more={"TEST_MODEL": f"{url}/v1"},
    )


_OWN: Final = frozenset({Capability.TOOLS, Capability.ASK})

KITS: Final[Mapping[str, Kit]] = {
    kit.name: kit
    for kit in (
        Kit("model", _model("openai")),
        Kit("model-anthropic", _model("anthropic")),
        Kit("langgraph", _langgraph),
        Kit("pydantic-ai", _pydantic_ai),
        Kit("openai-agents", _openai_agents("responses")),
        Kit("openai-agents-chat", _openai_agents("openai")),
        Kit("google-adk", _google_adk),
        Kit("webhook", _webhook, whole=True),
        Kit("cli", _cli, whole=True, wilful=True),
        Kit("worker", _worker),
        Kit("acp", _acp, apart=True),
        Kit("codex", _codex, apart=True),
        Kit("codex-cli", _codex_cli, "codex", apart=True, without=_OWN),
        Kit("gemini", _gemini, "gemini", apart=True, wilful=True, without=_OWN),
        Kit("hermes", _hermes, "hermes", apart=True, wilful=True, without=_OWN),
        Kit("crewai", _crewai, "crewai"),
        Kit("claude", _claude, gateway=True),
    )
}
"""All of them, by name."""
