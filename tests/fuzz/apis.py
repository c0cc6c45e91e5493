"""Schemathesis on a bridge, by the OpenAPI documents that are committed: any request at all.

It makes requests that the documents allow and requests that they do not, and holds each answer
against them: no 500, the status, media type and schema that are written there, wrong data refused,
nothing done for whoever has no credential, and all within seconds.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
CHECKS: Final = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance", "negative_data_rejection"),
    *("missing_required_header", "unsupported_method", "allow_header_conformance"),
    *("ignored_auth", "use_after_free"),
)
ANSWERS_WITHIN: Final = 10.0
"""Seconds that an answer may take, on a machine that does other things too."""


class Run(NamedTuple):
    """How it went: whether all held, how many requests were made, and what was said."""

    held: bool
    requests: int
    links: int
    said: str


async def run(document: str, url: str, key: str, *options: str) -> Run:
    """Return how a bridge under a URL fares; asked with an API key, and without."""
    with tempfile.TemporaryDirectory() as folder:  # it keeps notes where it runs
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", str(ROOT / "schemas" / document)),
            *("--url", url, "--header", f"X-API-Key: {key}", "--checks", ",".join(CHECKS)),
            *("--max-response-time", str(ANSWERS_WITHIN), "--request-timeout", "30"),
            *("--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"),
            *("--exclude-operation-id", "followEvents"),  # its answer has no end
            *("--no-color", *options),
            cwd=folder,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    said = out.decode()
    made = re.search(r"^ +(\d+) generated", said, re.MULTILINE)
    links = re.search(r"API Links: +(\d+) covered", said)
    return Run(
        process.returncode == 0,
        int(made[1]) if made else 0,
        int(links[1]) if links else 0,
        said,
    )
