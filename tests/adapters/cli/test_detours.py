"""Whether an agent's calls of models go through the gateway, as `pelton check` tells it."""

from __future__ import annotations

import pytest

from pelton.adapters.cli import detours
from pelton.runtime.gateway_settings import GatewaySettings

KEYS = {"ANTHROPIC_API_KEY": "key", "OPENAI_API_KEY": "key"}


@pytest.mark.parametrize(
    ("reference", "environ", "said"),
    [
        ("claude:opus-4", KEYS, "ok asked through the gateway: anthropic"),
        ("claude:opus-4", {}, "warn the executor has no key of anthropic"),
        ("cli:claude -p {prompt}", {"ANTHROPIC_BASE_URL": "http://proxy"}, "ok asked through"),
        ("cli+again:/opt/bin/codex exec", {}, "warn the executor has no key of openai"),
        ("acp:gemini --acp", KEYS, "warn the executor has no key of gemini"),
        ("acp+home:gemini --acp", KEYS, "warn it asks with its user's login"),
        ("codex+again+home:", KEYS, "warn it asks with its user's login"),
        ("hermes:gpt-5", KEYS, "ok asked through the gateway: openai"),
        ("crewai:crew:main", KEYS, "ok asked through the gateway: anthropic, openai"),
        ("crewai:crew:main", {}, "warn the executor has no provider's key"),
    ],
)
def test_which_way_they_go(reference: str, environ: dict[str, str], said: str) -> None:
    check = detours.models(reference, GatewaySettings(), environ)
    assert check is not None
    assert f"{check.state} {check.says}".startswith(said)
    assert bool(check.remedy) == (check.state == "warn")


@pytest.mark.parametrize("reference", ["agent.py", "cli:./shout.sh", "model:openai/gpt-5", "cli:'"])
def test_of_others_there_is_nothing_to_tell(reference: str) -> None:
    assert detours.models(reference, GatewaySettings(), {}) is None


def test_what_keeps_them_from_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    off = detours.models("claude:", GatewaySettings(enabled=False), KEYS)
    monkeypatch.setattr(detours, "lacks", {"gateway": ["aiohttp is not installed"]}.get)
    without = detours.models("claude:", GatewaySettings(), KEYS)
    assert [each and (each.state, each.remedy) for each in (off, without)] == [
        ("warn", "set gateway.enabled = true"),
        ("warn", "pip install 'pelton[gateway]'"),
    ]
