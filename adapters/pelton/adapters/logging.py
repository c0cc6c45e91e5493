"""What processes say of themselves: lines on standard error, for people or for machines.

Members that are named like secrets, and what looks like one (`pelton.events.redact`), never reach a
line (S23): they are replaced here, whoever logged them. Set up once, by the process that owns
standard error.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from pelton.adapters.a2a.asked import ASKED
from pelton.events.redact import STANDARD, Redactor
from pelton.runtime.observer import ATTEMPTED, Attempted

HIDDEN: Final = "***"

_NAMED: Final = tuple(name for name in Attempted._fields if name != "traceparent")

_SECRET_KEY: Final = re.compile(
    r"pass(word|wd|phrase)?|secret|token|authorization|cookie|credentials?|(api|private|access)_?key"
    r"|nkey|seed|jwt",
    re.IGNORECASE,
)
_COUNT_KEY: Final = re.compile(r"tokens|(max|min|input|output|total)_tokens?", re.IGNORECASE)
_SECRET_TEXT: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@"  # what stands before the host
    r"|(?P<kind>\b(bearer|basic)\s+)[A-Za-z0-9._~+/=-]{16,}",
    re.IGNORECASE,
)
"""What a line does without although it may be no secret."""

_redactor = STANDARD


def _hidden(match: re.Match[str]) -> str:
    return f"{match['scheme']}{HIDDEN}@" if match["scheme"] else f"{match['kind']}{HIDDEN}"


def _scrubbed(text: str) -> str:
    return _redactor.text(_SECRET_TEXT.sub(_hidden, text))


def redact(value: Any, key: str = "") -> Any:
    """Return a value as it may be shown: without the secrets known by `key` or by their shape."""
    if _SECRET_KEY.search(key) and not _COUNT_KEY.fullmatch(key):
        return HIDDEN
    match value:
        case str():
            return _scrubbed(value)
        case dict():
            members = cast("dict[object, object]", value)
            return {str(name): redact(each, str(name)) for name, each in members.items()}
        case list() | tuple():
            return [redact(each) for each in cast("Sequence[object]", value)]
        case None | bool() | int() | float():
            return value
        case _:
            return _scrubbed(str(value))


def _correlate(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Name the request that is being answered, or the attempt that is under way (AS-7)."""
    if asked := ASKED.get().id:
        event.setdefault("correlationid", asked)
    if attempted := ATTEMPTED.get():
        for name in _NAMED:
            event.setdefault(name, getattr(attempted, name))
    return event


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    kept = {"exc_info": event.pop("exc_info")} if "exc_info" in event else {}
    return {name: redact(value, name) for name, value in event.items()} | kept


def _redact_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if isinstance(text := event.get("exception"), str):
        event["exception"] = redact(text)
    return event


def set_up(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "console", "json"] = "auto",
    redactor: Redactor = STANDARD,
) -> None:
    """Send everything that is logged, by structlog or by `logging`, to standard error."""
    global _redactor  # noqa: PLW0603  there is one standard error
    _redactor = redactor if redactor.enabled else STANDARD
    json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _correlate,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _redact,
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _redact_text,
    ]
    last.append(
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(max(root.level, logging.WARNING))  # we say that ourselves
