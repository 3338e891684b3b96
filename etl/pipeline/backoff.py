"""Growing pauses after trouble."""

from __future__ import annotations

from etl.clock import Clock


class Pauses:
    """Doubles the pause at each trouble, from `shortest_s` to `longest_s`, until told that all is well."""

    def __init__(self, clock: Clock, shortest_s: float, longest_s: float) -> None:
        self._clock, self._shortest_s, self._longest_s = clock, shortest_s, longest_s
        self._pause_s = 0.0
        self._until = 0.0

    def between(self, shortest_s: float, longest_s: float) -> None:
        """Take other bounds, for the pauses that come."""
        self._shortest_s, self._longest_s = shortest_s, longest_s

    @property
    def left_s(self) -> float:
        """Return the seconds that are left of the present pause."""
        return max(0.0, self._until - self._clock.monotonic())

    def longer(self, at_least_s: float = 0.0) -> None:
        """Begin a pause twice as long as the one before, and not shorter than `at_least_s`."""
        self._pause_s = min(max(self._shortest_s, self._pause_s * 2), self._longest_s)
        self._until = self._clock.monotonic() + max(self._pause_s, at_least_s)

    def none(self) -> None:
        """Forget the trouble."""
        self._pause_s = self._until = 0.0
