"""A clock that stands still until it is told otherwise, or somebody waits on it."""

import time
from datetime import UTC, datetime, timedelta
from threading import Event, Lock

START = datetime(2024, 3, 13, 15, tzinfo=UTC)  # a Wednesday, 11:00 in New York


class FakeClock:
    """Waiting moves it forward and takes no real time; `waited` lists the seconds."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._passed_s = 0.0
        self._changing = Lock()
        self.waited: list[float] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._passed_s)

    def monotonic(self) -> float:
        return 1000.0 + self._passed_s

    def boottime(self) -> float:
        return 5000.0 + self._passed_s

    def wait(self, event: Event, seconds: float) -> bool:
        if event.is_set():
            return True
        self.waited.append(seconds)
        self.advance(seconds)
        time.sleep(0.005)  # lets other threads work
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._changing:
            self._passed_s += seconds
