"""The tables, one file per subject; importing this module makes `Row.metadata` complete."""

from etl.store.rows import alert, attention, breaks, feed, gap, poll, reconciliation, request, trade

__all__ = ["alert", "attention", "breaks", "feed", "gap", "poll", "reconciliation", "request", "trade"]
