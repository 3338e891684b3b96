"""One look after another, until what they show is settled or patience ends (design.md §6)."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Generic, TypeVar

from etl.clock import Clock
from etl.controls.looks import NotDrained
from etl.controls.questions import ReconciledFeed, Unanswered

L = TypeVar("L")


class Looks(Generic[L]):
    """The looks of one run: so many at most, with a pause before each but the first, and not longer than so long."""

    def __init__(
        self, look: Callable[[], L | NotDrained | Unanswered], feed: ReconciledFeed, clock: Clock, stop: Event
    ) -> None:
        self._look, self._feed, self._clock, self._stop = look, feed, clock, stop
        self._started, self.taken = clock.monotonic(), 0

    def first(self) -> L | NotDrained | Unanswered:
        """Look at once."""
        self.taken += 1
        return self._look()

    def again(self) -> L | NotDrained | Unanswered | None:
        """Look after the pause; None where the looks or the time are used up, or the program stops."""
        used_up = self.taken >= self._feed.most_looks or self._passed_s() >= self._feed.longest_s
        if used_up or self._clock.wait(self._stop, self._feed.confirm_after_s):
            return None
        return self.first()

    def _passed_s(self) -> float:
        return self._clock.monotonic() - self._started
