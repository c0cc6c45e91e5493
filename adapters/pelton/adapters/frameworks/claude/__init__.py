"""Claude Code as an agent, with the Claude Agent SDK."""

from __future__ import annotations

from pelton.adapters.frameworks.claude.adapter import ClaudeAdapter as ClaudeAdapter
