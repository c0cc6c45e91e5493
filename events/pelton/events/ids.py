"""Identities: what an id from outside may be, how it becomes a subject token, how ids are derived.

This is the one place where a string from outside is let in. An id that passed `check_id` is safe to
store and to print; to become part of a subject, a file name or a key it goes through `token`, which
is injective, so two ids never share a subject.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from typing import Final

from pelton.events.errors import InvalidInput

MAX_ID_BYTES: Final = 128
"""The longest id from outside, in bytes of UTF-8."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_AGENT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_MEMORY: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ENCODED: Final = "="
# Control characters and lone surrogates: the same set whatever Unicode a reader knows.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_id(value: str, field: str) -> str:
    """Return `value` if it may be an id from outside.

    It has 1 to `MAX_ID_BYTES` bytes and no control character or lone surrogate. Nothing is
    normalised: ids that differ in any byte are different ids.

    Raises:
        InvalidInput: it may not; `field` is named in the error.
    """
    if not value:
        raise InvalidInput(f"{field} must not be empty", field=field)
    if len(value) > MAX_ID_BYTES:
        raise InvalidInput(f"{field} is longer than {MAX_ID_BYTES} bytes", field=field)
    if _FORBIDDEN.search(value):
        raise InvalidInput(f"{field} holds a character that ids may not have", field=field)
    if len(value.encode()) > MAX_ID_BYTES:
        raise InvalidInput(f"{field} is longer than {MAX_ID_BYTES} bytes", field=field)
    return value


@lru_cache(maxsize=1024)  # they are few, and in every subject
def check_agent(name: str) -> str:
    """Return `name` if it may name an agent: a lower-case slug of at most 63 characters.

    Raises:
        InvalidInput: it may not.
    """
    if not _AGENT.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot name an agent: use 1 to 63 of a-z, 0-9, '-' and '_',"
            " the first a letter or a digit",
            field="agent",
        )
    return name


def check_memory(value: str) -> str:
    """Return `value` if it may be the id of a memory: 32 hexadecimal digits, as `derive` makes.

    Raises:
        InvalidInput: it may not.
    """
    if not _MEMORY.fullmatch(value):
        raise InvalidInput("this is not the id of a memory", field="memoryId")
    return value


def token(value: str) -> str:
    """Return the subject token of an id: itself if it is plain, else `=` and its base32hex.

    The result is one subject token of at most 206 characters, without wildcards, and stands for
    no other id. `untoken` is its inverse.

    Raises:
        InvalidInput: `value` may not be an id.
    """
    if _PLAIN.fullmatch(value):
        return value
    check_id(value, "id")
    return _ENCODED + base64.b32hexencode(value.encode()).decode().rstrip("=").lower()


def untoken(text: str) -> str:
    """Return the id that `text` is the token of.

    Raises:
        InvalidInput: `text` is no token that `token` makes.
    """
    if _PLAIN.fullmatch(text):
        return text
    if text.startswith(_ENCODED):
        digits = text[1:].upper()
        try:
            value = base64.b32hexdecode(digits + "=" * (-len(digits) % 8)).decode()
        except ValueError:
            value = ""
        if value and token(value) == text:
            return value
    raise InvalidInput(f"{text[:80]!r} is not a subject token", field="subject")


def derive(*parts: str) -> str:
    """Return an id that follows from `parts` alone: 32 hexadecimal digits (law 6).

    Lengths are hashed with the parts, so that no two lists of parts run together.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:32]


_TASK: Final = re.compile(r"(?P<context>.+)-(?P<suffix>[0-9a-f]{16})", re.ASCII)


def task_id(context_id: str, command_id: str) -> str:
    """Return the id of the task that a command opens in a context.

    It leads back to its context without a look-up (`context_of`), and the same command always
    opens the same task.
    """
    return f"{token(context_id)}-{derive(context_id, command_id)[:16]}"


def context_of(task: str) -> str:
    """Return the id of the context that a task id leads to.

    Raises:
        InvalidInput: `task` is not an id that `task_id` makes.
    """
    match = _TASK.fullmatch(task)
    if not match:
        raise InvalidInput("this is not the id of a task", field="taskId")
    return untoken(match["context"])
