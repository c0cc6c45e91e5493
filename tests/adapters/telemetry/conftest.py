"""What tests of telemetry share: a log, and a client of HTTP."""

from __future__ import annotations

from tests.adapters.a2a.conftest import client, log

__all__ = ["client", "log"]
