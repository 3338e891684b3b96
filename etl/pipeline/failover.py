"""A database that failed over may have lost commits: the gap over what they carried; another database is refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import structlog

from etl.domain.calendar import trade_day
from etl.domain.evidence import moment
from etl.domain.gaps import Doubt, GapCause, window_of
from etl.domain.window import Window
from etl.errors import OtherDatabaseError
from etl.pipeline.doubt import REMEMBER_LATENESS
from etl.store.repositories.incarnations import Incarnation, Survived
from etl.store.repositories.polls import OpenPoll
from etl.store.unit_of_work import OpenWork, UnitOfWork

log = structlog.get_logger()


class FailedOver(msgspec.Struct, frozen=True):
    """A feed whose database may have lost commits. Times in seconds."""

    feed_id: int
    name: str
    ghost_s: float
    history_days: int


def refuse_other_database(open_work: OpenWork, feed_id: int, name: str, at: datetime) -> None:
    """Raise OtherDatabaseError unless this is the database that the feed was last pulled into, or the first one.

    A restored or cloned database lacks what was pulled since, or belongs to somebody who only tries something out:
    a person says which (design.md §5). Kept with the feed, so that `status` says it too, and told once.
    """
    with open_work() as work:
        here, known = work.incarnations.here(), work.incarnations.known(feed_id)
        if known is None or known.system_identifier == here.system_identifier:
            return
        work.incarnations.note_other(feed_id, here, known, at)
        work.commit()
    sentence = (
        f"feed {name}: this is another database ({here}) than the one it was pulled into ({known}); nothing is asked "
        f"of the vendor until you say what it is. Restored from a backup: stp-etl gaps open --feed {name} "
        f"--restored-from INSTANT --reason TEXT; nothing missing in it (moved, upgraded): stp-etl feeds adopt-database "
        f"{name} --reason TEXT; a copy to try something out: not with these settings"
    )
    raise OtherDatabaseError(sentence)


def cover_failover(work: UnitOfWork, feed: FailedOver, committed: OpenPoll | None, at: datetime) -> int | None:
    """Open the gap over what a failover may have lost, where there was one since the feed was pulled last.

    A new timeline tells it; so does `committed`, a poll that this process saw committed, when it is not known any
    more. Returns the number of the gap, or None. The caller commits, and holds the fence.
    """
    here, known = work.incarnations.here(), work.incarnations.known(feed.feed_id)
    missing = committed is not None and not work.incarnations.has_poll(
        feed.feed_id, committed.poll_id, committed.request_id
    )
    if known is None or known != here:
        work.incarnations.adopt(feed.feed_id, here)
    if not missing and (known is None or known == here):
        return None
    work.incarnations.jump_numbers()
    cause = f"timeline {known.timeline}, now {here.timeline}" if known and known != here else "a committed poll is gone"
    gap_id = _open_gap(work, feed, cause, at)
    log.error("database.failed_over", feed=feed.name, cause=cause, gap_id=gap_id)
    return gap_id


def _open_gap(work: UnitOfWork, feed: FailedOver, cause: str, at: datetime) -> int:
    """Doubt all that was handed out since the queue was last proven empty, as far as the surviving commits know."""
    work.gaps.lock(feed.feed_id)
    survived = work.incarnations.survived(feed.feed_id)
    window = doubted_window(work, feed, survived, at=at)
    not_before = at + timedelta(seconds=feed.ghost_s)
    evidence = {"at": at.isoformat(), "cause": cause}
    gap_id = work.gaps.open(
        feed.feed_id, GapCause.FAILOVER, window, at=at, not_before=not_before, evidence=evidence,
        why=f"requests of before the failover may still be executed until {moment(not_before)} (ghost_s)",
    )  # fmt: skip
    if survived.last_page is not None:
        work.gaps.cover(survived.last_page, gap_id)
    work.gaps.break_off(feed.feed_id, at=at, not_before=not_before, why="the database failed over meanwhile")
    log.warning(
        "gap.opened", gap_id=gap_id, cause=cause, from_date=window.start.isoformat(), to_date=window.last.isoformat()
    )
    return gap_id


def doubted_window(
    work: UnitOfWork, feed: FailedOver, survived: Survived, *, at: datetime, restored_from: datetime | None = None
) -> Window:
    """Return the trade dates of which something may be lost: all since the last proof, or since the backup."""
    days = [survived.doubt_from or trade_day(at) - timedelta(days=feed.history_days)]
    if restored_from is not None:
        days.append(trade_day(restored_from))
    if (resend := work.gaps.in_flight(feed.feed_id)) is not None:
        days.append(resend.from_date)
    lateness = work.measures.lateness_days(feed.feed_id, (at - REMEMBER_LATENESS).date())
    return window_of(Doubt(min(days), at, oldest_landed=survived.oldest_landed, lateness_days=lateness))


def adopted(work: UnitOfWork, feed_id: int) -> tuple[Incarnation | None, Incarnation]:
    """Let the feed be pulled into this database from now on; return the one before and this one."""
    here, known = work.incarnations.here(), work.incarnations.known(feed_id)
    work.incarnations.adopt(feed_id, here)
    work.incarnations.jump_numbers()
    return known, here
