"""The official SDK (a2a-sdk), both ways: its executors run here, and its routes are served here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pelton.adapters.a2a_sdk.handler import DurableRequestHandler as DurableRequestHandler

__all__ = ["DurableRequestHandler"]


def __getattr__(name: str) -> Any:
    """Import the handler when it is asked for: who runs executors alone needs no bridge."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.handler"), name)
