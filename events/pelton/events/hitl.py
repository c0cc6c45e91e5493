"""Questions to people and their answers, in the shape of the A2A extension `hitl/v1`.

The extension is kagent's (`URI`). A question's message carries a request in its metadata under the
URI and lists it in `extensions`; an answer carries a response in the same way. A client that knows
nothing of it reads the question's text and answers in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from pelton.events.a2a import JsonObject, Message, text_of

URI: Final = "https://kagent.dev/extensions/hitl/v1"
"""The extension's URI."""

_YES: Final = frozenset({"yes", "y", "ok", "approve", "approved"})
_NO: Final = frozenset({"no", "n", "reject", "rejected", "deny", "denied"})


class Reply(msgspec.Struct, frozen=True):
    """What a person has answered: a decision if it is one, else a text, and data if there are.

    `id` names the request that is answered, where the client says so.
    """

    id: str = ""
    text: str = ""
    data: Any = msgspec.UNSET
    approved: bool | None = None
    reason: str = ""


def question(key: str, text: str, choices: Sequence[str]) -> JsonObject:
    """Return the request that asks a person something."""
    asked: JsonObject = {"question": text}
    if choices:
        asked["choices"] = list(choices)
    return {"type": "ask_user_request", "id": key, "questions": [asked]}


def approval(key: str, tool: str, args: Mapping[str, Any], hint: str) -> JsonObject:
    """Return the request that asks a person whether a tool may be called."""
    call = {"id": key, "call_id": key, "name": tool, "args": dict(args)}
    return {"type": "tool_approval_request", "hint": hint, "tools": [call]}


def approves(message: Message) -> bool:
    """Return whether a question asks for a decision about a tool, not for words."""
    asked = (message.metadata or {}).get(URI)
    return isinstance(asked, dict) and "tools" in cast("JsonObject", asked)


def answer(key: str, text: str) -> JsonObject:
    """Return the response that answers a question."""
    return {"type": "ask_user_response", "id": key, "answers": [{"answer": [text]}]}


def decision(key: str, *, approved: bool, reason: str = "") -> JsonObject:
    """Return the response that decides about a tool."""
    made: JsonObject = {"id": key, "approved": approved}
    if reason:
        made["rejection_reason"] = reason
    return {"type": "tool_approval_response", "approvals": [made]}


def answered(message: Message) -> str:
    """Return the id of the request that a message answers, or nothing if it does not say."""
    return _structured(message).id


def reply(message: Message) -> Reply:
    """Return what a message answers, in the extension's shape or in words."""
    found = _structured(message)
    text = found.text or text_of(message.parts)
    data = next((p.data for p in message.parts if p.data is not msgspec.UNSET), msgspec.UNSET)
    approved, reason = found.approved, found.reason
    if not found.id:
        word, _, rest = text.strip().partition(" ")
        if (word := word.lower().rstrip(".,:;!")) in _YES | _NO:
            approved, reason = word in _YES, rest.strip()
    return Reply(found.id, text, data, approved, reason)


def _structured(message: Message) -> Reply:
    """Return what a message says in the extension's shape, which it lists; else an empty reply."""
    said = (message.metadata or {}).get(URI)
    if URI not in message.extensions or not isinstance(said, dict):
        return Reply()
    response = cast("JsonObject", said)
    if response.get("type") == "ask_user_response":
        texts = [text for each in _objects(response, "answers") for text in _texts(each)]
        return Reply(id=str(response.get("id", "")), text=", ".join(texts))
    if response.get("type") == "tool_approval_response":
        for made in _objects(response, "approvals"):
            reason = str(made.get("rejection_reason", ""))
            return Reply(
                id=str(made.get("id", "")), approved=made.get("approved") is True, reason=reason
            )
    return Reply()


def _objects(value: JsonObject, member: str) -> list[JsonObject]:
    return [cast("JsonObject", item) for item in _list(value, member) if isinstance(item, dict)]


def _texts(value: JsonObject) -> list[str]:
    return [str(item) for item in _list(value, "answer")]


def _list(value: JsonObject, member: str) -> list[Any]:
    try:
        return msgspec.convert(value.get(member), list[Any])
    except msgspec.ValidationError:
        return []  # what somebody else wrote may be anything
