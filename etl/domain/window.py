"""Ranges of trade dates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import msgspec


class Window(msgspec.Struct, frozen=True, order=True):
    """Whole days, from the first up to and without the last. Never empty: `Window.of` raises ValueError."""

    start: date
    end: date

    @classmethod
    def of(cls, first: date, last: date) -> Window:
        """Return the window from `first` to `last`, both included; raise ValueError when it would be empty."""
        if last < first:
            raise ValueError(f"the window ends on {last}, before it begins on {first}")
        return cls(first, last + timedelta(days=1))

    @property
    def last(self) -> date:
        """Return the last day inside."""
        return self.end - timedelta(days=1)

    @property
    def days(self) -> int:
        """Return how many days it has."""
        return (self.end - self.start).days

    def __iter__(self) -> Iterator[date]:
        return (self.start + timedelta(days=number) for number in range(self.days))

    def touches(self, other: Window) -> bool:
        """Return whether the two overlap or lie side by side, so that one window can hold both."""
        return self.start <= other.end and other.start <= self.end

    def with_(self, other: Window) -> Window:
        """Return the smallest window that holds both."""
        return Window(min(self.start, other.start), max(self.end, other.end))

    def pieces(self, days: int) -> Iterator[Window]:
        """Return windows of at most so many days that together are this one, oldest first."""
        start = self.start
        while start < self.end:
            end = min(start + timedelta(days=days), self.end)
            yield Window(start, end)
            start = end
