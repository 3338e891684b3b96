"""The fence: who leads a feed now, and may open and close its polls, gaps and resends (design §5)."""

from __future__ import annotations

from etl.errors import FenceLostError

OUR_LEASE = "stp.lease WHERE feed_id = :feed_id AND epoch = :epoch AND coalesce(timeline = stp.timeline(), true)"
"""Empty when another instance has taken over, or when the database failed over since the lease was taken."""

HOLD = f"SELECT set_config('idle_in_transaction_session_timeout', '4s', true) FROM {OUR_LEASE} FOR SHARE"
"""Holds the lease row to the end of the transaction. Whoever stops in the middle of the transaction loses it after 4 s,
as it loses the lease: nobody could take over before."""


def fence_lost() -> FenceLostError:
    """Return what is raised where the lease is not ours any more."""
    return FenceLostError("another instance leads this feed now, or the database failed over")
