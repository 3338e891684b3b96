"""How a command heals a gap where nobody else does, or looks on, until the gap is over or nothing moves any more."""

from __future__ import annotations

from typing import Any

from etl.app import App
from etl.cli.output import remark
from etl.domain.gaps import GapState
from etl.errors import EtlError, TransientError
from etl.runtime import FeedRuntime
from etl.store.repositories.gap_words import Resend
from etl.vendor.feed import PollOutcome

LOOK_EVERY_S = 0.5
PATIENCE_S = 15.0
"""For how long a command that need not wait goes on while nothing moves, beyond `eligible_after_s`."""
TRIES = 3
"""After how many failures in a row such a command leaves the gap to others."""
OVER = (GapState.HEALED, GapState.ESCALATED, GapState.CLOSED)


class Follower:
    """Follows one gap of one feed to its end."""

    def __init__(self, app: App, feed: FeedRuntime, number: int) -> None:
        self._app, self._feed, self._number = app, feed, number
        self._trouble: str | None = None
        self._failures = 0
        self._said = set[str]()
        self._seen: tuple[Any, ...] = ()
        self._moved_at = app.clock.monotonic()

    def to_the_end(self, *, wait: bool) -> dict[str, Any]:
        """Return the gap by column once it is over, and say meanwhile what it waits for, each reason once.

        Without `wait` it is left open when the vendor does not answer, or nothing moves: raises EtlError, which says
        why and who goes on. So it does where no retry can help.
        """
        row, _ = self._look()
        while row["state"] not in OVER:
            self._work()
            row, resend = self._look()
            if row["state"] not in OVER:
                self._pause(self._trouble or waits_for(row, resend), wait=wait)
        return row

    def left_open(self, why: str) -> str:
        """Return the sentence with which a command leaves the gap to others."""
        return (
            f"gap {self._number} stays open: {why}; `stp-etl run` goes on with it, or the same command again, which "
            "follows it"
        )

    def _pause(self, reason: str, *, wait: bool) -> None:
        """Say what is waited for, where that is new, and wait; raise EtlError where the gap is left to others."""
        if not wait and (self._failures >= TRIES or self._stands_still()):
            raise EtlError(self.left_open(reason))
        if reason not in self._said:
            self._said.add(reason)
            remark(f"gap {self._number}: {reason}")
        self._app.clock.wait(self._app.stop, LOOK_EVERY_S)

    def _look(self) -> tuple[dict[str, Any], Resend | None]:
        with self._app.open_work() as work:
            row, resend = work.lists.gap(self._number), work.gaps.in_flight(self._feed.feed_id)
        assert row is not None
        ours = resend if resend is not None and resend.gap_id == self._number else None
        seen = (row["state"], row["healed_before"], row["recovered"], ours and (ours.id, ours.state))
        if seen != self._seen:
            self._seen, self._moved_at = seen, self._app.clock.monotonic()
        return row, ours

    def _work(self) -> None:
        """Do what the daemon would, once, where it does not; keep in mind what stood in the way."""
        try:
            if not self._feed.lead():
                self._note(None)
                return
            if self._feed.poller.resting_s > 0:  # what went wrong before still stands
                return
            if (paused := self._feed.paused_reason()) is not None:
                self._trouble = f"the feed is paused: {paused}; resume it: stp-etl feeds resume {self._feed.name}"
                return
            drained, _ = self._feed.drain_and_book()
            self._feed.heal()
        except TransientError as error:
            self._note(str(error))
        except EtlError as error:  # no retry helps
            raise EtlError(self.left_open(str(error))) from error
        else:
            ended_well = drained.outcome is PollOutcome.EMPTY
            self._note(None if ended_well else f"the queue could not be emptied: {drained.detail or drained.cause}")

    def _note(self, trouble: str | None) -> None:
        self._trouble = trouble
        self._failures = 0 if trouble is None else self._failures + 1

    def _stands_still(self) -> bool:
        patience_s = PATIENCE_S + self._feed.settings.eligible_after_s
        return self._app.clock.monotonic() - self._moved_at > patience_s


def waits_for(row: dict[str, Any], resend: Resend | None) -> str:
    """Return what a gap that is not over waits for."""
    if resend is not None:
        days = f"{resend.window.start}" if resend.window.days == 1 else f"{resend.window.start} to {resend.window.last}"
        return f"{days} was asked for (resend {resend.id}, {resend.state}); the queue is emptied until all of it came"
    return str(row["why"] or f"it is {row['state']}")
