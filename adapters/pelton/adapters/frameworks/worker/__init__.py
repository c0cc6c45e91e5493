"""Agents in a process of another environment, or in another language: see `worker-protocol.md`."""

from __future__ import annotations

from pelton.adapters.frameworks.worker.adapter import WorkerAdapter as WorkerAdapter
