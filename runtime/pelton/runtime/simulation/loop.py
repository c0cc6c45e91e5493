"""An event loop on virtual time: it never waits, does no I/O, and a seed decides who runs next.

Time stands still while anything can run, and jumps to the next timer when nothing can. Tasks and
futures hash by the order in which they were made, so that a run depends on nothing but its seed.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from types import CoroutineType
from typing import Any, Final, NoReturn, TypeVarTuple

from pelton.events.errors import PeltonError

_ROUNDS: Final = 100_000
"""Rounds of the loop without any progress of time that count as running in circles."""


_Ts = TypeVarTuple("_Ts")


class Stuck(PeltonError):
    """The simulation cannot go on: nobody can run, nothing ever ends, or something is not virtual.

    The text names the tasks that wait and where.
    """

    code = "simulation-stuck"


class Process:
    """What is killed, stopped and continued together, as by SIGKILL and SIGSTOP.

    Whatever is started inside belongs to it. When killed nothing of it runs any more, not even
    `finally`; what its tasks were awaiting stays as it was.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.main: asyncio.Task[object] | None = None
        """Its first task; with it the process ends."""
        self.steps = 0
        """How many callbacks have run so far."""
        self.stops = 0
        """How often it was stopped."""
        self._fate: tuple[int, float | None] | None = None
        self._stopped = False
        self._held: list[_Handle] = []
        self._loop = running()
        self._loop.processes.append(self)
        self.ended = self._loop.create_future()
        """Done when the process was killed or its first task ended."""
        self.killed: list[Callable[[], None]] = []
        """Called when it is killed."""

    def start(self, main: Coroutine[Any, Any, object]) -> None:
        """Run `main` in this process; `main` is then its task."""
        context = Context()
        context.run(_process.set, self)
        self.main = self._loop.create_task(main, name=f"{self.name}: main", context=context)
        self.main.add_done_callback(lambda _: self._end(), context=Context())

    def kill(self) -> None:
        """Kill it here and now, wherever its tasks are waiting."""
        if self.alive:
            self.alive, self._stopped = False, True
            for tell in self.killed:
                tell()
            self._end()

    def doom(self, steps: int, *, stop: float | None = None) -> None:
        """Kill it when it has run another `steps` callbacks, or stop it for `stop` seconds then."""
        self._fate = self.steps + steps, stop

    def stop(self) -> None:
        """Let nothing of it run until it is continued; its timers wait too."""
        self._stopped = True
        self.stops += 1

    def go_on(self) -> None:
        """Continue a stopped process; everything that became due is run now."""
        if self.alive:
            self.release()

    def release(self) -> None:
        """Let what was held run, in a killed process too."""
        self._stopped = False
        held, self._held = self._held, []
        self._loop.resume(held)

    @property
    def tasks(self) -> list[str]:
        """Its tasks that have not ended, and where they wait."""
        tasks = [task for task in asyncio.all_tasks(self._loop) if isinstance(task, _Task)]
        mine = sorted((task for task in tasks if task.process is self), key=hash)
        return [f"{task.get_name()} at {_where(task.get_coro())}" for task in mine]

    def admit(self, handle: _Handle) -> bool:
        """Whether a callback may run now; it is kept if not."""
        if self.alive and self._fate is not None and self.steps >= self._fate[0]:
            (_, seconds), self._fate = self._fate, None
            if seconds is None:
                self.kill()
            else:
                self.stop()
                self._loop.call_later(seconds, self.go_on, context=Context())
        if self._stopped:
            self._held.append(handle)
            return False
        self.steps += 1
        return True

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


_process: ContextVar[Process | None] = ContextVar("process", default=None)


class _Future(asyncio.Future[Any]):
    _number = -1

    def __hash__(self) -> int:
        if self._number < 0:
            self._number = next(getattr(self.get_loop(), "numbers"))  # noqa: B009  a virtual loop
        return self._number


class _Task(asyncio.Task[Any]):
    def __init__(self, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._number: int = next(options["loop"].numbers)
        context: Context | None = options.get("context")
        self.process = _process.get() if context is None else context.get(_process)
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


def _task(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
    return _Task(coro, loop=loop, **options)


def _ignore(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
    return None


class _Handle(asyncio.TimerHandle):
    """A callback to come, `when` it is time or 0. asyncio's cost several times as much."""

    __slots__ = ("_process",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: VirtualLoop,
        context: Context | None,
    ) -> None:
        self._when = when
        self._callback, self._args, self._loop = callback, args, loop
        self._context = copy_context() if context is None else context
        self._process = self._context.get(_process)
        self._cancelled, self._repr, self._source_traceback = False, None, None

    def cancel(self) -> None:
        self._cancelled = True

    def run(self) -> None:
        """Run it, unless it was cancelled or its process may not."""
        if self._process is not None and not self._process.admit(self):
            return
        if self._cancelled:
            return
        try:
            self._context.run(self._callback, *self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  as asyncio's do
            self._loop.call_exception_handler({"message": "it failed", "exception": error})


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time is virtual.

    `order` decides which of the ready callbacks runs next; without it they run as they came.
    `limit` is the virtual time, in seconds, after which the run counts as stuck.
    """

    def __init__(self, *, order: random.Random | None = None, limit: float = 86_400.0) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.troubles: list[BaseException] = []
        """What no task and no caller took: the run fails with it."""
        self.numbers = count()
        self._now = 1_000.0
        self._limit = self._now + limit
        self._rounds = 0
        self._clock_resolution = 1e-9
        self._order = order
        self._ready: deque[_Handle] = deque()
        self._selector = self
        self._timers: list[tuple[float, int, _Handle]] = []
        self._placed = count()
        self.set_task_factory(_task)
        self.set_exception_handler(self._trouble)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call back as soon as it is drawn from those that can run."""
        handle = _Handle(0.0, callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # there is one thread

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back after some virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at a virtual time; equal times in the order of asking."""
        timer = _Handle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._placed), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future that hashes by the order in which it was first asked to."""
        return _Future(loop=self)

    def resume(self, handles: list[_Handle]) -> None:
        """Run callbacks that a process had held back."""
        self._ready.extend(handles)

    def release(self) -> None:
        """End the run: let killed processes come to an end, so that nothing is left behind."""
        self.set_exception_handler(_ignore)
        self._limit, self._rounds = self._now + 3_600.0, 0
        for process in self.processes:
            process.alive = False
            process.release()

    def _run_once(self) -> None:
        """Run what can run; when nothing can, pass to the next time at which something can.

        It is `BaseEventLoop`'s, without the I/O: most of the time of a simulation is spent here.
        """
        timers, ready = self._timers, self._ready
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if ready or getattr(self, "_stopping"):  # noqa: B009  # private
            self._rounds += 1
            if self._rounds > _ROUNDS:
                raise Stuck(f"running in circles at {self._now:.3f} s:{self._waiting()}")
        elif not timers:
            raise Stuck(f"nothing can ever happen again at {self._now:.3f} s:{self._waiting()}")
        elif timers[0][0] > self._now:
            self._rounds, self._now = 0, timers[0][0]
            if self._now > self._limit:
                raise Stuck(f"still running at {self._now:.3f} s:{self._waiting()}")
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])
        order = self._order
        for _ in range(len(ready)):
            if order is not None and (many := len(ready)) > 1:
                ready.rotate(-int(order.random() * many))
            ready.popleft().run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to count: a cancelled timer is dropped when its time comes."""

    def run_in_executor(self, executor: object, func: object, *args: object) -> NoReturn:  # noqa: ARG002
        """Refuse: a thread is not simulated."""
        raise Stuck("a simulated run wants to use a thread")

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """This loop never sleeps, so nothing need wake it."""

    def _trouble(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.troubles.append(error or Stuck(str(context["message"])))

    def _waiting(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        return "".join(f"\n  {task.get_name()} at {_where(task.get_coro())}" for task in tasks)


def _where(coro: object) -> str:
    """Return where a suspended coroutine waits, innermost."""
    place = "?"
    while isinstance(coro, CoroutineType) and not coro.cr_running:  # 3.11 dies of looking inside
        frame = coro.cr_frame
        if frame is None:
            break
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        coro = coro.cr_await
    return place


def current() -> Process | None:
    """Return the process that runs, if one does."""
    return _process.get()


def running() -> VirtualLoop:
    """Return the virtual loop that runs.

    Raises:
        Stuck: the loop that runs is another one.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise Stuck("this belongs into a simulated run")
    return loop
