"""The wrapped keys of contexts: one message a key, on the disk; see `pelton.runtime.vault`."""

from __future__ import annotations

from typing import Final

from pelton.runtime.jetstream import wire
from pelton.runtime.jetstream.api import Api, Patience
from pelton.runtime.jetstream.errors import IN_FLIGHT, refused
from pelton.runtime.jetstream.streams import KEYS, make_keys
from pelton.runtime.log import LogUnavailable
from pelton.runtime.vault import Kept

_PREFIX: Final = "$KV.KEYS."


class Keys:
    """All wrapped keys of a tenant. Their stream is made by whoever keeps the first."""

    def __init__(self, api: Api, *, replicas: int) -> None:
        self._api, self._replicas = api, replicas

    async def get(self, name: str) -> Kept | None:
        """Return what is kept under a name, as the leader has it."""
        found = await self._last(wire.check_literal(f"{_PREFIX}{name}"))
        return found[1] if found else None

    async def last(self, agent: str = "") -> tuple[str, Kept] | None:
        """Return what was kept last for a context, of an agent or of any, with its name."""
        return await self._last(f"{_PREFIX}{wire.check_literal(agent) if agent else '*'}.*")

    async def _last(self, pattern: str) -> tuple[str, Kept] | None:
        subject = f"$JS.API.STREAM.MSG.GET.{KEYS}"
        answer = await self._api.answer(subject, {"last_by_subj": pattern}, wire.decode_stored)
        if answer.error is not None and answer.error.err_code == wire.NO_STREAM:
            return None
        if answer.error is not None and answer.error.err_code != wire.NO_MESSAGE:
            raise refused(answer.error)
        if (found := wire.found(answer)) is None:
            return None
        record = found.record
        return record.subject.removeprefix(_PREFIX), Kept(record.data, record.sequence)

    async def put(self, name: str, data: bytes, *, expect: int) -> bool:
        """Keep something if the last under the name has that position; say whether it is ours."""
        subject = wire.check_literal(f"{_PREFIX}{name}")
        headers = wire.headers({"Nats-Expected-Last-Subject-Sequence": str(expect)})
        patience = self._api.patience()
        while True:
            ack = await self._api.store(subject, data, headers, patience, unserved=self._make)
            if ack.error is None or ack.error.err_code != IN_FLIGHT:
                break
            await patience.pause(LogUnavailable("the key is being written"))
        if ack.error is None:
            return True
        if patience.attempts == 1:
            return False
        kept = await self.get(name)  # the acknowledgement of an earlier attempt may be lost
        return kept is not None and kept.data == data

    async def destroy(self, position: int) -> None:
        """Overwrite a message in the server's files, and delete it."""
        question = {"seq": position, "no_erase": False}
        subject = f"$JS.API.STREAM.MSG.DELETE.{KEYS}"
        error = wire.decode_answer((await self._api.ask(subject, question)).data).error
        # What is gone already is refused like what cannot be had now: look which it is.
        if error is not None and await self._api.stored(KEYS, {"seq": position}) is not None:
            raise refused(error)

    async def _make(self, patience: Patience) -> None:
        await make_keys(self._api, self._replicas, patience)
