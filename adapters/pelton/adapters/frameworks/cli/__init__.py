"""Any command as an agent: what it prints is its answer."""

from __future__ import annotations

from pelton.adapters.frameworks.cli.adapter import CliAdapter as CliAdapter
