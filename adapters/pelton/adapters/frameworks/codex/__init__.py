"""OpenAI's codex, by its app-server."""

from __future__ import annotations

from pelton.adapters.frameworks.codex.adapter import CodexAdapter as CodexAdapter
