"""The guard of an attempt: asks hooks, policies and people, and has the log know what they say.

What is recorded is served to every later attempt, and nobody is asked again. Hooks are asked first,
in their order, each with what those before it have changed; then policies, about what is really to
happen; then people. Whoever denies ends it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple, cast

import msgspec

from pelton.events.a2a import Part, text_of
from pelton.events.calls import Call, calls_of, heard
from pelton.events.done import COUNTED, Done, noted, tools_of
from pelton.events.envelope import digest, encode
from pelton.events.events import AnyEvent, Failure, FailureClass, StepStarted, TaskDelegated
from pelton.events.memory import STEPS
from pelton.events.policy import Said, not_reached, unreached
from pelton.events.ruling import CallRuled, Point, Ruling
from pelton.events.step import StepKind
from pelton.runtime.answers import Approval
from pelton.runtime.bulk import THRESHOLD, Blobs
from pelton.runtime.failures import NondeterminismError, StepError
from pelton.runtime.hooks import Hook, Occasion
from pelton.runtime.outfit import BARE, Outfit
from pelton.runtime.recorder import Recorder
from pelton.runtime.redaction import cleaned

PREFIX: Final = "ruling:"
"""How the keys of questions begin that a guard asks, and not the agent."""

_AFTER: Final = {StepKind.MODEL: Point.MODEL_AFTER, StepKind.TOOL: Point.TOOL_AFTER}

ASKS: Final = "the agent itself"
"""Who it is that has a person asked about a step, if its agent does."""

_SHOWN: Final = 4096  # bytes of arguments that a question shows

Approve = Callable[[str, str, str, Mapping[str, Any], tuple[str, ...]], Awaitable[Approval]]
Rulings = Mapping[str, tuple[CallRuled, ...]]


class CallDenied(StepError):
    """A hook, a policy or a person has refused this: the text says why, for the model to read too.

    Nothing has happened. It is not tried again, and every later attempt meets the same.
    """

    code: ClassVar[str] = "call-denied"

    def __init__(self, ruled: CallRuled) -> None:
        reason = ruled.reason or f"{ruled.by} does not allow it."
        super().__init__(Failure(kind=FailureClass.POLICY, message=reason))


class _Matter(NamedTuple):
    """What is to be decided: where, about what, and what is known of it. `call` is its hash."""

    point: Point
    key: str
    name: str
    call: str
    kept: bool
    known: dict[str, CallRuled]

    def stands(self) -> bool:
        """Whether what is known is of this very call.

        Raises:
            CallDenied: it is denied.
            NondeterminismError: it is of another call, which should be this one.
        """
        for each in self.known.values():
            if each.call and self.call and each.call != self.call:
                if self.point is Point.PUBLISH_BEFORE:  # what is said may differ between attempts
                    return False
                raise NondeterminismError(
                    f"{self.key!r} was decided on with other arguments than it is asked for now:"
                    " the first event that differs is its CallRuled."
                )
            if each.ruling is Ruling.DENY:
                raise CallDenied(each)
        return True

    def left(self, heard: Sequence[CallRuled]) -> list[CallRuled]:
        """Return what is known beside what was heard."""
        names = {each.by for each in heard}
        return [each for by, each in self.known.items() if by not in names]


class Guard:
    """What stands in the way of one attempt.

    `past` tells what its task has done before, and what the other tasks of its context have; it is
    asked when that counts. `rulings` are those that are recorded. `approve` asks a person.
    """

    def __init__(
        self,
        outfit: Outfit,
        recorder: Recorder,
        *,
        blobs: Blobs,
        agent: str,
        actor: str,
        context_id: str,
        number: int,
        attempt: int,
        past: Callable[[], tuple[Done, tuple[Done, ...]]],
        rulings: Rulings,
    ) -> None:
        self.outfit = outfit
        self._recorder, self._blobs = recorder, blobs
        self._agent, self._actor, self._context = agent, actor, context_id
        self._number, self._attempt = number, attempt
        self._past = past
        self._rulings = rulings
        self.approve: Approve = _nobody

    @cached_property
    def _earlier(self) -> tuple[Done, tuple[Done, ...]]:
        return self._past()

    @cached_property
    def _done(self) -> Done:
        return self._earlier[0]

    def note(self, event: AnyEvent) -> None:
        """Take note of what the turn has done."""
        if type(event) in COUNTED:
            self._done = noted(self._done, event, self._recorder.now())

    def leave(self) -> None:
        """Ask nobody any more: the attempt is over, and what it held is free."""
        self.approve = _nobody

    @property
    def holds(self) -> bool:
        """Whether texts are held back until they are whole, since a hook is to see them first."""
        point = Point.PUBLISH_BEFORE
        return self.outfit.listens(point) or any(key.startswith(point) for key in self._rulings)

    def asks(self, point: Point) -> bool:
        """Whether anybody is asked at a point, or was when it was recorded."""
        return bool(self._rulings) or self.outfit.listens(point)

    async def step(
        self,
        intent: StepStarted,
        args: tuple[object, ...],
        *,
        begun: bool,
        ask: str = "",
        matter: str = "",
    ) -> Any:
        """Let a step begin, and return its arguments as it is to have them.

        `ask` is why its agent has a person asked, if it does; `matter` the key that is decided on,
        if it is not its own.

        Raises:
            CallDenied: it may not.
        """
        point = _before(intent)
        key = matter or intent.key
        if begun or not (self.outfit.policies or ask or self.asks(point)):
            return await self._changed(point, key, args)
        name = intent.name
        if intent.kind is StepKind.TOOL:
            name = "+".join(tools_of(name))
        given: Any = args[0] if len(args) == 1 else [*args]
        content = await self._decide(
            *(point, key, name, given),
            calls=self._calls(intent),
            hash_=intent.call,
            ask=ask,
        )
        if content is given:
            return args
        return (content,) if len(args) == 1 else tuple(cast("Sequence[object]", content))

    def sees(self, intent: StepStarted) -> bool:
        """Whether anybody is to see the result of a step before it is recorded."""
        return intent.kind in _AFTER and self.outfit.listens(_AFTER[intent.kind])

    async def result(self, intent: StepStarted, result: Any) -> Any:
        """Return the result of a step as it is to be recorded.

        Raises:
            CallDenied: it is withheld.
        """
        point = _AFTER[intent.kind]
        name = intent.name
        if intent.kind is StepKind.TOOL:
            name = "+".join(tools_of(name))
        return await self._decide(point, intent.key, name, result, kept=False)

    async def delegation(self, event: TaskDelegated) -> None:
        """Let work be handed on.

        Raises:
            CallDenied: it may not be.
        """
        text = text_of(event.message.parts)
        point, calls = Point.DELEGATION_BEFORE, self._calls(event)
        await self._decide(point, event.key, event.agent, {"text": text}, calls=calls)

    async def reach(self, url: str, key: str) -> None:
        """Let something be reached at a URL, for the step with that key.

        Raises:
            CallDenied: a policy does not allow it.
        """
        for policy in self.outfit.policies:
            if host := unreached(url, policy.bounds.egress):
                matter = _Matter(Point.STEP_BEFORE, key, "", "", kept=True, known={})
                said = Said(Ruling.DENY, not_reached(host))
                await self._record(matter, f"policy {policy.name}".rstrip(), said)

    async def about(self, point: Point, key: str, content: Any) -> Any:
        """Ask hooks about something of the turn itself, and return it as they leave it.

        Raises:
            CallDenied: one is against it.
        """
        if not self.asks(point):
            return content
        return await self._decide(point, key, "", content)

    async def publish(self, place: str, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """Return what clients are to read, of what is said."""
        if not self.holds:
            return parts
        plain = all(isinstance(part.text, str) for part in parts)
        content: Any = text_of(parts) if plain else msgspec.to_builtins(parts)
        try:
            said = await self._decide(Point.PUBLISH_BEFORE, place, "", content)
        except CallDenied as denied:
            return (Part(text=f"Withheld: {denied}"),)
        if said is content:
            return parts
        return (
            (Part(text=said),) if isinstance(said, str) else msgspec.convert(said, tuple[Part, ...])
        )

    def _calls(self, event: StepStarted | TaskDelegated) -> list[Call]:
        return list(
            calls_of(
                event,
                self._done,
                agent=self._agent,
                context=self._context,
                principal=self._actor,
                time=self._recorder.log_time(),
                heard=heard((*self._earlier[1], self._done)),
            )
        )

    async def _changed(self, point: Point, key: str, args: tuple[object, ...]) -> Any:
        """Return arguments as they were when it was decided that a step may begin."""
        for ruled in reversed(self._rulings.get(f"{point}:{key}", ())):
            if ruled.changed:
                content = await self._change(ruled)
                return (content,) if len(args) == 1 else tuple(content)
        return args

    async def _decide(
        self,
        point: Point,
        key: str,
        name: str,
        content: Any,
        *,
        calls: Sequence[Call] = (),
        hash_: str = "",
        kept: bool = True,
        ask: str = "",
    ) -> Any:
        """Ask everybody about `content`; return it as it is to be.

        `hash_` is its hash, if somebody knows it; with `kept`, the log keeps what stands in its
        place, else that is recorded elsewhere. `ask` is why the agent has a person asked.

        Raises:
            CallDenied: somebody is against it.
        """
        # What was said of a result that is not recorded is worth nothing: there is another one now.
        recorded = self._rulings.get(f"{point}:{key}", ()) if kept else ()
        hooks = self.outfit.hears(point, name)
        if not (recorded or hooks or calls or ask):
            return content
        matter = _Matter(point, key, name, hash_ or _hash(content), kept, {})
        for each in recorded:
            matter.known[each.by] = each
        if not matter.stands():
            matter.known.clear()
        content, asked = await self._hooked(matter, hooks, content)
        for call in calls:
            for policy in self.outfit.policies:
                for who, said in policy.rule(call, content):
                    ruled = matter.known.get(who) or await self._record(matter, who, said)
                    if ruled.ruling is Ruling.ASK and ruled not in asked:
                        asked.append(ruled)
        if ask and ASKS not in matter.known:
            asked.append(await self._record(matter, ASKS, Said(Ruling.ASK, ask)))
        asked += [each for each in matter.left(asked) if each.ruling is Ruling.ASK]
        if asked and self.outfit is not BARE:  # else it is on record
            await self._approved(matter, content, asked)
        return content

    async def _hooked(
        self, matter: _Matter, hooks: Sequence[Hook], content: Any
    ) -> tuple[Any, list[CallRuled]]:
        """Ask hooks, and return what they make of the content, and those that have a person asked.

        Those that are recorded and are no more count as they did.
        """
        asked: list[CallRuled] = []
        gone = matter.known.keys() - {each.name for each in hooks}
        for name in [*gone, *(each.name for each in hooks)]:
            ruled, change = matter.known.get(name), msgspec.UNSET
            if ruled is None:
                hook = next(each for each in hooks if each.name == name)
                ruled, change = await self._asked(matter, hook, content)
            if ruled.changed:
                content = await self._change(ruled) if matter.kept else change
            if ruled.ruling is Ruling.ASK:
                asked.append(ruled)
        return content, asked

    async def _asked(self, matter: _Matter, hook: Hook, content: Any) -> tuple[CallRuled, Any]:
        reply, failed = await hook.ask(self._occasion(matter, _plain(content)))
        said = Said(reply.ruling, reply.reason, reply.approvers)
        ruled = await self._record(matter, hook.name, said, reply.change, failed=failed)
        return ruled, reply.change

    async def _record(
        self,
        matter: _Matter,
        by: str,
        said: Said,
        change: Any = msgspec.UNSET,
        *,
        failed: bool = False,
    ) -> CallRuled:
        """Have the log know of a ruling.

        Raises:
            CallDenied: it is a denial, which is stored by then.
        """
        ruled = CallRuled(
            task_id=self._recorder.task_id,
            point=matter.point,
            key=matter.key,
            by=by,
            ruling=said.ruling,
            reason=cleaned(self._blobs.redactor, said.reason[:1000], matter.key),
            call=matter.call,
            approvers=said.approvers,
            changed=change is not msgspec.UNSET,
            failed=failed,
        )
        if ruled.changed and matter.kept:
            ruled = await self._keep(ruled, change)
        self._recorder.emit(ruled)
        if ruled.ruling is Ruling.DENY:
            if matter.kept:  # else it goes with the failure of its step, in one commit
                await self._recorder.flush()
            raise CallDenied(ruled)
        return ruled

    async def _keep(self, ruled: CallRuled, change: Any) -> CallRuled:
        change = cleaned(self._blobs.redactor, change, ruled.key)
        data = encode(change)
        if self._blobs.seals or len(data) > THRESHOLD:
            return msgspec.structs.replace(ruled, blob=await self._blobs.put(data, "data"))
        return msgspec.structs.replace(ruled, change=change)

    async def _change(self, ruled: CallRuled) -> Any:
        if ruled.blob is not None:
            return msgspec.json.decode(await self._blobs.get(ruled.blob))
        return ruled.change

    async def _approved(self, matter: _Matter, content: Any, asked: Sequence[CallRuled]) -> None:
        """Ask people whether it may be: all whom somebody names, one question for each such group.

        Raises:
            CallDenied: somebody is against it, or nobody has decided in time.
        """
        groups: dict[tuple[str, ...], list[str]] = {}
        for each in asked:
            groups.setdefault(each.approvers, []).append(each.reason or f"{each.by} asks.")
        what, key = matter.name or matter.point.value, f"{PREFIX}{matter.point}:{matter.key}"
        for at, (approvers, reasons) in enumerate(groups.items()):
            text = f"{self._agent} wants to go on with {what}. {' '.join(reasons)} May it?"
            question = f"{key}:{at}" if at else key
            approval = await self.approve(question, text, what, _shown(content), approvers)
            if not approval.approved:
                why = f"Refused by {approval.by or 'nobody in time'}. {approval.reason}".rstrip()
                by = f"person {approval.by}".rstrip()
                await self._record(matter, by, Said(Ruling.DENY, why))

    def _occasion(self, matter: _Matter, content: Any) -> Occasion:
        return Occasion(
            point=matter.point,
            agent=self._agent,
            principal=self._actor,
            context=self._context,
            task=self._recorder.task_id,
            turn=self._number,
            attempt=self._attempt,
            key=matter.key,
            name=matter.name,
            time=self._recorder.now(),
            content=content,
        )


def _before(intent: StepStarted) -> Point:
    if intent.name.startswith(STEPS):
        return Point.MEMORY_BEFORE
    points = {StepKind.MODEL: Point.MODEL_BEFORE, StepKind.TOOL: Point.TOOL_BEFORE}
    return points.get(intent.kind, Point.STEP_BEFORE)


def _plain(content: Any) -> Any:
    """Return content as JSON has it; of what JSON has not, how it reads."""
    return msgspec.to_builtins(content, enc_hook=repr, str_keys=True)


def _hash(content: Any) -> str:
    try:
        return digest(encode(content))
    except (TypeError, ValueError, OverflowError):
        return ""  # what cannot be compared is not compared


def _shown(content: Any) -> Mapping[str, Any]:
    """Return what a question shows of arguments."""
    plain = _plain(content)
    given: dict[str, Any] = (
        cast("dict[str, Any]", plain) if isinstance(plain, dict) else {"arguments": plain}
    )
    data = encode(given)
    if len(data) <= _SHOWN:
        return given
    return {"arguments": data[:_SHOWN].decode(errors="replace"), "cut": True}


async def _nobody(*_: object) -> Approval:
    raise AssertionError("a guard asks people through its turn")
