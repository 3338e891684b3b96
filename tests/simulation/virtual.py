"""Time that passes only when the simulation lets it: the product's clock, the vendor's, and the vendor's event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event

from etl.sandbox import days


class VirtualClock:
    """All clocks of the product in one; waiting lets the simulation go on meanwhile.

    `idle` is called with the seconds that somebody wants to wait, and lets them pass.
    """

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.passed_s = 0.0
        self.idle: Callable[[float], None] = self.move

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return 1000.0 + self.passed_s

    def boottime(self) -> float:
        return 5000.0 + self.passed_s

    def wait(self, event: Event, seconds: float) -> bool:
        if threading.current_thread() is not threading.main_thread():
            raise AssertionError("a thread of the product waits; the simulation has no say over it")
        if not event.is_set():
            self.idle(seconds)
        return event.is_set()

    def move(self, seconds: float) -> None:
        """Let seconds pass, and nothing else."""
        self.passed_s += max(0.0, seconds)


class VendorClock(days.Clock):
    """The vendor's clock, driven by the same virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps: its timers are due when virtual time has come to them."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.failures: list[BaseException] = []
        """What went wrong in tasks that nobody waits for."""
        self.set_exception_handler(
            lambda _loop, found: self.failures.append(found.get("exception") or RuntimeError(found["message"]))
        )

    def time(self) -> float:
        return self._clock.monotonic()

    def settle(self) -> None:
        """Run everything that can run now."""
        while self._has_work():
            self.call_soon(self.stop)
            self.run_forever()

    def next_timer(self) -> float | None:
        """Return when the next timer is due; None where none is set."""
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        return min(timers, default=None)

    def let_pass(self, seconds: float) -> None:
        """Let virtual time pass, and everything happen at its time."""
        until_at = self.time() + seconds
        while (due := self.next_timer()) is not None and due <= until_at:
            self._clock.move(due - self.time())
            self.settle()
        self._clock.move(until_at - self.time())

    def end(self) -> None:
        """Leave nothing behind."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.settle()
        self.close()

    def _has_work(self) -> bool:
        due = self.next_timer()
        return bool(self._ready) or (due is not None and due <= self.time())  # type: ignore[attr-defined]
