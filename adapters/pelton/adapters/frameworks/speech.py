"""What an agent says as it comes: one artifact that grows, part after part."""

from __future__ import annotations

from typing import Final

from pelton.runtime.turn import Turn

_BETWEEN: Final = "\n\n"


class Speech:
    """The answer of a turn, streamed; a part is what one call of a model says.

    Parts come from steps, so each is begun where it runs, perhaps several times, and ended with its
    whole text, which is there too when it is served from the record.
    """

    def __init__(self, turn: Turn, *, name: str = "answer") -> None:
        self._turn, self._name = turn, name
        self._whole = ""
        self._said = ""
        self._anew = False
        self.last = ""
        """What the last part reads that has said something."""

    async def begin(self) -> None:
        """Begin a part, for the first time or again."""
        self._anew = self._anew or self._said != self._whole
        self._said = self._whole

    async def say(self, text: str) -> None:
        """Let the part go on."""
        if not text:
            return
        if self._anew:
            await self._turn.stream(self._said, name=self._name, anew=True)
            self._anew = False
        if self._said and self._said == self._whole:
            text = _BETWEEN + text
        self._said += text
        await self._turn.stream(text, name=self._name)

    async def end(self, text: str) -> None:
        """End the part, which reads `text`; what of it was not said yet is said now."""
        whole = self._whole + (_BETWEEN if self._whole and text else "") + text
        if self._anew or not whole.startswith(self._said):
            self._anew = False
            await self._turn.stream(whole, name=self._name, anew=True)
        elif len(whole) > len(self._said):
            await self._turn.stream(whole[len(self._said) :], name=self._name)
        self._whole = self._said = whole
        self.last = text or self.last

    async def close(self) -> None:
        """Say that nothing follows."""
        if self._whole:
            await self._turn.stream("", name=self._name, last=True)
