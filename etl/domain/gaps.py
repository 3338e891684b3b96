"""From evidence to the window of a gap: which trade dates may lack trades (design.md §4)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import msgspec

from etl.domain.calendar import DATED_AHEAD
from etl.domain.window import Window

MARGIN = timedelta(days=1)


class GapState(StrEnum):
    """Where a gap is on its way."""

    OPEN = "open"
    WAITING = "waiting"  # for the ghost: a request given up on may still be executed (A22)
    RESENDING = "resending"
    HEALED = "healed"
    ESCALATED = "escalated"  # a person has to look
    CLOSED = "closed"  # by a person, with a reason


class GapCause(StrEnum):
    """What made us doubt."""

    IN_DOUBT = "in_doubt"
    SWEEP = "sweep"  # no doubt: a closed trade date is asked again in full
    HISTORY_SWEEP = "history_sweep"  # after polls in doubt, for what their gaps may not have reached
    FILLS = "fills"
    POSITION = "position"
    FAILOVER = "failover"
    OPERATOR = "operator"


class ResendState(StrEnum):
    """Where a resend is on its way."""

    REQUESTED = "requested"
    SENDING = "sending"
    ACCEPTED = "accepted"
    AMBIGUOUS = "ambiguous"  # no answer: asked again, it is idempotent
    REFUSED = "refused"
    DRAINING = "draining"
    COMPLETE = "complete"
    SHORT = "short"  # not all that we held came again


class Doubt(msgspec.Struct, frozen=True):
    """What is known when a poll turns out to be in doubt.

    `doubt_from`: kept with the poll. `oldest_landed`: the oldest trade date that landed since the queue was last
    proven empty. `lateness_days`: the greatest seen in 90 days between a trade date and its landing. `max_count`:
    trades that the answer may have carried at the most.
    """

    doubt_from: date
    now: datetime
    vendor_date: datetime | None = None
    oldest_landed: date | None = None
    lateness_days: int = 0
    max_count: int | None = None


WIDTHS = (7, 31)
"""Days to which a gap is widened when its days came again and the difference stays; the last needs approval."""


def wider(window: Window) -> Window | None:
    """Return the next wider window that ends on the same day, or None beyond the widest."""
    days = next((days for days in WIDTHS if days > window.days), None)
    return None if days is None else Window(window.end - timedelta(days=days), window.end)


def window_of(doubt: Doubt) -> Window:
    """Return the trade dates that an answer may have carried, in whole UTC days.

    The later of our clock and the vendor's is "today", so that a clock that is slow loses nothing.
    """
    now = max(doubt.now, doubt.vendor_date or doubt.now)
    today = now.astimezone(UTC).date()
    days = [doubt.doubt_from, today - timedelta(days=doubt.lateness_days)]
    if doubt.oldest_landed is not None:
        days.append(doubt.oldest_landed)
    return Window.of(min(days) - MARGIN, today + DATED_AHEAD)
