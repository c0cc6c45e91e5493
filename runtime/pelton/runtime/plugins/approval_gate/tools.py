"""Has a person asked before certain tools are called."""

from __future__ import annotations

from pelton.events.policy import matches
from pelton.events.ruling import Ruling
from pelton.runtime.hooks import Occasion, Reply


def ask(occasion: Occasion) -> Reply | None:
    """Ask, if the tool is one of those. Who decides is in the option `approvers`."""
    patterns = tuple(map(str, occasion.options.get("tools", ("*",))))
    if not any(matches(tool, patterns) for tool in occasion.name.split("+")):
        return None
    approvers = tuple(map(str, occasion.options.get("approvers", ())))
    return Reply(ruling=Ruling.ASK, reason=f"It calls {occasion.name}.", approvers=approvers)
