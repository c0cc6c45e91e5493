"""What is installed beside pelton: which extras are whole, and whether what they bring loads.

As a program, `python -m pelton.adapters.cli.installed [EXTRA]…`, it fails if one is not; without an
argument it looks at all. An image is built with it, so that none is made that cannot run.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from packaging.requirements import Requirement

from pelton.adapters.cli.references import KINDS

PACKAGE: Final = "pelton"


def extras() -> tuple[str, ...]:
    """Return the extras that there are."""
    return tuple(importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or ())


def lacks(extra: str) -> Iterator[str]:
    """Yield what an extra needs and is not installed, or not in such a version."""
    for line in importlib.metadata.requires(PACKAGE) or ():
        wanted = Requirement(line)
        marker = wanted.marker
        if marker is None or marker.evaluate({"extra": ""}):
            continue  # it comes with pelton
        if not marker.evaluate({"extra": extra}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield f"{wanted.name}{wanted.specifier} is not installed"
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            yield f"{wanted.name} {found} is installed, and {wanted.specifier} is needed"


def _broken(extra: str) -> Iterator[str]:
    """Yield what is wrong with an extra: it lacks something, or what loads its agents does not."""
    yield from lacks(extra)
    for place, needs in KINDS.values():
        if needs == extra:
            try:
                importlib.import_module(place)
            except ImportError as error:
                yield f"{place} cannot be imported: {error}"


def main(arguments: Sequence[str]) -> int:
    """Look at extras; return the exit code."""
    known = extras()
    wrong = [f"there is no extra {each!r}" for each in arguments if each not in known]
    wrong += [f"{each}: {line}" for each in arguments or known for line in _broken(each)]
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
