"""Agents elsewhere, reached by HTTP: each turn is posted to them, signed."""

from __future__ import annotations

from pelton.adapters.frameworks.webhook.adapter import WebhookAdapter as WebhookAdapter
