"""The log on a NATS server with JetStream (laws 2 to 6), on nats-py."""

from typing import TYPE_CHECKING, Any

from pelton.runtime.jetstream.profiles import CLUSTER as CLUSTER
from pelton.runtime.jetstream.profiles import DURABLE as DURABLE
from pelton.runtime.jetstream.profiles import PROFILES as PROFILES
from pelton.runtime.jetstream.profiles import RELAXED as RELAXED
from pelton.runtime.jetstream.profiles import Profile as Profile
from pelton.runtime.jetstream.profiles import profile as profile

if TYPE_CHECKING:
    from pelton.runtime.jetstream.log import JetStreamLog as JetStreamLog


def __getattr__(name: str) -> Any:
    """Import nats-py when it is needed: who only asks for a profile is spared 0.2 s."""
    if name != "JetStreamLog":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pelton.runtime.jetstream.log import JetStreamLog  # noqa: PLC0415

    return JetStreamLog
