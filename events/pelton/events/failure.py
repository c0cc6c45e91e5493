"""Failures: of turns, of steps, and of what runs them."""

from __future__ import annotations

import enum

from pelton.events.a2a import A2A


class FailureClass(enum.StrEnum):
    """Why a turn or a step failed, as far as it decides what to do next."""

    TIMEOUT = "timeout"
    VALIDATION = "validation"
    AUTHORISATION = "authorisation"
    POLICY = "policy"
    PROVIDER = "provider"
    DEPENDENCY = "dependency-unavailable"
    SESSION_LOST = "session-lost"
    AGENT = "agent"
    NONDETERMINISM = "nondeterminism"
    OUTCOME_UNKNOWN = "outcome-unknown"
    INTERNAL = "internal"


class Failure(A2A, frozen=True, kw_only=True):
    """A failure: its class, what a client may read, and the exception's type for the developer."""

    kind: FailureClass
    message: str
    exception: str = ""
