"""One decoder under atheris, whose inputs are led by what they reach: `coverage.py NAME [OPTION]…`.

The options are libFuzzer's. It ends with another code than 0 as soon as an input raises an error
that is not declared, or takes too long or too much memory, and leaves that input behind.
"""

# atheris says little of its types, and none of it where it has no wheel.
# pyright: reportUnknownMemberType=false, reportAttributeAccessIssue=false
# pyright: reportMissingImports=false, reportUnknownVariableType=false

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]
import structlog

with atheris.instrument_imports(include=["pelton", "rfc8785", "joserfc", "cronsim"]):
    from tests.fuzz.decoders import DECODERS


def main(name: str, *options: str) -> None:
    """Fuzz a decoder."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    decoder = DECODERS[name]
    corpus = Path(options[-1])
    for number, data in enumerate((*decoder.examples, *decoder.found)):
        (corpus / f"example-{number}").write_bytes(data)
    atheris.Setup([sys.argv[0], *options], decoder)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
