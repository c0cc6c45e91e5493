"""Adds what an operator wants every turn to know to its prompt, and says where it is from."""

from __future__ import annotations

from pathlib import Path

from pelton.runtime.hooks import Occasion, Reply


def add(occasion: Occasion) -> Reply | None:
    """Add the text at the end."""
    file = str(occasion.options.get("file", ""))
    text = str(occasion.options.get("text", ""))
    if file:
        text = f"{text}\n{Path(file).read_text(encoding='utf-8')}"
    if not text.strip():
        return None
    added = f"[From the operator of this system]\n{text.strip()}"
    return Reply(change=f"{occasion.content}\n\n{added}".strip())
