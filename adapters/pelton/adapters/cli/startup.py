"""Quick starts: structlog imports rich, for tracebacks that we print plainly, in 0.2 to 0.4 s.

Every process of ours would pay that. While rich is withheld, importing it fails as if it were not
installed, which structlog takes well.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Final, cast

_modules: Final = cast("dict[str, ModuleType | None]", sys.modules)


def withhold_rich() -> None:
    """Let imports of rich fail from now on, unless it is there already."""
    _modules.setdefault("rich", None)


def release_rich() -> None:
    """Import structlog; then let rich be imported again, by agents that use it."""
    importlib.import_module("structlog")
    if "rich" in _modules and _modules["rich"] is None:
        del _modules["rich"]
