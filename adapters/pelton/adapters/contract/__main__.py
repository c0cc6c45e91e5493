"""`python -m pelton.adapters.contract`: write `schemas/`; `--check` it; `--release` what is new."""

from __future__ import annotations

import sys
from pathlib import Path

from pelton.adapters.contract.files import complaints, release, write


def main(arguments: list[str]) -> int:
    """Do what the arguments say with `schemas/` here; return the exit code."""
    folder = Path("schemas")
    match arguments:
        case []:
            write(folder)
        case ["--release"]:
            write(folder)
            release(folder)
        case ["--check"]:
            pass
        case _:
            sys.stderr.write("usage: python -m pelton.adapters.contract [--check | --release]\n")
            return 2
    found = complaints(folder)
    sys.stderr.writelines(f"{complaint}\n" for complaint in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
