"""Agents that speak the Agent Client Protocol: gemini, hermes, and most coding command lines."""

from __future__ import annotations

from pelton.adapters.frameworks.acp.adapter import AcpAdapter as AcpAdapter
