"""References to Python: `module:name` and `path/to/file.py:name`, as settings and commands say."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from pelton.events.errors import InvalidInput


def function_of(reference: str) -> Callable[..., Any]:
    """Return the function that a reference names.

    Raises:
        InvalidInput: it leads to none; the text says why.
    """
    place, _, name = reference.partition(":")
    if not name:
        raise InvalidInput(f"{reference!r} names no function: write module:name or file.py:name")
    module = file_of(Path(place)) if place.endswith(".py") else module_of(place, reference)
    found: object = getattr(module, name, None)
    if not callable(found):
        raise InvalidInput(f"{reference!r}: the module has no function {name!r}")
    return cast("Callable[..., Any]", found)


def module_of(place: str, reference: str) -> object:
    """Return a module by its name, also one beside the user.

    Raises:
        InvalidInput: there is none.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")  # an agent beside the user, as with python -m
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(error.name + ".")):
            raise InvalidInput(f"{reference!r}: there is no module {place!r}") from error
        raise


def file_of(path: Path) -> object:
    """Return the module that a file is.

    Raises:
        InvalidInput: there is no such file, or it is not Python.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no file {str(path)!r}")
    module_name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.resolve().parent))  # so that it can import its neighbours
    spec.loader.exec_module(module)
    return module
