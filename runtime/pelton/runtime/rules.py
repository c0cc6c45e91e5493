"""Rules of policies, in the Common Expression Language (CEL): what they say of a call.

A rule is one expression over `call` (`pelton.events.calls.Call`), which has no effect and comes to
an end. It says `"allow"`, `"ask"` or `"deny"`; or true, which is to deny, and false, to allow.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import ClassVar, Final

from pelton.events.calls import Call, Kind, Ruling
from pelton.events.errors import InvalidInput, PeltonError

_LONGEST: Final = 10_000
_WHEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STRINGS: Final = re.compile(r"""('|")(?:\\.|(?!\1).)*\1""", re.DOTALL)
_MEMBER: Final = re.compile(r"(?<![\w.])call\s*\.\s*(\w+)")
_MEMBERS: Final = f"a rule sees call, with {', '.join(Call.__struct_fields__)}"


class InvalidRule(InvalidInput):
    """A rule cannot be read, or asks for what no call has: the text says what, so mend it."""


class RuleFailed(PeltonError):
    """A rule could not tell of a call: mend the rule. What stands in the way denies such a call."""

    code: ClassVar[str] = "rule-failed"


class Rule:
    """A rule that can be asked."""

    def __init__(self, text: str) -> None:
        """Read a rule.

        Raises:
            InvalidRule: it is none, or what reads rules is not installed.
        """
        try:
            import cel  # noqa: PLC0415  only who has rules needs it
        except ModuleNotFoundError as error:
            raise InvalidRule("rules need more: pip install 'pelton[policy]'") from error
        if len(text) > _LONGEST:
            raise InvalidRule(f"a rule has at most {_LONGEST} characters")
        try:
            self._program = cel.compile(text)
        except (ValueError, RuntimeError) as error:
            raise InvalidRule(f"the rule cannot be read: {error}") from error
        for name in _MEMBER.findall(_STRINGS.sub("''", text)):  # also where no sample comes to
            if name not in Call.__struct_fields__:
                raise InvalidRule(f"a call has no member {name!r} ({_MEMBERS})")
        for kind in Kind:
            sample = Call(kind=kind, agent="a", principal="p", context="c", task="t", time=_WHEN)
            try:
                self.of(sample)
            except RuleFailed as error:
                if isinstance(error.__cause__, KeyError | RuntimeError):  # it names what is nothing
                    raise InvalidRule(f"{error} ({_MEMBERS})") from error

    def of(self, call: Call) -> Ruling:
        """Return what the rule says of a call.

        Raises:
            RuleFailed: it cannot tell, or says something that is no ruling.
        """
        try:
            said = self._program.execute(call.variables())
        except KeyError as error:
            raise RuleFailed(f"a call has no member {error}") from error
        except Exception as error:
            raise RuleFailed(f"the rule fails: {error}") from error
        if isinstance(said, bool):
            return Ruling.DENY if said else Ruling.ALLOW
        try:
            return Ruling(said)
        except ValueError:
            raise RuleFailed(
                f"the rule says {said!r}: let it say {', '.join(Ruling)}, true or false"
            ) from None
