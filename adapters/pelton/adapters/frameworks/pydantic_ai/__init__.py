"""Agents made with Pydantic AI."""

from __future__ import annotations

from pelton.adapters.frameworks.pydantic_ai.adapter import PydanticAIAdapter as PydanticAIAdapter
