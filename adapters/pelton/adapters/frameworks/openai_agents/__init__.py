"""Agents made with OpenAI's Agents SDK."""

from __future__ import annotations

from pelton.adapters.frameworks.openai_agents.adapter import (
    OpenAIAgentsAdapter as OpenAIAgentsAdapter,
)
