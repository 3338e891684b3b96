"""From landed answers to trades, batch after batch until nothing waits; a backlog in a process of its own."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from threading import Event
from typing import Protocol

from etl import metrics
from etl.clock import Clock
from etl.errors import NotBookedError
from etl.pipeline.batch import BatchBooker, Booked, BookedFeed
from etl.store.unit_of_work import OpenWork

BACKLOG = 30  # answers booked within a second: from then on booking and polling are worth a process each
BACKLOG_ENDS_S = 10.0  # seconds without so many after which they are not


class Apart(Protocol):
    """Books in a process of its own."""

    def book(self, feed: BookedFeed) -> Booked | None:
        """Book a batch as `BatchBooker.book` does; raise NotBookedError where it is to be booked here."""


class Booker:
    """Books what has landed for one feed."""

    def __init__(self, feed: BookedFeed, open_work: OpenWork, clock: Clock, apart: Apart | None = None) -> None:
        self._feed, self._clock, self._apart = feed, clock, apart
        self._here = BatchBooker(feed, open_work, clock)
        self._second, self._within_it, self._backlog_until = 0.0, 0, 0.0
        self.busy = False
        self.counts: Counter[str] = Counter()
        """Messages booked so far, by outcome."""

    def take(self, feed: BookedFeed) -> None:
        """Go on with these settings of the same feed, from the next batch on."""
        self._feed = feed
        self._here.take(feed)

    def book(self, stop: Event | None = None) -> Counter[str]:
        """Book until nothing waits, or until told to stop after the present batch; return the counts by outcome.

        Raises BookingHeldError, DatabaseAwayError. What was committed stays booked.
        """
        counts: Counter[str] = Counter()
        self.busy = True
        try:
            while not (stop and stop.is_set()) and (booked := self._batch()) is not None:
                self._measure(booked)
                counts += booked.counts
        finally:
            self._here.forget()
            self.busy = False
        return counts

    def _batch(self) -> Booked | None:
        if self._apart is not None and self._clock.monotonic() < self._backlog_until:
            with suppress(NotBookedError):
                booked = self._apart.book(self._feed)
                self._here.forget()
                return booked
        return self._here.book()

    def _measure(self, booked: Booked) -> None:
        now = self._clock.monotonic()
        if now - self._second > 1.0:
            self._second, self._within_it = now, 0
        self._within_it += booked.answers
        if self._within_it >= BACKLOG:
            self._backlog_until = now + BACKLOG_ENDS_S
        self.counts += booked.counts
        for outcome, count in booked.counts.items():
            metrics.TRADES_BOOKED.labels(self._feed.name, outcome).inc(count)
        metrics.PAGE_SECONDS.labels("book").observe(booked.seconds)
        if booked.newest is not None:  # one a batch is enough to see the delay
            late = (self._clock.now() - booked.newest).total_seconds()
            metrics.EXECUTION_TO_BOOK_SECONDS.observe(max(0.0, late))
