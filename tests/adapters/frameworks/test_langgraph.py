"""What graphs of LangGraph can do that no other agents do: nodes side by side, several pauses."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import (  # pyright: ignore[reportMissingTypeStubs]
    END,
    START,
    MessagesState,
    StateGraph,
)
from langgraph.types import Command, interrupt

from pelton.adapters.cli.references import load_agent
from pelton.adapters.frameworks.langgraph import LangGraphAdapter, values
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.a2a import TaskState, text_of
from pelton.events.errors import InvalidInput
from pelton.events.events import StepCompleted
from pelton.runtime.agents import Agent
from pelton.runtime.jetstream.log import JetStreamLog
from tests.adapters.frameworks.kits import TERMS
from tests.runtime.clients import WORLD, Client, only, serving

NODES: dict[str, Any] = {}


def graph(*edges: tuple[str, str]) -> Any:
    """Return a compiled graph of `NODES`, between which these edges are."""
    made: Any = StateGraph(MessagesState)
    for name in {name for edge in edges for name in edge} - {START, END}:
        made.add_node(name, NODES[name])
    for begin, end in edges:
        made.add_edge(begin, end)
    return made.compile()


def served(compiled: Any) -> Agent:
    return as_agent(LangGraphAdapter(compiled, idempotent=NODES), name="graph", terms=TERMS)


def node(run: Any) -> Any:
    NODES[run.__name__] = run
    return run


@node
async def twice(_: MessagesState) -> dict[str, Any]:
    """Ask two things, one after the other."""
    first = interrupt("Your name?")
    second = interrupt({"question": f"Your age, {first}?"})
    return {"messages": [AIMessage(f"{first} is {second}.")]}


@node
async def refuse(state: MessagesState) -> dict[str, Any]:
    """Fail if told so, else tell what was heard."""
    told = [str(each.text) for each in state["messages"]]
    if told[-1] == "fail":
        raise ValueError("as told")
    return {"messages": [AIMessage(" ".join(told))]}


@node
async def left(_: MessagesState) -> dict[str, Any]:
    return {"messages": [HumanMessage("left")]}


@node
async def right(_: MessagesState) -> dict[str, Any]:
    return {"messages": [HumanMessage("right")]}


@pytest.mark.accepts("AS-60")
@pytest.mark.parametrize("within", [False, True])
async def test_a_node_that_pauses_twice_goes_on_in_a_third_process(
    log: JetStreamLog, *, within: bool
) -> None:
    compiled = graph((START, "twice"), ("twice", END))
    if within:  # a graph that is a node
        NODES["inner"] = compiled
        compiled = graph((START, "inner"), ("inner", END))
        del NODES["inner"]
    client = Client(log, "graph")
    context, id_ = "", ""
    for said in ("hello", "Ada", "36"):
        async with serving(log, served(compiled)):
            if not context:
                context, id_ = await client.send(said)
            else:
                await client.send(said, context, task=id_, id_=WORLD.new_id())
            if said == "36":
                task = await client.settled(context, id_)
                assert text_of(only(task).parts) == "Ada is 36."
            else:
                await client.until(context, lambda state: bool(state.tasks) and not state.turning)


@pytest.mark.accepts("AS-60")
async def test_what_a_turn_was_told_that_failed_is_not_lost(log: JetStreamLog) -> None:
    client = Client(log, "graph")
    async with serving(log, served(graph((START, "refuse"), ("refuse", END)))):
        context, id_ = await client.send("one")
        await client.settled(context, id_)
        _, id_ = await client.send("fail", context)
        assert (await client.settled(context, id_)).status.state is TaskState.FAILED
        _, id_ = await client.send("two", context)
        task = await client.settled(context, id_)
    assert text_of(only(task).parts) == "one one fail two"


@pytest.mark.accepts("AS-60")
async def test_nodes_run_side_by_side_each_as_a_step(log: JetStreamLog) -> None:
    compiled = graph(
        *((START, "left"), (START, "right"), ("left", "refuse"), ("right", "refuse")),
        ("refuse", END),
    )
    client = Client(log, "graph")
    async with serving(log, served(compiled)):
        context, id_ = await client.send("go")
        task = await client.settled(context, id_)
        events = await client.events(context)
    assert text_of(only(task).parts) == "go left right"
    keys = [e.key for e in events if isinstance(e, StepCompleted)]
    assert sorted(keys[:2]) == ["left:1.1", "right:1.1"]
    assert keys[2:] == ["refuse:1.2"]


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [AIMessage("hi", id="1"), HumanMessage("ho")], "n": [1, 2.5, None, True, "x"]},
        Command(update={"messages": [AIMessage("hi", id="1")]}, goto="there"),
        [{"$message": 1}, {3: 4}, b"\0"],
    ],
)
def test_what_is_recorded_of_a_node_is_what_it_gave(value: Any) -> None:
    assert values.decode(values.encode(value)) == value


def test_a_reference_leads_to_a_compiled_graph() -> None:
    place = "tests.adapters.frameworks.test_langgraph"
    assert load_agent(f"langgraph:{place}:REFUSE").name == "refuse"
    with pytest.raises(InvalidInput, match="no compiled graph"):
        load_agent(f"langgraph:{place}:refuse")


REFUSE = graph((START, "refuse"), ("refuse", END))
