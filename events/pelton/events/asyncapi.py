"""The contract for other languages: an AsyncAPI 3 document of subjects, headers and records.

It is made from the types and committed as `schemas/asyncapi.json`; what it says of subjects is held
to `subjects.py` by a test.
"""

from __future__ import annotations

import inspect
import re
from typing import Final

import msgspec

from pelton.events.commands import COMMANDS, RemoveSchedule, SetSchedule
from pelton.events.commit import Commit
from pelton.events.envelope import encode
from pelton.events.schema import CONTRACT, Json, schemas, versioned

_REF: Final = re.compile(r'"\$ref":"(?:#/\$defs/|pelton:)([^"]+)"')


def asyncapi() -> Json:
    """Return the AsyncAPI 3 document: who sends what on which subject, with which headers."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:pelton",
        "info": {
            "title": "pelton",
            "version": CONTRACT,
            "description": "A2A agents on NATS JetStream. Commands ask, commits say what happened;"
            " both are CloudEvents in JSON, in one stream for each tenant.",
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "tenant": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "A NATS account with JetStream: one for each tenant.",
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": _components(),
            "parameters": {
                "agent": {"description": "The agent's name: a slug of a-z, 0-9, `-` and `_`."},
                "context": {
                    "description": "The token of the context's id: the id itself if it is 1 to 64"
                    " of A-Z, a-z, 0-9, `_` and `-`, the first a letter or digit; else `=` and the"
                    " base32hex of its UTF-8, in lower case and without padding."
                },
                "key": {
                    "description": "32 hexadecimal digits derived from tenant, principal, agent and"
                    " the key as the client has it."
                },
                "task": {"description": "The task's id, which is a token as it is."},
                "memory": {"description": "The memory's id: 32 hexadecimal digits."},
                "aggregate": {"description": "`keys`, or the id of a family of tokens."},
            },
        },
    }


def _refer(*path: str) -> Json:
    return {"$ref": "#/" + "/".join(path)}


_SCHEDULING: Final = tuple(versioned(command) for command in (SetSchedule, RemoveSchedule))
_COMMANDS: Final = tuple(
    versioned(command) for command in COMMANDS if versioned(command) not in _SCHEDULING
)
_COMMIT: Final = (versioned(Commit),)

_CHANNELS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "commands": (
        "cmd.{agent}.{context}",
        "What was asked of a context, in order. Part of the stream LOG.",
        _COMMANDS,
    ),
    "commits": (
        "evt.{agent}.{context}",
        "What happened in a context. Part of LOG; appends state the last sequence on the subject.",
        _COMMIT,
    ),
    "agentCommits": (
        "evt.{agent}._agent",
        "What happened to an agent itself: its profiles, and how it stands. Part of LOG.",
        _COMMIT,
    ),
    "scheduleCommands": (
        "cmd.{agent}._schedules",
        "What was asked of the schedules of an agent. Part of LOG.",
        _SCHEDULING,
    ),
    "scheduleCommits": (
        "evt.{agent}._schedules",
        "What happened to the schedules of an agent: set, fired, missed. Part of LOG.",
        _COMMIT,
    ),
    "keyClaims": (
        "evt.{agent}._key.{key}",
        "Which request a principal's idempotency key stands for: one commit. Part of LOG.",
        _COMMIT,
    ),
    "pushCommits": (
        "evt.{agent}._push.{task}",
        "Where a task's updates are posted to, and how far they are. Part of LOG.",
        _COMMIT,
    ),
    "memoryCommits": (
        "evt._memory.{memory}",
        "What became of a memory, version by version. Part of LOG.",
        _COMMIT,
    ),
    "accessCommits": (
        "evt._access.{aggregate}",
        "Who may do what: the tenant's API keys are the aggregate `keys`. Part of LOG.",
        _COMMIT,
    ),
    "liveCommands": (
        "live.cmd.{agent}.{context}",
        "A copy of each command just stored: a hint that can be lost.",
        tuple(f"live {name}" for name in _COMMANDS),
    ),
    "liveScheduleCommands": (
        "live.cmd.{agent}._schedules",
        "A copy of each command about schedules just stored: a hint that can be lost.",
        tuple(f"live {name}" for name in _SCHEDULING),
    ),
    "liveCommits": (
        "live.evt.{agent}.{context}",
        "A copy of each commit just stored: a hint that can be lost.",
        tuple(f"live {name}" for name in _COMMIT),
    ),
}

_OPERATIONS: Final = {
    "askAgent": ("send", "commands", "Publish a command; it is accepted once the server says so."),
    "hearCommands": (
        "receive",
        "commands",
        "Take commands from the durable pull consumer `bells-{agent}`, shared by all executors.",
    ),
    "steerTurn": ("receive", "liveCommands", "Hear cancellations while a turn runs."),
    "commitEvents": ("send", "commits", "Append the events of a decision; refused if outrun."),
    "registerAgent": ("send", "agentCommits", "Say that an agent is served, with its profile."),
    "changeAccess": ("send", "accessCommits", "Make, rotate or revoke an API key."),
    "hearAccess": ("receive", "accessCommits", "Read the API keys, as hashes of their secrets."),
    "findAgents": ("receive", "agentCommits", "Read the profiles of the agents."),
    "schedule": ("send", "scheduleCommands", "Set or remove a schedule of an agent."),
    "fireSchedules": ("send", "scheduleCommits", "Append what fires; refused if outrun."),
    "claimKey": ("send", "keyClaims", "Claim an idempotency key; refused if it is claimed."),
    "configurePush": ("send", "pushCommits", "Create or delete a config; refused if outrun."),
    "deliverPush": ("receive", "pushCommits", "Find what is to be posted, and how far it is."),
    "remember": ("send", "memoryCommits", "Append a version of a memory; refused if outrun."),
    "readMemory": ("receive", "memoryCommits", "Read what a memory says, and what it has said."),
    "followContext": ("receive", "liveCommits", "Follow a context; read what was missed."),
}


def _channels() -> Json:
    return {
        name: {
            "address": address,
            "description": description,
            "messages": {_key(message): _message(message) for message in messages},
            "parameters": {
                part: _refer("components", "parameters", part)
                for part in ("agent", "context", "key", "task", "memory", "aggregate")
                if f"{{{part}}}" in address
            },
        }
        for name, (address, description, messages) in _CHANNELS.items()
    }


def _operations() -> Json:
    return {
        name: {
            "action": action,
            "channel": _refer("channels", channel),
            "summary": summary,
            "messages": [
                _refer("channels", channel, "messages", _key(message))
                for message in _CHANNELS[channel][2]
            ],
        }
        for name, (action, channel, summary) in _OPERATIONS.items()
    }


def _key(message: str) -> str:
    """Return a key of the document, as in `liveSendMessage-v1`."""
    return message.replace(" ", "").replace(".", "-")


def _message(message: str) -> Json:
    return _refer("components", "messages", _key(message))


def _messages() -> Json:
    found: Json = {}
    for struct in (*COMMANDS, Commit):
        name = versioned(struct)
        described = inspect.cleandoc(struct.__doc__ or "").partition("\n")[0]
        for prefix, headers in (("", _SENT[struct is Commit]), ("live ", _LIVE)):
            found[_key(prefix + name)] = {
                "name": f"pelton.{name}",
                "title": struct.__name__,
                "summary": described,
                "contentType": "application/json",
                "headers": headers,
                "payload": _refer("components", "schemas", _key(name)),
            }
    return found


def _headers(required: tuple[str, ...], **described: str) -> Json:
    properties = {
        name.replace("_", "-"): {"type": "string", "description": text}
        for name, text in described.items()
    }
    return {"type": "object", "properties": properties, "required": list(required)}


_ID: Final = (
    "The record's `id`, where no sequence is expected: a record that is published again with it"
    " within five minutes is stored once."
)
_NAME: Final = "The record's `id`, by which whoever expects a sequence may know its own record."
_EXPECT: Final = (
    "The sequence of the last record on the subject, `0` if there is none: the append is refused"
    " with error 10071 when another one came first."
)
_SENT: Final = {
    False: _headers(
        (),
        Nats_Msg_Id=_ID,
        Pelton_Id=_NAME,
        Nats_Expected_Last_Subject_Sequence="`0` for a command with `opens`, else absent.",
    ),
    True: _headers(
        ("Nats-Expected-Last-Subject-Sequence",),
        Pelton_Id=_NAME,
        Nats_Expected_Last_Subject_Sequence=_EXPECT,
    ),
}
"""The headers of commands, and those of commits."""

_LIVE: Final = _headers(
    ("Nats-Sequence", "Nats-Last-Sequence"),
    Nats_Sequence="The record's sequence in LOG.",
    Nats_Last_Sequence="The sequence of the record before it on its subject, `0` if there is none.",
    Nats_Msg_Id=_ID,
    Pelton_Id=_NAME,
)


def _components() -> Json:
    """Return all schemas as components of the document, referring to each other within it."""
    found: Json = {}
    for name, schema in schemas().items():
        own = {key: member for key, member in schema.items() if not key.startswith("$")}
        for key, definition in {**schema.get("$defs", {}), _key(name): own}.items():
            within = _REF.sub(
                lambda ref: f'"$ref":"#/components/schemas/{_key(ref[1])}"',
                encode(definition).decode(),
            )
            found[key] = msgspec.json.decode(within)
    return found
