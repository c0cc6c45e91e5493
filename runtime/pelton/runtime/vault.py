"""Content that can be made unreadable: sealed with a key for each context (law 12).

The keys lie beside the log, each wrapped with a key of the tenant that never gets there. To destroy
one is to erase what was sealed with it; a tombstone in its place lets nobody make another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import ClassVar, Final, NamedTuple, Protocol

import msgspec

from pelton.events.errors import InvalidInput, PeltonError
from pelton.events.ids import check_agent, token, untoken
from pelton.events.subjects import MEMORY
from pelton.runtime.clock import World, rfc3339

KNOWN_FOR: Final = 30.0
"""Seconds that a key stays in memory unasked for: what is heard of erasures can be lost."""


class ContentErased(PeltonError):
    """The key of the context is destroyed: what was said there is gone, and nothing can be added.

    Go on in a new context.
    """

    code: ClassVar[str] = "content-erased"


class ContentSealed(PeltonError):
    """The content is sealed, and this process cannot open it.

    Name the file of keys in `encryption.keys`. A session file holds keys only if it was exported
    with `--keys`: else look at the conversation on its log.
    """

    code: ClassVar[str] = "content-sealed"


class Cipher(Protocol):
    """What keys are made, wrapped and used with."""

    def new_key(self) -> bytes:
        """Return a key, for one context."""
        ...

    def wrap(self, key: bytes, name: str) -> bytes:
        """Return a key as only a holder of the tenant's keys can read it."""
        ...

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Return the key that was wrapped.

        Raises:
            PeltonError: the tenant's key is not here, or it is no such key.
        """
        ...

    def seal(self, key: bytes, data: bytes) -> bytes:
        """Encrypt data; the same with the same key is the same again (law 6)."""
        ...

    def open(self, key: bytes, data: bytes) -> bytes:
        """Decrypt data.

        Raises:
            PeltonError: it is altered, or sealed with another key.
        """
        ...


class Sealing(NamedTuple):
    """What content is sealed with: nothing, or a cipher, of some agents' contexts or of all."""

    cipher: Cipher | None = None
    agents: tuple[str, ...] = ()


OPEN: Final = Sealing()
"""Nothing is sealed."""


class Kept(NamedTuple):
    """What is kept under the name of a key, and the position of it."""

    data: bytes
    position: int


class KeyStore(Protocol):
    """Where wrapped keys lie."""

    async def get(self, name: str) -> Kept | None:
        """Return what is kept under a name."""
        ...

    async def put(self, name: str, data: bytes, *, expect: int) -> bool:
        """Keep something if the last under the name has that position (0: none); say if so."""
        ...

    async def last(self, agent: str = "") -> tuple[str, Kept] | None:
        """Return what was kept last for a context, of an agent or of any, with its name."""
        ...

    async def destroy(self, position: int) -> None:
        """Overwrite what is kept at a position; gone already is as good."""
        ...


class _Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """What lies under a name: a key, or the time at which it was destroyed.

    `position` is where the key was, for whoever finds it not destroyed yet.
    """

    wrapped: bytes = b""
    erased: str = ""
    position: int = 0


_decoder: Final = msgspec.json.Decoder(_Place)


def _decode(data: bytes) -> _Place:
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        raise ContentSealed("what lies in the place of a key is none") from None


class Standing(NamedTuple):
    """How it stands with a context's key: whether there was ever one, and whether it is gone."""

    had_key: bool
    erased: bool


class Vault:
    """The keys of a tenant's contexts. Without a `cipher` nothing is sealed, and nothing opened.

    `agents` are those whose contexts are sealed; if there are none, all are.
    """

    def __init__(
        self, store: KeyStore, cipher: Cipher | None, *, world: World, agents: tuple[str, ...] = ()
    ) -> None:
        self._store, self._cipher, self._world = store, cipher, world
        self._agents = agents
        self.carried = False
        """Whether its keys were carried about in a file: who erases them does not reach these."""
        self._known: dict[str, tuple[bytes, float]] = {}
        self._heeding: list[Callable[[], None]] = []

    @property
    def seals(self) -> bool:
        """Whether anything is sealed here."""
        return self._cipher is not None

    def takes(self, agent: str) -> bool:
        """Whether what is said to an agent, and by it, is sealed here."""
        return self._cipher is not None and (not self._agents or agent in self._agents)

    async def seal(self, agent: str, context_id: str, data: bytes) -> tuple[str, bytes]:
        """Return the name of a context's key, and data sealed with it.

        Raises:
            ContentErased: the context is erased.
            ContentSealed: its key cannot be read here.
            LogError: the store of keys cannot be reached.
        """
        name, cipher = key_name(agent, context_id), self._cipher
        if cipher is None:
            raise ContentSealed("there are no keys here: name their file in encryption.keys")
        key = self._at_hand(name) or await self._get(name)
        while key is None:
            made = cipher.new_key()
            place = _Place(wrapped=cipher.wrap(made, name))
            await self._store.put(name, msgspec.json.encode(place), expect=0)
            key = await self._get(name)  # perhaps another's, who was first
        return name, cipher.seal(key, data)

    async def open(self, name: str, data: bytes) -> bytes:
        """Return what was sealed with the key of that name.

        Raises:
            ContentErased: the key is destroyed.
            ContentSealed: it cannot be read here, or this was not sealed with it.
            LogError: the store of keys cannot be reached.
        """
        cipher, key = await self._key(name)
        try:
            return cipher.open(key, data)
        except PeltonError:
            raise ContentSealed(f"this was not sealed with the key {name!r}") from None

    async def check(self, name: str) -> None:
        """Make sure that what was sealed with the key of that name can be read still; see `open`.

        Raises:
            ContentErased, ContentSealed, LogError: as `open` does.
        """
        await self._key(name)

    async def probe(self, agent: str = "") -> None:
        """Make sure that what was sealed last, of an agent's contexts or of all, can be read here.

        Raises:
            ContentSealed: the tenant's key is not here.
            LogError: the store of keys cannot be reached.
        """
        found = await self._store.last(agent)
        if found is None or (place := _decode(found[1].data)).erased:
            return
        if self._cipher is None:
            raise ContentSealed("the content is sealed: name the file of keys in encryption.keys")
        self._cipher.unwrap(place.wrapped, found[0])

    async def _key(self, name: str) -> tuple[Cipher, bytes]:
        agent, context_id = parse_name(name)
        key = self._at_hand(name) or await self._get(key_name(agent, context_id))
        if key is None or self._cipher is None:
            raise ContentSealed(f"there is no key {name!r}")
        return self._cipher, key

    async def borrow(self, names: Iterable[str]) -> Keyring:
        """Return the keys of those names that are here, to be had without their store.

        Raises:
            LogError: the store of keys cannot be reached.
        """
        wanted = list(names)
        found = {name: kept for name in wanted if (kept := await self._store.get(name)) is not None}
        ring = Keyring(found, self._cipher, world=self._world, agents=self._agents)
        ring.carried = self.carried
        for name in wanted:
            try:
                await ring.check(name)
            except (ContentErased, ContentSealed) as error:
                ring.unreadable.append(error)
        return ring

    async def standing(self, agent: str, context_id: str) -> Standing:
        """Return how it stands with a context's key.

        Raises:
            LogError: the store of keys cannot be reached.
        """
        kept = await self._store.get(key_name(agent, context_id))
        return Standing(kept is not None, kept is not None and bool(_decode(kept.data).erased))

    async def erase(self, agent: str, context_id: str) -> Standing:
        """Destroy the key of a context, so that nobody has it any more or makes another.

        Doing it again does what was not done yet.

        Raises:
            LogError: the store of keys cannot be reached, or does not permit it.
        """
        name = key_name(agent, context_id)
        self._known.pop(name, None)
        kept = await self._store.get(name)
        if kept is None:
            return Standing(had_key=False, erased=False)
        place = _decode(kept.data)
        if not place.erased:
            place = _Place(erased=rfc3339(self._world.now()), position=kept.position)
            # From a key to a tombstone it changes once: who loses the race loses it to the same.
            await self._store.put(name, msgspec.json.encode(place), expect=kept.position)
        await self._store.destroy(place.position)
        return Standing(had_key=True, erased=True)

    def forget_all(self) -> None:
        """Drop all keys from memory: some are destroyed, or may be and nobody heard of it."""
        self._known.clear()
        for heard in tuple(self._heeding):
            heard()

    def on_forgotten(self, heard: Callable[[], None]) -> Callable[[], None]:
        """Call something whenever keys may be destroyed; return what ends that."""
        self._heeding.append(heard)
        return lambda: self._heeding.remove(heard)

    def _at_hand(self, name: str) -> bytes | None:
        key, until = self._known.get(name, (b"", 0.0))
        return key if key and self._world.monotonic() < until else None

    async def _get(self, name: str) -> bytes | None:
        """Return a key as it is kept now."""
        self._known.pop(name, None)
        asked = self._world.monotonic()
        kept = await self._store.get(name)
        if kept is None:
            return None
        place = _decode(kept.data)
        if place.erased:
            raise ContentErased("the content of this conversation was erased")
        if self._cipher is None:
            raise ContentSealed("the content is sealed: name the file of keys in encryption.keys")
        key = self._cipher.unwrap(place.wrapped, name)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[name] = key, asked + KNOWN_FOR
        return key


_MOST: Final = 10_000


class _Held:
    """Wrapped keys in memory; see `KeyStore`."""

    def __init__(self, found: Mapping[str, Kept]) -> None:
        self.found = dict(found)

    async def get(self, name: str) -> Kept | None:
        return self.found.get(name)

    async def put(self, name: str, data: bytes, *, expect: int) -> bool:
        here = self.found.get(name, Kept(b"", 0)).position == expect
        if here:
            self.found[name] = Kept(data, expect + 1)
        return here

    async def last(self, agent: str = "") -> tuple[str, Kept] | None:
        own = [e for e in self.found.items() if not agent or e[0].startswith(f"{agent}.")]
        return max(own, key=lambda each: each[1].position, default=None)

    async def destroy(self, position: int) -> None:
        """Nothing of it is anywhere else."""


def carried(wrapped: Mapping[str, bytes], cipher: Cipher, *, world: World) -> Vault:
    """Return a vault of keys that were carried about, as `Keyring.wrapped_with` gives them."""
    places = {name: msgspec.json.encode(_Place(wrapped=key)) for name, key in wrapped.items()}
    held = _Held({name: Kept(each, 1) for name, each in places.items()})
    vault = Vault(held, cipher, world=world)
    vault.carried = True
    return vault


class Keyring(Vault):
    """The keys of a conversation in memory, for whoever looks back on it or goes on with it.

    No others come to it: what is sealed in a context that has none is sealed with the first that
    there is. So all of it can be read as long as the conversation can, and goes with it.
    """

    def __init__(
        self,
        found: Mapping[str, Kept],
        cipher: Cipher | None,
        *,
        world: World,
        agents: tuple[str, ...] = (),
    ) -> None:
        super().__init__(_Held(found), cipher, world=world, agents=agents)
        self.unreadable: list[PeltonError] = []
        """Why some of what was asked for is not here."""
        self._found = found
        places = map(parse_name, found)
        self._contexts = [(agent, id_) for agent, id_ in places if agent != MEMORY]

    @property
    def reading(self) -> Keyring:
        """The same keys, with which nothing more is sealed."""
        ring = Keyring(self._found, self._cipher, world=self._world, agents=self._agents)
        ring._contexts = []
        return ring

    async def wrapped_with(self, cipher: Cipher) -> dict[str, bytes]:
        """Return the keys that can be read here, by their names, as another cipher wraps them."""
        found: dict[str, bytes] = {}
        for name in self._found:
            with suppress(ContentErased, ContentSealed):  # it is of no use there either
                found[name] = cipher.wrap((await self._key(name))[1], name)
        return found

    def takes(self, agent: str) -> bool:
        """Whether what is said to an agent, and by it, is sealed."""
        known = any(agent == each for each, _ in self._contexts)
        return known or (bool(self._contexts) and super().takes(agent))

    async def seal(self, agent: str, context_id: str, data: bytes) -> tuple[str, bytes]:
        """Return the name of a key, and data sealed with it; see `Vault.seal`."""
        place = agent, context_id
        if place not in self._contexts and self._contexts:
            place = self._contexts[0]
        return await super().seal(*place, data)


def key_name(agent: str, context_id: str) -> str:
    """Return the name of a context's key, or of a memory's: these are of the agent `_memory`."""
    return f"{_owner(agent)}.{token(context_id)}"


def parse_name(name: str) -> tuple[str, str]:
    """Return the agent and the context that a key is of; the inverse of `key_name`.

    Raises:
        ContentSealed: it is no such name.
    """
    agent, _, context = name.partition(".")
    try:
        return _owner(agent), untoken(context)
    except InvalidInput:
        raise ContentSealed("a reference names a key that cannot be") from None


def _owner(agent: str) -> str:
    return agent if agent == MEMORY else check_agent(agent)
