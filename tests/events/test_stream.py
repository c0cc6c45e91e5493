"""What clients see of events, in the protocol's own shapes."""

from __future__ import annotations

from hypothesis import given, settings

from pelton.events.a2a import Message, Part, Role, text_of
from pelton.events.card import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from pelton.events.events import MessageAnswered, TaskArtifactUpdated, TaskStatusUpdated
from pelton.events.stream import shown
from pelton.events.upcast import decode_commit
from tests.a2a import validate
from tests.moves import stories
from tests.stories import Story
from tests.strategies import canonical


@settings(max_examples=30)
@given(stories())
def test_what_a_stream_shows_is_what_the_protocol_allows(story: Story) -> None:
    for _, data in story.commits:
        for event in decode_commit(data).data.events:
            response = shown(event, story.context)
            visible = isinstance(event, TaskStatusUpdated | TaskArtifactUpdated | MessageAnswered)
            assert (response is not None) == visible
            if response is not None:
                value = canonical(response)
                assert len(value) == 1
                validate("Stream Response", value)


def test_the_smallest_card_has_all_that_must_be_there() -> None:
    card = AgentCard(
        name="Echo",
        description="Says it again.",
        supported_interfaces=(
            AgentInterface(
                url="http://localhost/echo", protocol_binding="JSONRPC", protocol_version="1.0"
            ),
        ),
        version="1",
        capabilities=AgentCapabilities(streaming=True, push_notifications=False),
        default_input_modes=("text/plain",),
        default_output_modes=("text/plain",),
        skills=(AgentSkill(id="echo", name="Echo", description="Echoes.", tags=("text",)),),
    )
    value = canonical(card)
    validate("Agent Card", value)
    assert value["capabilities"] == {"streaming": True, "pushNotifications": False}


def test_unset_members_are_left_out_and_empty_content_is_not() -> None:
    message = Message(message_id="m", role=Role.USER, parts=(Part(text=""), Part(data=None)))
    assert canonical(message) == {
        "messageId": "m",
        "role": "ROLE_USER",
        "parts": [{"text": ""}, {"data": None}],
    }
    assert text_of(message.parts) == ""
