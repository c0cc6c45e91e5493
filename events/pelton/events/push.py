"""The events of push notifications: where a task's updates are posted to, and how far they are.

They live on `evt.<agent>._push.<task>`, one aggregate for each task that has ever had a config.
"""

from __future__ import annotations

import enum

from pelton.events.a2a import Count
from pelton.events.event import Event


class PushEnd(enum.StrEnum):
    """Why nothing more is posted for a config."""

    COMPLETE = "complete"
    """The task has ended, and all that happened to it was delivered."""
    GIVEN_UP = "given-up"
    """A notification was tried as often as may be."""
    GONE = "gone"
    """The receiver has answered 410: it wants nothing more."""
    REFUSED = "refused"
    """The message that the config came with was refused, or never came."""


class PushEvent(Event, frozen=True, kw_only=True):
    """The base of the events of one config of a task."""

    task_id: str
    config_id: str


class PushConfigured(PushEvent, frozen=True, kw_only=True, tag="PushConfigured.v1"):
    """What happens to a task after its event `after` is to be posted to a URL.

    URL, token and credentials are in `sealed`, which only a holder of the key `key_id` can open;
    `origin` is the part of the URL that names the receiver. `command_id` is the message that the
    config came with, if it came with one. `protocol` is the version of A2A that is posted. Under an
    id that there is already, the config is another one from here on.
    """

    sealed: str
    key_id: str
    origin: str
    after: Count
    command_id: str = ""
    protocol: str = "1.0"


class PushRemoved(PushEvent, frozen=True, kw_only=True, tag="PushRemoved.v1"):
    """A config is no more: nothing is posted from here on."""


class PushDelivered(PushEvent, frozen=True, kw_only=True, tag="PushDelivered.v1"):
    """The receiver has all up to the event `sequence` of the task."""

    sequence: Count


class PushFailed(PushEvent, frozen=True, kw_only=True, tag="PushFailed.v1"):
    """The notification of the event `sequence` was not taken, at the attempt of that number.

    `reason` is a code, never the receiver's own words. It is tried again at `retry` (RFC 3339).
    """

    sequence: Count
    attempt: Count
    reason: str
    retry: str


class PushEnded(PushEvent, frozen=True, kw_only=True, tag="PushEnded.v1"):
    """Nothing more is posted for a config.

    If it was given up, that is for `reason` after so many `attempts` at one notification; what the
    receiver has not got is posted once the config is created anew under its id.
    """

    end: PushEnd
    attempts: Count = 0
    reason: str = ""


AnyPushEvent = PushConfigured | PushRemoved | PushDelivered | PushFailed | PushEnded
"""The events of push notifications, which are no context's."""
