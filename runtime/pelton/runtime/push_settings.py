"""The settings of push notifications."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from pelton.runtime.setting_types import Section


class PushSettings(Section, frozen=True, kw_only=True):
    """Push notifications: posting to clients what happens to their tasks."""

    enabled: Annotated[
        bool,
        Meta(
            description="Whether bridges with `push.keys` send push notifications, as agents' cards"
            " then say."
        ),
    ] = True
    keys: Annotated[
        str,
        Meta(
            description="File with the keys that push configs are sealed and notifications signed"
            " with, as `pelton push key` makes it, the same at every bridge. Without it, nothing is"
            " sent; `pelton dev` makes one in its data directory. Needs the extra `pelton[push]`."
        ),
    ] = ""
    allow: Annotated[
        tuple[str, ...],
        Meta(
            description="Receivers that may be posted to beyond public https addresses:"
            " `http://localhost`, `https://hooks.internal:9443`; without a port, on any. Whatever"
            " addresses such a host has are reached, by the clients of all tenants."
        ),
    ] = ()
    attempts: Annotated[
        int,
        Meta(ge=1, description="How often a notification is tried before its config is given up."),
    ] = 16
    first_wait: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds after the first attempt; each next wait is twice as long, and up"
            " to half of it is left to chance.",
        ),
    ] = 1.0
    longest_wait: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds that lie between two attempts at most, whatever the receiver asks"
            " for.",
        ),
    ] = 3600.0
