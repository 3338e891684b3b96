"""What the program tells people about by itself: the kinds of alert, a closed set."""

from __future__ import annotations

from enum import StrEnum


class AlertKind(StrEnum):
    """What an alert is about; the value is its name in the settings and in what is sent."""

    GAP_OPENED = "gap.opened"
    GAP_ESCALATED = "gap.escalated"
    BREAK_OPENED = "break.opened"
    BREAK_AGED = "break.aged"
    EXCEPTIONS_OPENED = "exceptions.opened"
    INCIDENT = "incident.kept"
    BOOKING_HELD = "booking.held"
    FEED_STALE = "feed.stale"
    NO_TRADES = "trades.none"
    OTHER_DATABASE = "database.other"
    PAUSE_OVERDUE = "pause.overdue"
    LEASE_CHANGED = "lease.changed"
    JOB_OVERDUE = "job.overdue"
    PARTITION_DEFAULT = "partition.default"
    DRIFT = "drift.new_field"
    SECOND_CONSUMER = "second_consumer_suspected"

    @property
    def urgent(self) -> bool:
        """Whether somebody should look now; else today."""
        return self not in CALM


CALM = (
    AlertKind.GAP_OPENED, AlertKind.BREAK_OPENED, AlertKind.BREAK_AGED, AlertKind.EXCEPTIONS_OPENED,
    AlertKind.INCIDENT, AlertKind.LEASE_CHANGED, AlertKind.DRIFT, AlertKind.NO_TRADES,
)  # fmt: skip
