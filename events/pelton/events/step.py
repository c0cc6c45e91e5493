"""What a step is of: the words that its intent and whoever rules over it have in common."""

from __future__ import annotations

import enum


class StepKind(enum.StrEnum):
    """What a step calls."""

    CODE = "code"
    """The agent's own code, or nobody has said what."""
    MODEL = "model"
    """A model."""
    TOOL = "tool"
    """A tool that a model has chosen, which the step is named after: `tool <name>`, or
    `tool <name>+<name>` where a framework calls several as one."""
