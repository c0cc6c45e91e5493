"""The log port: the only way to the truth (laws 1 to 6); two implementations, one contract suite.

`jetstream.JetStreamLog` is the real one, `simulation.SimulatedLog` has the same semantics on
virtual time. What a caller may rely on is written here and proved in `tests/contract/`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import ClassVar, NamedTuple, Protocol

from pelton.events.errors import PeltonError
from pelton.events.presence import Beat
from pelton.events.redact import Redactor
from pelton.runtime.vault import Vault


class LogError(PeltonError):
    """The root of what can go wrong between us and the log."""

    code: ClassVar[str] = "unavailable"


class LogUnavailable(LogError):
    """The server did not answer within the deadline, or there is no connection.

    After an append this means *unknown*, never *not stored* (law 5): append again with the same id
    and expectation, which is safe, or look. If reads are answered and appends are not, the server's
    disk may be full: make room and restart the server.
    """


class LogMisconfigured(LogError):
    """The server answers but cannot serve: JetStream is off, a permission or a stream is missing.

    `pelton doctor` says which and what to do.
    """

    code: ClassVar[str] = "misconfigured"


class LogFull(LogError):
    """The server refuses appends, as a limit or the disk is full: make room; nothing is lost."""

    code: ClassVar[str] = "log-full"


class LogRegressed(LogError):
    """The log went backwards or is another log (law 13): a position we hold is gone or differs.

    Never continue: restore the log, or rebuild what was derived from the other one.
    """

    code: ClassVar[str] = "log-regressed"


class Conflict(LogError):
    """Somebody else appended first (law 3): read again and decide again.

    `expected` and `actual` are stream sequences; `actual` is None where the server does not say.
    """

    code: ClassVar[str] = "conflict"

    def __init__(self, subject: str, expected: int, actual: int | None) -> None:
        super().__init__(f"{subject}: expected the last record at {expected}, found {actual}")
        self.subject, self.expected, self.actual = subject, expected, actual


class TooLarge(LogError):
    """A record exceeds what one message may hold: put bulk into blobs (law 8)."""

    code: ClassVar[str] = "too-large"


class BlobMissing(LogError):
    """No blob with that hash, or its bytes do not have that hash."""

    code: ClassVar[str] = "blob-missing"


class Record(NamedTuple):
    """One stored message. `sequence` is the stream's, a global cut (law 2)."""

    sequence: int
    subject: str
    data: bytes
    received_ns: int
    """When the server stored it, in nanoseconds since 1970 in UTC."""

    @property
    def received(self) -> datetime:
        """When the server stored it, in UTC."""
        return datetime.fromtimestamp(self.received_ns / 1e9, UTC)


class Heard(NamedTuple):
    """A live copy of a record just stored; a hint, since live copies can be lost.

    `previous` is the sequence of the record before it on the same subject (0: none), so a listener
    that knows its subject's head sees a gap and reads what it missed.
    """

    sequence: int
    previous: int
    subject: str
    data: bytes


class HeartBeat(NamedTuple):
    """What an executor says now of how it stands to an agent."""

    agent: str
    executor: str
    beat: Beat


class Extent(NamedTuple):
    """The first and last sequence of the log; (1, 0) when it is empty."""

    first: int
    last: int


class Bell(Protocol):
    """*This context has work*: the delivery of one command to one executor.

    While unanswered, the command is delivered to nobody else, as long as `working` is called more
    often than the bells' patience. What was done is read from the aggregate, not from here (law 5).
    An answer that the server does not get is as if it were not given: the command rings again.
    """

    @property
    def record(self) -> Record:
        """The command that rang."""
        ...

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included; 1 is the first time."""
        ...

    async def working(self) -> None:
        """Say that the command is still in hand."""
        ...

    async def done(self) -> None:
        """Never ring again for this command."""
        ...

    async def hand_back(self, delay: float = 0.0) -> None:
        """Ring again, here or elsewhere, after `delay` seconds."""
        ...


class Bells(Protocol):
    """The bells of one agent, shared by all its executors: each rings at one of them.

    Commands ring in the order of the log; those handed back or unanswered ring again, later.
    """

    async def next(self) -> Bell:
        """Return the next bell; waits without end, and across restarts of the server.

        Asks the server for no more than the capacity given at opening, less the commands returned
        that are neither done nor handed back.
        """
        ...

    async def quiet(self) -> None:
        """Take no more: hand back what was delivered and not yet returned by `next`."""
        ...


class Lease(Protocol):
    """The word that somebody works on a context: for liveness only, never for exclusion (law 3)."""

    async def renew(self) -> bool:
        """Keep it for another time to live; False if it was lost."""
        ...

    async def release(self) -> None:
        """Give it up; does nothing if it was lost."""
        ...


class Log(Protocol):
    """The log of one tenant. Every call has a deadline; failures are `LogError`s."""

    @property
    def redactor(self) -> Redactor:
        """What every record and blob goes through before it is stored here (law 12).

        Whoever writes asks it, and goes on with what it returns: `append` stores bytes as they are.
        """
        ...

    @property
    def vault(self) -> Vault | None:
        """The keys that content is sealed with; see `pelton.runtime.bulk`."""
        ...

    async def append(self, subject: str, data: bytes, *, id: str, expect: int | None = None) -> int:
        """Store one record and return its sequence; atomic, durable when it returns.

        With `expect`, only if the last record on `subject` has that sequence (0: none yet). The
        call retries by itself, within its deadline, when an acknowledgement is lost: an append that
        was stored is recognised by `id` and returns its sequence, so `id` must be new for each
        attempt to write something else. Without `expect`, an `id` is stored once within the
        deduplication window; appending it again returns the first sequence.

        Raises:
            Conflict: another record was stored first.
            LogUnavailable: no answer within the deadline; whether it is stored is unknown.
            TooLarge: the record does not fit one message.
            LogFull: a limit or the disk is reached.
        """
        ...

    async def read(
        self, subject: str, *, after: int = 0, limit: int | None = None, decisive: bool = False
    ) -> Sequence[Record]:
        """Return the records of one literal subject with a sequence above `after`, in order.

        With `decisive`, from the leader, so that a decision can rest on it.
        """
        ...

    async def latest(self, pattern: str) -> Sequence[Record]:
        """Return the last record of each subject that matches `pattern` (at most 1,024)."""
        ...

    async def extent(self) -> Extent:
        """Return the first and the last sequence."""
        ...

    async def at(self, sequence: int) -> Record | None:
        """Return the record with exactly that sequence, if there is one."""
        ...

    def scan(
        self, *, after: int = 0, pattern: str = ">", live: bool = False
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Yield all matching records above `after` in order, in batches, without loss.

        Ends at the last record that is there when the call begins; with `live`, goes on for ever,
        across restarts of the server, and yields an empty batch each time it reaches the end.
        Close the iterator (`contextlib.aclosing`) to free what the server holds for it.

        Raises:
            LogRegressed: the log is shorter than `after`.
        """
        ...

    def listen(
        self, pattern: str, heard: Callable[[Heard], None]
    ) -> AbstractAsyncContextManager[None]:
        """Call `heard` with a live copy of each matching record, while the context lasts.

        `heard` must be quick and must not raise. Copies can be lost when the connection is: see
        `on_restored`. When a cluster changes its leader, the last ones can be lost without that,
        or come again: whoever listens looks by itself after some silence.
        """
        ...

    def on_restored(self, restored: Callable[[], None]) -> Callable[[], None]:
        """Call `restored` whenever live copies may have been lost; returns what ends that."""
        ...

    def tell(self, topic: str, data: bytes) -> None:
        """Say something to whoever hears it now (`told`); nothing is stored, all can be lost.

        `topic` is a word of a-z. For hints between processes, never for what anything rests on.
        """
        ...

    def told(self, topic: str, heard: Callable[[bytes], None]) -> AbstractAsyncContextManager[None]:
        """Call `heard` with what others, and this log itself, tell, while the context lasts.

        `heard` must be quick and must not raise.
        """
        ...

    def bells(
        self, agent: str, *, capacity: int, patience: float = 3.0
    ) -> AbstractAsyncContextManager[Bells]:
        """Hear the commands of an agent, sharing them with all who do, while the context lasts.

        `capacity` is how many bells may be in hand at once; `patience` is after how many seconds
        of silence a bell in hand rings elsewhere.
        """
        ...

    async def lease(self, agent: str, context: str, *, holder: str, ttl: float) -> Lease | None:
        """Take the lease of a context for `ttl` seconds (at least 1), or None if it is taken.

        With `subjects.PUSH` in the place of an agent, that of who sends push notifications.
        """
        ...

    async def beat(self, agent: str, executor: str, beat: Beat, *, ttl: float) -> Lease | None:
        """Say for `ttl` seconds (at least 1) how an executor stands to an agent: a heartbeat.

        It is renewed as a lease is; None if the same is said already by somebody of that name. It
        is not in the log, and a server that is restarted forgets it.
        """
        ...

    async def beats(self) -> Sequence[HeartBeat]:
        """Return what executors say now of how they stand to agents, by agent, of all agents."""
        ...

    async def put_blob(self, data: bytes) -> str:
        """Store bytes under their SHA-256 and return it in hexadecimal; storing twice is once."""
        ...

    async def get_blob(self, sha256: str) -> bytes:
        """Return the bytes with that hash, verified.

        Raises:
            BlobMissing: there are none, or they are damaged.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether the server can be reached, as far as is known now."""
        ...

    @property
    def now(self) -> datetime:
        """The time as the log has it, in UTC: the server's clock when it was opened, going on.

        What is due at a time is due by this clock, whatever the clocks of our processes say (F6).
        """
        ...
