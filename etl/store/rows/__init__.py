"""The tables, one file per subject; importing this module makes `Row.metadata` complete."""

from etl.store.rows import attention, feed, gap, poll, trade

__all__ = ["attention", "feed", "gap", "poll", "trade"]
