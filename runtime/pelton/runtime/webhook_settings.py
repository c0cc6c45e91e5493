"""The settings of agents elsewhere that turns are posted to."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from pelton.runtime.setting_types import Secret, Section


class WebhookSettings(Section, frozen=True, kw_only=True):
    """Agents at an endpoint elsewhere, `webhook:URL`."""

    secret: Annotated[
        Secret | None,
        Meta(
            description="What posts and callbacks are signed with, `whsec_…`; two with a space"
            " between them while one is exchanged for the other. Executors have it, and the bridge"
            " that is called back."
        ),
    ] = None
    allow: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins that may be posted to beyond public https addresses:"
            " `http://127.0.0.1:8080`."
        ),
    ] = ()
    callback: Annotated[
        str,
        Meta(
            description="URL of a bridge of this log, with its tenant's name if it has several:"
            " endpoints may then answer 202, and call back there later."
        ),
    ] = ""
    callback_within: Annotated[
        float,
        Meta(gt=0, le=366 * 86400, description="Seconds that such an answer may take."),
    ] = 3600.0
