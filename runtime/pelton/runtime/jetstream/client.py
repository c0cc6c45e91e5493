"""The connection to NATS: questions with deadlines, and subscriptions, across reconnections.

An answer is one look-up in a dictionary; all deadlines are kept by one timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import structlog
from nats.aio.client import RawCredentials, Server

from pelton.runtime.clock import World
from pelton.runtime.jetstream.errors import hopeless, translated
from pelton.runtime.jetstream.lean import Deliver, LeanClient
from pelton.runtime.log import LogMisconfigured, LogUnavailable

_SWEEP: Final = 0.05
"""How often deadlines are looked at, in seconds."""

_PING: Final = 3
"""Seconds between pings; a connection is given up when two are not answered: 6 to 9 s."""

_DECORATED: Final = re.compile(
    r"BEGIN NATS USER JWT-+\n\S+\n.*BEGIN USER NKEY SEED-+\n(?P<seed>\S+)\n", re.DOTALL
)
"""A `.creds` file; nats-py looks for these lines for ever if they are not there."""

_log = structlog.get_logger(__name__)


class Unanswered(LogUnavailable):
    """One attempt brought no answer: whether it had an effect is unknown."""


class NoResponder(LogUnavailable):
    """The server says at once that nobody serves this subject now."""


class Reply(NamedTuple):
    """An answer: its headers as they came, and its data."""

    headers: bytes
    data: bytes


class _Waiting:
    """A question without an answer, or with some (`parts`) of its answers."""

    __slots__ = ("deadline", "future", "parts", "subject", "within")

    def __init__(
        self,
        future: asyncio.Future[Any],
        subject: str,
        within: float,
        deadline: float,
        parts: list[Reply] | None,
    ) -> None:
        self.future = future
        self.subject = subject
        self.within = within
        self.deadline = deadline
        self.parts = parts


class Subscription:
    """An open subscription."""

    def __init__(self, client: LeanClient, number: int) -> None:
        self._client = client
        self._number = number

    def silence(self) -> None:
        """Ask the server to send no more; what is on its way still comes."""
        self._client.silence(self._number)

    def close(self) -> None:
        """End it."""
        self._client.drop(self._number)


class Connection:
    """A connection that mends itself, for ever; given by `connect`."""

    def __init__(self, *, world: World) -> None:
        self._world = world
        self._client = LeanClient()
        self._loop = asyncio.get_running_loop()
        self._inbox = ""
        self._skip = 0
        self._inboxes = 0
        self._requests = 0
        self._waiting: dict[bytes, _Waiting] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._up = asyncio.Event()
        self._starting = True
        self._restored: list[Callable[[], None]] = []
        self._trouble_last: Exception | None = None

    @property
    def connected(self) -> bool:
        """Whether the server can be reached, as far as is known now."""
        return self._up.is_set() and self._client.is_connected

    @property
    def max_payload(self) -> int:
        """How many bytes a message may have, headers included."""
        return self._client.max_payload

    @property
    def serves_jetstream(self) -> bool:
        """Whether the server at the other end, or its cluster, may have JetStream."""
        return not self._client.server_info.keys().isdisjoint({"jetstream", "cluster"})

    def on_restored(self, restored: Callable[[], None]) -> Callable[[], None]:
        """Call `restored` after each reconnection; returns what ends that."""
        self._restored.append(restored)
        return lambda: self._restored.remove(restored)

    def publish(
        self, subject: str, data: bytes = b"", *, reply: str = "", headers: bytes = b""
    ) -> None:
        """Send a message, if there is a connection; nobody says whether it arrived."""
        if not self._up.is_set():
            return
        if headers:
            size = len(headers)
            line = f"HPUB {subject} {reply} {size} {size + len(data)}\r\n"
        else:
            line = f"PUB {subject} {reply} {len(data)}\r\n"
        self._client.post(b"%b%b%b\r\n" % (line.encode(), headers, data))

    async def request(
        self, subject: str, data: bytes = b"", *, headers: bytes = b"", within: float
    ) -> Reply:
        """Ask once and return the answer.

        Raises:
            Unanswered: none came within `within` seconds, or the connection was lost meanwhile.
            NoResponder: nobody serves the subject.
            LogMisconfigured: the server does not permit it.
        """
        reply: Reply = await self._ask(subject, data, headers, within, None)
        return reply

    async def collect(self, subject: str, data: bytes, *, within: float) -> list[Reply]:
        """Ask once and return all answers; the last is the one that has a status.

        Raises:
            Unanswered: an answer did not come within `within` seconds after the one before it.
            NoResponder: nobody serves the subject.
            LogMisconfigured: the server does not permit it.
        """
        replies: list[Reply] = await self._ask(subject, data, b"", within, [])
        return replies

    async def _ask(
        self, subject: str, data: bytes, headers: bytes, within: float, parts: list[Reply] | None
    ) -> Any:
        if not self._up.is_set():
            await self._until_up(within)
        future = self._loop.create_future()
        self._requests += 1
        deadline = self._world.monotonic() + within
        waiting = _Waiting(future, subject, within, deadline, parts)
        self._waiting[b"%d" % self._requests] = waiting
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP, self._sweep)
        self.publish(subject, data, reply=f"{self._inbox}.{self._requests}", headers=headers)
        return await future

    async def _until_up(self, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await self._up.wait()
        except TimeoutError:
            raise Unanswered("there is no connection to the NATS server") from None

    async def subscribe(self, subject: str, deliver: Deliver) -> Subscription:
        """Call `deliver` with each message on `subject` until the subscription is closed.

        Raises:
            LogUnavailable: the connection was closed.
        """
        with translated():
            return Subscription(self._client, await self._client.open(subject, deliver))

    def new_inbox(self) -> str:
        """Return a subject for answers that nobody else has."""
        self._inboxes += 1
        return f"{self._inbox}_{self._inboxes}"

    async def flush(self, within: float) -> None:
        """Wait until the server has seen all that was sent, and we all that it had sent before.

        Raises:
            Unanswered: that took longer than `within` seconds.
        """
        try:
            async with asyncio.timeout(within):
                with translated():
                    await self._client.heard()
        except TimeoutError:
            raise Unanswered("the NATS server does not answer") from None

    def _answered(self, subject: bytes, _: bytes, headers: bytes, data: bytes) -> None:
        number = subject[self._skip :]
        waiting = self._waiting.get(number)
        if waiting is None:
            return  # its deadline was over
        future, parts = waiting.future, waiting.parts
        status = headers[8:9] == b" "
        if parts is not None and not status:
            parts.append(Reply(headers, data))
            waiting.deadline = self._world.monotonic() + waiting.within
            return
        del self._waiting[number]
        if future.done():
            return  # nobody waits for it any more
        if status and headers[9:12] == b"503":
            future.set_exception(NoResponder(f"nobody serves {waiting.subject!r}"))
        elif parts is not None:
            parts.append(Reply(headers, data))
            future.set_result(parts)
        else:
            future.set_result(Reply(headers, data))

    def _sweep(self) -> None:
        now = self._world.monotonic()
        self._fail(
            lambda waiting: waiting.deadline <= now,
            lambda waiting: Unanswered(f"no answer from {waiting.subject!r}"),
        )
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep) if self._waiting else None

    def _fail(
        self, which: Callable[[_Waiting], bool], error: Callable[[_Waiting], Exception]
    ) -> None:
        for number, waiting in [item for item in self._waiting.items() if which(item[1])]:
            del self._waiting[number]
            if not waiting.future.done():
                waiting.future.set_exception(error(waiting))

    async def open(self, url: str | list[str], *, name: str, credentials: Path | None) -> None:
        """Connect; goes on trying until it is cancelled.

        Raises:
            LogMisconfigured: the server refuses us, or a credentials file is of no use.
        """
        addresses, options = _login([url] if isinstance(url, str) else url)
        options |= _credentials(credentials)
        with translated():
            await self._client.connect(
                addresses,
                name=name,
                inbox_prefix=f"_INBOX_{name}",  # so that the users of an account can be kept apart
                error_cb=self._trouble,
                disconnected_cb=self._lost,
                reconnected_cb=self._found,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                reconnect_to_server_handler=self._next_server,
                connect_timeout=2,
                ping_interval=_PING,
                **options,
            )
        self._inbox = self._client.new_inbox()
        self._skip = len(self._inbox) + 1
        await self.subscribe(f"{self._inbox}.*", self._answered)
        self._starting = False
        self._up.set()

    def _next_server(self, servers: list[Server], _: dict[str, Any]) -> tuple[Server | None, float]:
        """Choose where to reconnect to and when, not all at once after a restart."""
        return self._world.random.choice(servers), self._world.random.uniform(0.05, 0.25)

    async def close(self) -> None:
        """End it; what was sent is given a second to arrive."""
        if self.connected:
            with contextlib.suppress(LogUnavailable):
                await self.flush(within=1.0)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._up.clear()
        self._fail(lambda _: True, lambda _: Unanswered("the connection was closed"))
        await self._client.end()

    def failure(self) -> LogUnavailable | LogMisconfigured:
        """Return why there is no connection."""
        last = self._trouble_last
        if isinstance(last, ssl.SSLError):
            return LogMisconfigured(f"the NATS server and we cannot agree on TLS: {last.reason}")
        return LogUnavailable("no NATS server answers at this address: is it running?")

    async def _lost(self) -> None:
        if not self._up.is_set():
            return  # we closed it
        self._up.clear()
        self._client.forget()
        self._fail(
            lambda _: True,
            lambda waiting: Unanswered(f"the connection was lost, asking {waiting.subject!r}"),
        )
        _log.warning("connection to NATS lost")

    async def _found(self) -> None:
        self._up.set()
        _log.info("connection to NATS restored")
        for restored in list(self._restored):
            restored()

    async def _trouble(self, error: Exception) -> None:
        text = str(error)
        if self._starting and hopeless(error):
            raise error  # nats-py would go on trying
        if text != str(
            self._trouble_last
        ):  # while a server is away, the same comes again and again
            _log.debug("trouble with NATS", error=text)
        self._trouble_last = error
        # nats-py gives us the server's words in lower case.
        if f'permissions violation for subscription to "{self._inbox.lower()}.' in text:
            inbox = self._inbox.partition(".")[0]
            self._fail(
                lambda _: True,
                lambda _: LogMisconfigured(
                    f"the server does not permit subscribing to '{inbox}.>', where its answers"
                    " would come: log in as a user who may, such as the owner of the account"
                ),
            )
        if "permissions violation for publish" in text:
            self._fail(
                lambda waiting: f'"{waiting.subject.lower()}"' in text,
                lambda waiting: LogMisconfigured(
                    f"the server does not permit publishing on {waiting.subject!r}:"
                    " give this user the permission"
                ),
            )


@contextlib.asynccontextmanager
async def connect(
    url: str | list[str],
    *,
    world: World,
    name: str,
    credentials: Path | None = None,
    within: float,
) -> AsyncGenerator[Connection]:
    """Give a connection to a NATS server or cluster, while the context lasts.

    User and password, or a token, stand in the URL; `credentials` names a file that holds an nkey
    seed, or a JWT and its seed (`.creds`).

    Raises:
        LogUnavailable: there is no server within `within` seconds.
        LogMisconfigured: it refuses us.
    """
    connection = Connection(world=world)
    try:
        try:
            async with asyncio.timeout(within):
                await connection.open(url, name=name, credentials=credentials)
        except TimeoutError:
            raise connection.failure() from None
        yield connection
    finally:
        await connection.close()


def _login(urls: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the URLs without the user in them, and that user as options of nats-py.

    For a cluster tells of all its servers, and only options are used to log in to those.
    """
    addresses: list[str] = []
    users: list[str] = []
    for url in urls:
        head, slashes, rest = url.rpartition("://")
        if head in {"ws", "wss"}:
            raise LogMisconfigured("a websocket is not supported: use nats:// or tls://")
        user, at, address = rest.rpartition("@")
        addresses.append(f"{head}{slashes}{address}")
        users += [user] if at else []
    if len(set(users)) > 1:
        raise LogMisconfigured("the URLs of one cluster must have the same user and password")
    if not users:
        return addresses, {}
    name, colon, password = users[0].partition(":")
    if not colon:
        return addresses, {"token": unquote(name)}
    return addresses, {"user": unquote(name), "password": unquote(password)}


def _credentials(path: Path | None) -> dict[str, Any]:
    """Return what a file with credentials holds, as options of nats-py; it is read this once."""
    if path is None:
        return {}
    # Few need it, and it takes long; it has no types.
    import nkeys  # type: ignore[import-untyped] # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs]

    try:
        text = path.read_text()
        decorated = _DECORATED.search(text)
        seed = decorated["seed"] if decorated else text
        key = bytearray(seed.strip().encode())
        nkeys.from_seed(key).wipe()  # pyright: ignore[reportUnknownMemberType]
    except OSError as error:
        raise LogMisconfigured(
            f"the file with the NATS credentials cannot be read: {error.strerror}"
        ) from error
    except (UnicodeDecodeError, nkeys.NkeysError) as error:
        raise LogMisconfigured(
            "the file with the NATS credentials holds neither the seed of an nkey (SU…) nor a JWT"
            " with its seed (.creds)"
        ) from error
    return {"user_credentials": RawCredentials(text)} if decorated else {"nkeys_seed_str": seed}
