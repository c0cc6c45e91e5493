"""Agents, crews and flows of CrewAI, in an environment of their own."""

from __future__ import annotations

from pelton.adapters.frameworks.crewai.adapter import CrewAIAdapter as CrewAIAdapter
