"""What it costs to look for secrets: `python -m benchmarks.redaction` prints µs of each text."""

from __future__ import annotations

import timeit
from typing import Final

from pelton.events.growing import Growing
from pelton.events.redact import STANDARD
from tests.secrets import HARMLESS, TEXTS

_PROSE: Final = (
    "The keeper had written the report twice, and checked what the others had to say of it; "
    "it works as it should: see the guide, step 2.\n"
)
_CODE: Final = (
    "def main(argv: list[str]) -> int:\n    for key, value in config.items():\n"
    '        self._check_value(key, value, https="http://example.com/a/b")\n'
)
CASES: Final = {
    "60 letters": _PROSE[:60],
    "prose, 1 kB": (_PROSE * 9)[:1000],
    "code, 1 kB": (_CODE * 9)[:1000],
    "ids and hashes, 1 kB": " ".join(HARMLESS[n] for n in ("uuid", "sha256", "sha1")) * 7,
    "prose, 1 MB": _PROSE * 7500,
    "a secret in 1 kB of prose": (_PROSE * 9)[:960] + TEXTS["github-token"],
}


def main() -> None:
    """Measure, and print."""
    for name, text in CASES.items():
        number = max(1, 2_000_000 // len(text) // 5)
        seconds = min(timeit.repeat(lambda t=text: STANDARD.text(t), number=number, repeat=7))  # type: ignore[misc]
        print(f"{name:28} {seconds / number * 1e6:10.1f} µs")
    growing = Growing(STANDARD)
    words = [f" {word}" for word in _PROSE.split()]
    number = 200
    seconds = min(
        timeit.repeat(lambda: [growing.add(word) for word in words], number=number, repeat=7)
    )
    print(f"{'a word of a growing text':28} {seconds / number / len(words) * 1e6:10.1f} µs")


if __name__ == "__main__":
    main()
