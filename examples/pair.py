"""A graph of LangGraph and a second agent in one conversation.

`pelton dev --config examples/pair.toml`, then `pelton send editor "What is a bell?"`, and once more
with `--context`. The editor hands each question to the graph, in a conversation that goes on with
its own: so the graph knows what was asked before, on whatever machine it runs.

The model is OpenAI's, or what OPENAI_BASE_URL names: `python examples/offline_model.py` is one that
needs no key. It needs `pelton[langgraph]` and `langchain-openai`.
"""

# LangGraph has no types that a strict checker would take.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import os

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

from pelton.adapters.frameworks.langgraph import LangGraphAdapter
from pelton.adapters.frameworks.serving import as_agent
from pelton.events.a2a import Role
from pelton.runtime import Turn, agent


async def model(state: MessagesState) -> dict[str, object]:
    llm = ChatOpenAI(
        model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"),
        max_retries=0,  # pelton tries again, and the log knows how often
        default_headers={"Connection": "close"},  # none outlives the question
    )
    return {"messages": [await llm.ainvoke(state["messages"])]}


graph = StateGraph(MessagesState)
graph.add_node("model", model)
graph.add_edge(START, "model")
graph.add_edge("model", END)

researcher = as_agent(
    LangGraphAdapter(graph.compile()), name="researcher", description="Answers questions."
)


@agent
async def editor(turn: Turn) -> str:
    """Has questions answered by the researcher, and signs what it says."""
    await turn.status("I ask the researcher.")
    report = await turn.delegate("researcher", turn.text, context_id=f"{turn.context_id}-research")
    asked = 1 + sum(message.role is Role.USER for message in turn.history)
    return f"{report.text}\n(checked by the editor, who was asked {asked} times)"
