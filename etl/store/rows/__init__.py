"""The tables, one file per subject; importing this module makes `Row.metadata` complete."""

from etl.store.rows import alert, attention, feed, gap, poll, trade

__all__ = ["alert", "attention", "feed", "gap", "poll", "trade"]
