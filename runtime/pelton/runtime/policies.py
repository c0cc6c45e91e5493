"""Policies in force: rules, bounds and schemas, asked about a call before it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pelton.events.calls import Call, Kind
from pelton.events.envelope import digest, encode
from pelton.events.errors import InvalidInput
from pelton.events.policy import Bounds, Said, judge
from pelton.events.ruling import Ruling
from pelton.runtime.equipment_settings import PolicySettings
from pelton.runtime.rules import Rule, RuleFailed


class Policy:
    """A policy that can be asked. `name` says whose it is: nothing for that of all agents."""

    def __init__(self, settings: PolicySettings, name: str = "") -> None:
        """Read a policy.

        Raises:
            InvalidInput: a rule or a schema is none.
        """
        self.name = name
        texts = {each: _text(rule) for each, rule in settings.rules.items()}
        self._rules = {each: _rule(each, text) for each, text in texts.items()}
        self._schemas = {tool: _validator(tool, given) for tool, given in settings.schemas.items()}
        self._approvers = settings.approvers
        self.bounds = Bounds(
            tools=settings.tools,
            steps=settings.max_steps or None,
            delegations=settings.max_delegations or None,
            tokens=settings.max_tokens or None,
            cost=settings.max_cost or None,
            seconds=settings.max_seconds or None,
            untrusted=settings.untrusted,
            writes=Ruling(settings.writes),
            egress=tuple(each.lower() for each in settings.egress),
        )
        self.digest = digest(encode([self.bounds, settings.schemas, settings.approvers, texts]))

    def judges(self, kind: Kind) -> bool:
        """Whether it may have anything against a call of a kind: bounds say nothing of messages."""
        return kind is not Kind.MESSAGE or bool(self._rules)

    def rule(self, call: Call, arguments: Any = None) -> Iterator[tuple[str, Said]]:
        """Yield what it has against a call, and in which name."""
        who = f"policy {self.name}".rstrip()
        for said in judge(call, self.bounds):
            yield who, said._replace(approvers=self._approvers)
        if call.tool in self._schemas and (why := self._schemas[call.tool](arguments)):
            yield who, Said(Ruling.DENY, f"The arguments do not fit: {why}")
        for name, rule in self._rules.items():
            try:
                ruling, why = rule.of(call), f"The rule {name!r} says so."
            except RuleFailed:  # what it says of the call may have secrets
                ruling, why = Ruling.DENY, f"The rule {name!r} cannot tell of it."
            if ruling is not Ruling.ALLOW:
                yield f"{who} rule {name}", Said(ruling, why, self._approvers)


def _text(rule: str) -> str:
    """Return the text of a rule: the name of a file that is there stands for what it holds."""
    try:
        return Path(rule).read_text(encoding="utf-8") if Path(rule).is_file() else rule
    except (OSError, ValueError):  # a rule may be longer than a name, or hold what none may
        return rule


def _rule(name: str, text: str) -> Rule:
    try:
        return Rule(text)
    except InvalidInput as error:
        raise InvalidInput(f"the rule {name!r}: {error}", field=name) from error


def _validator(tool: str, given: Mapping[str, Any]) -> Callable[[Any], str]:
    """Return what tells why arguments do not fit a schema.

    Raises:
        InvalidInput: it is none, or what reads schemas is not installed.
    """
    try:
        from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415  few need it
    except ModuleNotFoundError as error:
        raise InvalidInput("schemas need more: pip install 'pelton[policy]'") from error
    schema = dict(given)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise InvalidInput(f"the schema of {tool!r}: {error.message}", field=tool) from error
    validator: Any = Draft202012Validator(schema)

    def why(arguments: Any) -> str:
        for error in validator.iter_errors(arguments):
            where = ".".join(str(part) for part in error.absolute_path)
            return f"{error.validator} at {where or 'the top'}."  # values may be secrets
        return ""

    return why
