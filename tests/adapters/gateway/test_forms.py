"""What is the same question, and how an answer is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from pelton.adapters.gateway.answer import Reading
from pelton.adapters.gateway.dialects import dialect_of
from pelton.adapters.gateway.keeping import PAGE, Keeping
from pelton.adapters.gateway.question import Part, Question
from pelton.events.a2a import BlobRef
from pelton.events.envelope import digest
from pelton.events.redact import STANDARD
from tests.secrets import PREFIXED


def question(
    body: dict[str, Any], query: str = "", known: Mapping[bytes, Part] | None = None
) -> Question:
    path = "/v1/messages"
    dialect = dialect_of("anthropic", path)
    assert dialect is not None
    return Question(dialect, path, query, msgspec.json.encode(body), headers={}, known=known or {})


SAID = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
BODY: dict[str, Any] = {"model": "m", "messages": [SAID]}


@pytest.mark.parametrize(
    "other",
    [
        BODY | {"metadata": {"user_id": "device-1"}},
        BODY | {"messages": [{"role": "user", "content": "hi"}]},
        BODY
        | {
            "messages": [
                SAID | {"content": [{**SAID["content"][0], "cache_control": {"type": "x"}}]}  # type: ignore[dict-item]
            ]
        },
        {"messages": [SAID], "model": "m"},
    ],
)
def test_what_clients_say_of_themselves_makes_no_other_question(other: dict[str, Any]) -> None:
    assert question(other).digest == question(BODY).digest


@pytest.mark.parametrize(
    "other", [BODY | {"model": "n"}, BODY | {"stream": True}, BODY | {"messages": [SAID, SAID]}]
)
def test_what_a_model_heeds_does(other: dict[str, Any]) -> None:
    assert question(other).digest != question(BODY).digest


def test_the_head_of_claude_and_a_key_in_the_address_are_left_out() -> None:
    head = {"type": "text", "text": "x-anthropic-billing-header: v=2"}
    system = {"type": "text", "text": "Be brief."}
    one, other = BODY | {"system": [head, system]}, BODY | {"system": "Be brief."}
    assert (
        question(one, query="beta=true&key=k").digest == question(other, query="beta=true").digest
    )
    assert question(one, query="beta=true&key=k").query == "beta=true"


END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def events(*texts: str) -> bytes:
    return b"".join(
        b"event: content_block_delta\ndata: "
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n'
        % text.encode()
        for text in texts
    )


def test_a_text_in_pieces_is_kept_as_one_and_said_again() -> None:
    """So that a secret is found whose pieces came one after the other."""
    dialect = dialect_of("anthropic", "/v1/messages")
    assert dialect is not None
    key = PREFIXED["github-token"]
    reading = Reading(dialect, "text/event-stream")
    data = events("It is ", key[:9], key[9:], ".") + END
    for at in range(0, len(data), 7):  # wherever the network cuts it
        list(reading.feed(data[at : at + 7]))
    assert reading.ended
    kept = reading.kept()
    assert kept.events is not None
    assert [name for name, _ in kept.events] == ["content_block_delta", "message_stop"]
    assert key in str(kept.events)
    assert key not in str(STANDARD.clean(kept.events))
    assert b"".join(kept.said()) == events(f"It is {key}.") + END


def test_pieces_of_other_texts_are_not_joined() -> None:
    dialect = dialect_of("openai", "/chat/completions")
    assert dialect is not None
    reading = Reading(dialect, "text/event-stream")
    for index in (0, 1):
        data = (
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":%d,"function":'
            b'{"arguments":"{}"}}]}}]}\n\n' % index
        )
        list(reading.feed(data))
    kept = reading.kept()
    assert kept.events is not None
    assert len(kept.events) == 2


class Store:
    """Blobs in memory."""

    redactor = STANDARD
    seals = False
    vault = None

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    async def put(self, data: bytes, member: str) -> BlobRef:
        ref = BlobRef(sha256=digest(data), size=len(data), member=member)
        self.data[ref.sha256] = data
        return ref

    def messages(self, record: Any, before: Mapping[str, Any]) -> list[Any]:
        """Return the messages of a record, which may go on from those of one `before`."""
        found: Any = record["body"]["messages"]
        if not hasattr(found, "keys"):
            return [self._read(each) for each in found]
        if "pages" in found:
            return [self._read(each) for page in found["pages"] for each in self._read(page)]
        begun = self.messages(before[found["after"]], before)
        return [*begun, *(self._read(each) for each in found["parts"])]

    def _read(self, kept: Any) -> Any:
        return msgspec.json.decode(self.data[kept["blob"]["sha256"]]) if "blob" in kept else kept


async def test_what_was_said_before_is_kept_once() -> None:
    store = Store()
    said = [{"role": "user", "content": f"{at} " * 200} for at in range(10 * PAGE)]
    sizes: list[int] = []
    for begin in (1, len(said) // 2):  # another attempt begins with much that was said
        keeping, records = Keeping(store), dict[str, Any]()  # type: ignore[arg-type]
        for at in range(begin, len(said)):
            body = {"model": "m", "messages": said[:at]}
            asked = question(body, known=keeping.known)
            assert asked.digest == question(body).digest, "however much of it was known"
            records[f"call {at}"] = kept = await keeping.question(asked)
            keeping.recorded(asked, f"call {at}")
            assert store.messages(kept, records) == said[:at]
            sizes.append(len(str(kept)))
    assert sum(map(len, store.data.values())) < 2 * len(str(said)), "not the square of it"
    assert max(sizes) < 1500


async def test_conversations_side_by_side_go_on_each_from_its_own() -> None:
    store, records = Store(), dict[str, Any]()
    keeping = Keeping(store)  # type: ignore[arg-type]
    lines: dict[str, list[Any]] = {"one": [], "other": []}
    for at in range(8):
        for name, said in lines.items():
            said.append({"role": "user", "content": f"{name} {at}"})
            asked = question({"model": "m", "messages": said}, known=keeping.known)
            records[f"{name} {at}"] = kept = await keeping.question(asked)
            keeping.recorded(asked, f"{name} {at}")
            assert store.messages(kept, records) == said
            if at:
                assert kept["body"]["messages"]["after"] == f"{name} {at - 1}"
