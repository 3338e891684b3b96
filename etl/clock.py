"""The only place that looks at the wall clock; and how threads share the time of the interpreter."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from threading import Event
from typing import Protocol

LONGEST_TURN_S = 0.001


class Clock(Protocol):
    """What the rest of the program may know about time."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean anything."""
        ...

    def boottime(self) -> float:
        """Return seconds on a clock that also counts while the machine or the process is suspended."""
        ...

    def wait(self, event: Event, seconds: float) -> bool:
        """Sleep until `event` is set or `seconds` have passed; return whether it is set."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return seconds since boot, suspension included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wait(self, event: Event, seconds: float) -> bool:
        """Sleep until `event` is set or `seconds` have passed; return whether it is set."""
        return event.wait(seconds)


CLOCKS_AGREE_S = 60.0


def disagreement(skew_s: float | None) -> str | None:
    """Return a sentence when the vendor's clock is more than a minute ahead of ours, or behind it."""
    if skew_s is None or abs(skew_s) <= CLOCKS_AGREE_S:
        return None
    return (
        f"this machine's clock is {abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead of'} the vendor's Date; "
        "synchronise it (NTP), trade days and signatures depend on it"
    )


def take_short_turns() -> None:
    """Let a thread whose answer or commit has come wait for one that computes for a millisecond at the most.

    By default it is 5 ms, as long as two small pages take from the request to the commit.
    """
    sys.setswitchinterval(LONGEST_TURN_S)
