"""Hermes, by ACP, in an environment of its own."""

from __future__ import annotations

from pelton.adapters.frameworks.hermes.adapter import HermesAdapter as HermesAdapter
