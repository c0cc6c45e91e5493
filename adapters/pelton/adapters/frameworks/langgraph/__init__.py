"""Graphs made with LangGraph, and agents made with LangChain, which are such."""

from __future__ import annotations

from pelton.adapters.frameworks.langgraph.adapter import LangGraphAdapter as LangGraphAdapter
