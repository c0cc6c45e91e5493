"""Rules of the house that no linter knows, held over every file in git."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 500
MAX_LINES_OF_TESTS = 700


@cache
def tracked() -> list[Path]:
    """Return the files in git; where there is no git (in an image), all that a clone would hold."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git here: these rules were held where the tree was committed")
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    return [file for name in listed.split("\0") if name and (file := ROOT / name).is_file()]


def python_files(*folders: str) -> list[Path]:
    return [
        file
        for file in tracked()
        if file.suffix == ".py" and (not folders or file.relative_to(ROOT).parts[0] in folders)
    ]


def at(file: Path, line: int) -> str:
    return f"{file.relative_to(ROOT)}:{line}"


def test_modules_stay_small() -> None:
    """One noun a file: who needs more than 500 lines has two nouns."""
    long = {
        str(file.relative_to(ROOT)): lines
        for file in python_files()
        if (lines := len(file.read_text().splitlines()))
        > (MAX_LINES_OF_TESTS if "tests" in file.relative_to(ROOT).parts else MAX_LINES)
    }

    assert not long


def is_silent(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler does nothing: to try again is something, unless for every error."""
    nothing = (ast.Pass, ast.Continue) if is_broad(handler.type) else ast.Pass
    return all(
        isinstance(line, nothing)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in handler.body
    )


def is_broad(caught: ast.expr | None) -> bool:
    return caught is None or ast.unparse(caught) in {"Exception", "BaseException"}


def silent_handlers(source: str) -> list[int]:
    """Return the lines where any error whatsoever, or one without a reason, is swallowed."""
    lines = source.splitlines()
    found: list[int] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and is_silent(node):
            text = lines[node.lineno - 1 : node.end_lineno]
            if is_broad(node.type) or not any("#" in line for line in text):
                found.append(node.lineno)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            found += [node.lineno for caught in node.args if is_broad(caught)]
    return found


def test_no_error_is_swallowed() -> None:
    found = [
        at(file, line)
        for file in python_files("events", "projections", "runtime", "adapters")
        for line in silent_handlers(file.read_text())
    ]

    assert not found, "handle it, or say in a comment why nothing is to be done"


@pytest.mark.parametrize(
    "source",
    [
        "try: x()\nexcept: pass",
        "try: x()\nexcept Exception:\n    ...",
        "try: x()\nexcept ValueError:\n    pass",
        "for y in z:\n    try: x()\n    except BaseException:  # why\n        continue",
        "with contextlib.suppress(Exception): x()",
    ],
)
def test_swallowing_is_found(source: str) -> None:
    assert silent_handlers(source)


@pytest.mark.parametrize(
    "source",
    [
        "try: x()\nexcept ValueError:\n    pass  # it was a hint only",
        "try: x()\nexcept Exception:\n    log.exception('x failed')",
        "for y in z:\n    try: x()\n    except Conflict:\n        continue",
        "with contextlib.suppress(ProcessLookupError): x()",
    ],
)
def test_a_reasoned_handler_is_none(source: str) -> None:
    assert not silent_handlers(source)


SLEEPS = {"time.sleep", "asyncio.sleep", "sleep"}


def fixed_sleeps(source: str) -> list[int]:
    """Return the lines that sleep for a fixed time, outside a loop that looks for a condition.

    A comment on the line gives the reason of an exception.
    """
    lines, found = source.splitlines(), list[int]()

    def visit(node: ast.AST, *, polling: bool) -> None:
        if isinstance(node, ast.While | ast.For | ast.AsyncFor):
            polling = True
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            polling = False
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in SLEEPS
            and not polling
            and not (
                node.args and isinstance(node.args[0], ast.Constant) and not node.args[0].value
            )
            and "#" not in lines[node.lineno - 1]
        ):
            found.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, polling=polling)

    visit(ast.parse(source), polling=False)
    return found


def test_tests_wait_for_conditions() -> None:
    """A fixed sleep is too short on a busy machine and too long on every other.

    Under `tests/simulation` time is virtual, and sleeping is what is tested.
    """
    found = [
        at(file, line)
        for file in python_files("tests")
        if "simulation" not in file.parts
        for line in fixed_sleeps(file.read_text())
    ]

    assert not found, "wait for a condition, or say why in a comment on the line"


def test_fixed_sleeps_are_found() -> None:
    assert fixed_sleeps("await asyncio.sleep(1)\nawait asyncio.sleep(0)") == [1]
    assert fixed_sleeps("time.sleep(x)") == [1]
    assert not fixed_sleeps("while not ready():\n    await asyncio.sleep(0.01)")
    assert not fixed_sleeps("await asyncio.sleep(0.1)  # the agent's work")


# Written in pieces, so that this file does not hold what it looks for.
PLACES = [
    "/" + "work/",
    "/" + "root/",
    "/" + "home/",
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".org",
    "debian" + ".org",
    "/opt/" + "wheels",
    "/opt/" + "pypi",
]


@pytest.mark.parametrize("place", PLACES)
def test_no_file_names_a_place(place: str) -> None:
    """No path of the machine it was written on, no host that packages come from."""
    needle = place.encode()
    found = [str(f.relative_to(ROOT)) for f in tracked() if needle in f.read_bytes()]

    assert not found


def test_no_file_is_large() -> None:
    large = [str(f.relative_to(ROOT)) for f in tracked() if f.stat().st_size > 1_000_000]

    assert not large


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def anchors(markdown: str) -> set[str]:
    """Return the names under which a page's headings can be linked to."""
    headings = re.findall(r"^#+ +(.+?)\s*$", without_code(markdown), re.MULTILINE)
    texts = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def without_code(markdown: str) -> str:
    return re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)


def test_links_between_pages_lead_somewhere() -> None:
    broken: list[str] = []
    for page in (file for file in tracked() if file.suffix == ".md"):
        for match in LINK.finditer(without_code(page.read_text())):
            target = match[1] or match[2]
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path) if path else page
            if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
                broken.append(f"{page.relative_to(ROOT)}: {target}")

    assert not broken


def make_targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here, as in the image")
def test_make_help_lists_every_target() -> None:
    listed = subprocess.check_output(["make", "help"], cwd=ROOT, text=True)

    assert {line.split()[1] for line in listed.splitlines()} == make_targets()


def test_pages_name_only_targets_that_exist() -> None:
    named = {
        target
        for file in tracked()
        if file.suffix == ".md"
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", file.read_text(), re.MULTILINE)
    }

    assert named <= make_targets()
