"""`pelton plugins` and `pelton policy check`: what is loaded, and whether it can be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SETTINGS = """
[plugins.guard]
[policy.rules]
money = "call.tool == 'pay' ? 'ask' : 'allow'"
[hooks.first]
run = "hooks.py:look"
points = ["tool.before"]
order = -200
[agents.writer.policy]
tools = ["read_*"]
"""
HOOK = "def look(occasion):\n    return None\n"


def pelton(folder: Path, *arguments: str) -> tuple[int, Any, str]:
    """Run a command there; return its exit code, its JSON and what it complains of."""
    done = subprocess.run(
        [sys.executable, "-m", "pelton.adapters.cli", *arguments, "--json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def test_what_is_loaded_is_listed_and_checked(tmp_path: Path) -> None:
    (tmp_path / "pelton.toml").write_text(SETTINGS)
    (tmp_path / "hooks.py").write_text(HOOK)
    code, found, complaint = pelton(tmp_path, "plugins", "list")
    assert (code, complaint) == (0, "")
    assert [each[1] for each in found["hooks"]] == ["first", "guard.commands"]
    assert {each["kind"] for each in found["equipment"]} == {"plugin", "hook", "policy"}
    code, found, _ = pelton(tmp_path, "policy", "check")
    assert code == 0
    assert set(found) == {"all agents", "writer"}
    (tmp_path / "hooks.py").write_text("")
    assert pelton(tmp_path, "policy", "check")[0] != 0


def test_a_plugin_is_looked_at_and_pinned(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "plugin.toml").write_text('name = "mine"\nversion = "1"\n')
    code, found, _ = pelton(tmp_path, "plugins", "verify", str(folder))
    assert (code, found["name"]) == (0, "mine")
    pinned = f'[plugins.mine]\npath = "mine"\ndigest = "{found["digest"]}"\n'
    (tmp_path / "pelton.toml").write_text(pinned)
    assert pelton(tmp_path, "plugins", "verify")[0] == 0
    (folder / "more").touch()
    code, _, complaint = pelton(tmp_path, "plugins", "verify")
    assert code != 0
    assert "another is pinned" in complaint
