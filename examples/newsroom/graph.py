"""A graph of LangGraph that looks for facts: the agent `researcher` of this newsroom.

Its model is whatever `OPENAI_BASE_URL` and `OPENAI_API_KEY` lead to; `MODEL` names it.
"""

import os
from typing import Any

from langchain_openai import ChatOpenAI
from langgraph.graph import (  # pyright: ignore[reportMissingTypeStubs]
    END,
    START,
    MessagesState,
    StateGraph,
)

llm = ChatOpenAI(model=os.environ.get("MODEL", "gpt-5-mini"), max_retries=0, stream_usage=True)


async def model(state: MessagesState) -> dict[str, object]:
    return {"messages": [await llm.ainvoke(state["messages"])]}


made: Any = StateGraph(MessagesState)
made.add_node("model", model)
made.add_edge(START, "model")
made.add_edge("model", END)
graph = made.compile()
