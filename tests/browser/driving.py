"""What drives a browser: which one, and where to."""

from __future__ import annotations

import os
import shutil

from tests.acceptance.running import Dev, eventually


def chromium() -> str:
    """Return the browser's file."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert found, "there is no Chromium: install it, or name it: make test-browser CHROMIUM=…"
    return found


def link(dev: Dev) -> str:
    """Return the link that it has printed."""
    return eventually(lambda: next((e[6:] for e in dev.lines if e.startswith("debug ")), None))
