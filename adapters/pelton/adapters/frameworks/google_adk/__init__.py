"""Agents made with Google's Agent Development Kit."""

from __future__ import annotations

from pelton.adapters.frameworks.google_adk.adapter import GoogleADKAdapter as GoogleADKAdapter
