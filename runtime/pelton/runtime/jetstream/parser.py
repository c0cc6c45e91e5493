"""Reading the protocol of NATS: messages that have arrived whole, many in one go.

nats-py's parser tries one expression after another, copies each message twice and waits for each to
be taken. Here a message costs a search for the end of its line and one call; whatever else there is
— the first part of a message, what the server says of itself, nonsense — is nats-py's to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nats.protocol.parser import AWAITING_MSG_PAYLOAD, Parser

Take = Callable[[int, bytes, bytes, bytes, bytes], None]
"""What a message is given to: its subscription's number, subject, reply subject, headers, data."""

_END: Final = b"\r\n"


class WholeParser(Parser):
    """nats-py's parser, with a short way for messages that are whole."""

    def __init__(self, client: Any, take: Take) -> None:
        super().__init__(client)  # pyright: ignore[reportUnknownMemberType]
        self._take = take

    async def parse(self, data: bytes = b"") -> None:
        """Read what came, and give away what is whole."""
        if self.state == AWAITING_MSG_PAYLOAD:
            missing = self.needed + len(_END) - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        elif self.buf:  # a line that was cut
            data = bytes(self.buf) + data
            self.buf.clear()
        rest = data[self._whole(data) :]
        if rest:
            await super().parse(rest)

    def _whole(self, data: bytes) -> int:
        """Give away the messages that data begins with; return where something else begins."""
        at, length = 0, len(data)
        while (end := data.find(_END, at)) > 0:
            words = data[at:end].split(b" ")
            start, headers = end + 2, 0
            try:
                if words[0] == b"HMSG":
                    headers = int(words.pop(-2))
                elif words[0] != b"MSG":
                    break
                sid, stop = int(words[2]), start + int(words[-1])
            except (ValueError, IndexError):
                break
            if not 4 <= len(words) <= 5 or length < stop + 2:
                break
            body = start + headers
            reply = words[3] if len(words) == 5 else b""
            self._take(sid, words[1], reply, data[start:body], data[body:stop])
            at = stop + 2
        return at
