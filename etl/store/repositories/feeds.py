"""Feeds, their leases, and how their booking stands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, func, insert, select, text, tuple_, update
from sqlalchemy.dialects import postgresql

from etl.alert_kinds import AlertKind
from etl.errors import OperatorError
from etl.store.repositories.alerts import Alert, AlertRepository
from etl.store.repositories.fence import HOLD, fence_lost
from etl.store.rows.feed import BookerRow, FeedRow, KnownFieldRow, LeaseRow
from etl.store.rows.poll import CurrentPollRow


class Identity(msgspec.Struct, frozen=True):
    """What a feed is: one download user at one base URL (design.md §5)."""

    base_url: str
    organisation: str
    user_name: str

    @property
    def lock_key(self) -> int:
        """The key of the advisory lock of whoever leads this feed: 64 bits of a hash of the identity."""
        digest = hashlib.sha256("\n".join((self.base_url, self.organisation, self.user_name)).encode()).digest()
        return int.from_bytes(digest[:8], signed=True)


AT_ONCE = 1000
LONGEST_NAME = 200  # characters; an index row has room for about 2,700 bytes


class BookerState(msgspec.Struct, frozen=True):
    """How booking of a feed stands."""

    drain_id: int | None
    conflicts: int
    enriched: int
    released_drain_id: int | None
    held_at: datetime | None
    held_reason: str | None


class FeedRepository:
    """The feeds that the database knows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def register(self, name: str, identity: Identity, at: datetime) -> int:
        """Return the number of the feed, making it at its first sight.

        Raises OperatorError where the name or the identity is known otherwise: whose trades would these be?
        """
        wanted = (identity.base_url, identity.organisation, identity.user_name)
        statement = select(FeedRow.id, FeedRow.name, FeedRow.base_url, FeedRow.organisation, FeedRow.user_name)
        for number, known_name, *known in self._connection.execute(statement):
            if known_name == name and tuple(known) == wanted:
                return int(number)
            if known_name == name:
                raise OperatorError(
                    f"feed {name}: the database knows it as user {known[2]} of {known[1]} at {known[0]}, the settings "
                    f"say user {wanted[2]} of {wanted[1]} at {wanted[0]}; use another name for another feed, or, "
                    f"where it is the same one that moved: stp-etl feeds rebind {name} --reason TEXT"
                )
            if tuple(known) == wanted:
                raise OperatorError(f"feed {name}: the database knows this user at this address as feed {known_name}")
        row = {"name": name, "base_url": wanted[0], "organisation": wanted[1], "user_name": wanted[2]}
        statement_new = (
            postgresql.insert(FeedRow)
            .values(**row, lock_key=identity.lock_key, first_seen_at=at, unconfirmed_assumptions=[])
            .on_conflict_do_nothing()
            .returning(FeedRow.id)
        )
        made = self._connection.execute(statement_new).scalar_one_or_none()
        if made is None:  # another process made it just now
            return self.register(name, identity, at)
        self._connection.execute(insert(LeaseRow).values(feed_id=made, epoch=0))
        self._connection.execute(insert(BookerRow).values(feed_id=made, conflicts=0, enriched=0))
        return int(made)

    def identity(self, feed_id: int) -> Identity:
        """Return what the database knows the feed as."""
        columns = (FeedRow.base_url, FeedRow.organisation, FeedRow.user_name)
        return Identity(*self._connection.execute(select(*columns).where(FeedRow.id == feed_id)).one())

    def rebind(self, feed_id: int, identity: Identity) -> None:
        """Let the feed be another download user or address from now on. That queue was never proven empty.

        Raises OperatorError while an instance leads the feed, and where another feed is that user.
        """
        locked = select(FeedRow.lock_key).where(FeedRow.id == feed_id).scalar_subquery()
        if not self._connection.execute(select(func.pg_try_advisory_xact_lock(locked))).scalar_one():
            raise OperatorError(f"{self.leader(feed_id) or 'an instance'} leads the feed; stop it first")
        wanted = (identity.base_url, identity.organisation, identity.user_name)
        statement = select(FeedRow.name).where(
            FeedRow.id != feed_id, tuple_(FeedRow.base_url, FeedRow.organisation, FeedRow.user_name) == wanted
        )
        if (taken := self._connection.execute(statement).scalar_one_or_none()) is not None:
            raise OperatorError(f"the database knows user {wanted[2]} of {wanted[1]} at {wanted[0]} as feed {taken}")
        values = {
            "base_url": wanted[0], "organisation": wanted[1], "user_name": wanted[2], "lock_key": identity.lock_key,
        }  # fmt: skip
        self._connection.execute(update(FeedRow).where(FeedRow.id == feed_id).values(values))
        never = update(CurrentPollRow).where(CurrentPollRow.feed_id == feed_id)
        self._connection.execute(never.values(last_empty_at=None))

    def say_unconfirmed(self, feed_id: int, assumptions: Sequence[str]) -> None:
        """Keep which assumptions about the vendor nobody has settled, for `reporting.feed_status`."""
        statement = update(FeedRow).where(FeedRow.id == feed_id).values(unconfirmed_assumptions=list(assumptions))
        self._connection.execute(statement.where(FeedRow.unconfirmed_assumptions != list(assumptions)))

    def names(self) -> dict[int, str]:
        """Return the name of each feed by its number."""
        rows = self._connection.execute(select(FeedRow.id, FeedRow.name))
        return {row.id: row.name for row in rows}

    def paused_reason(self, feed_id: int) -> str | None:
        """Return why the feed is paused, or None when it is not."""
        statement = select(FeedRow.paused_at, FeedRow.paused_reason).where(FeedRow.id == feed_id)
        paused_at, reason = self._connection.execute(statement).one()
        return None if paused_at is None else str(reason)

    def pause(self, feed_id: int, *, at: datetime, by: str, reason: str, until: datetime | None = None) -> None:
        """Stop the polling of the feed until somebody resumes it."""
        values = {"paused_at": at, "paused_by": by, "paused_reason": reason, "paused_until": until}
        self._connection.execute(update(FeedRow).where(FeedRow.id == feed_id).values(**values))

    def resume(self, feed_id: int) -> bool:
        """End a pause and a hold of booking; return whether there was one."""
        booker = self.lock_booker(feed_id)
        paused = self.paused_reason(feed_id) is not None
        nothing = {"paused_at": None, "paused_by": None, "paused_reason": None, "paused_until": None}
        self._connection.execute(update(FeedRow).where(FeedRow.id == feed_id).values(**nothing))
        if booker.held_at is None:
            return paused
        passing = msgspec.structs.replace(booker, released_drain_id=booker.drain_id, held_at=None, held_reason=None)
        self.note_booking(feed_id, passing)
        return True

    def take_over(self, feed_id: int, holder: str, at: datetime) -> int:
        """Raise the epoch and return it: from here on no earlier leader opens or closes anything.

        The session that calls this is the one that holds the lock.
        """
        before = self.leader(feed_id)
        statement = (
            update(LeaseRow)
            .where(LeaseRow.feed_id == feed_id)
            .values(
                epoch=LeaseRow.epoch + 1,
                holder=holder,
                taken_at=at,
                timeline=func.stp.timeline(),
                session_pid=func.pg_backend_pid(),
                session_epoch=LeaseRow.epoch + 1,
                refused=None,
                refused_at=None,
            )
            .returning(LeaseRow.epoch)
        )
        epoch = int(self._connection.execute(statement).scalar_one())
        if before is not None:  # who stops in order says so first
            words = f"{holder} leads the feed now; {before} had not given it up"
            if before == holder:
                words = f"{holder} leads the feed again: it was cut off from the database, or killed"
            fields: dict[str, str | int] = {"from": before, "to": holder, "epoch": epoch}
            alert = Alert(AlertKind.LEASE_CHANGED, f"lease.changed/{feed_id}/{epoch}", at, words, feed_id, fields)
            AlertRepository(self._connection).tell(alert)
        return epoch

    def hold_fence(self, feed_id: int, epoch: int) -> None:
        """Keep every other instance from taking the feed over until the transaction ends.

        Raises FenceLostError when one has done so already, or when the database failed over since we did.
        """
        if self._connection.execute(text(HOLD), {"feed_id": feed_id, "epoch": epoch}).one_or_none() is None:
            raise fence_lost()

    def say_refused(self, feed_id: int, epoch: int, why: str | None, at: datetime) -> None:
        """Keep why this leader cannot poll until a person acts, or that it can; a takeover forgets it."""
        statement = update(LeaseRow).where(LeaseRow.feed_id == feed_id, LeaseRow.epoch == epoch)
        values = {"refused": why, "refused_at": None if why is None else at}
        self._connection.execute(statement.where(LeaseRow.refused.is_distinct_from(why)).values(values))

    def leader(self, feed_id: int) -> str | None:
        """Return who leads the feed, or None."""
        statement = select(LeaseRow.holder).where(LeaseRow.feed_id == feed_id)
        found: str | None = self._connection.execute(statement).scalar_one()
        return found

    def leave(self, feed_id: int, epoch: int) -> None:
        """Say that nobody leads the feed any more, where this epoch still does."""
        statement = update(LeaseRow).where(LeaseRow.feed_id == feed_id, LeaseRow.epoch == epoch).values(holder=None)
        self._connection.execute(statement)

    def lock_booker(self, feed_id: int) -> BookerState:
        """Return how booking stands, and let nobody else book this feed until the transaction ends."""
        columns = [getattr(BookerRow, name) for name in BookerState.__struct_fields__]
        statement = select(*columns).where(BookerRow.feed_id == feed_id).with_for_update()
        return BookerState(*self._connection.execute(statement).one())

    def note_booking(self, feed_id: int, state: BookerState) -> None:
        """Keep how booking stands."""
        values = msgspec.structs.asdict(state)
        self._connection.execute(update(BookerRow).where(BookerRow.feed_id == feed_id).values(**values))

    def new_fields(self, feed_id: int, seen: dict[str, int], at: datetime) -> list[str]:
        """Remember these field names (each with the message that carried it); return those never seen before."""
        if not seen:
            return []
        short = {_shortened(name): message for name, message in seen.items()}
        rows = [{"feed_id": feed_id, "name": n, "first_seen_at": at, "message_id": m} for n, m in sorted(short.items())]
        statement = postgresql.insert(KnownFieldRow).on_conflict_do_nothing().returning(KnownFieldRow.name)
        new: list[str] = []
        for start in range(0, len(rows), AT_ONCE):
            new += self._connection.execute(statement.values(rows[start : start + AT_ONCE])).scalars()
        if new:
            words = "messages carry fields that have no column; they are kept in attributes, the log names them"
            key, topic = f"drift/{feed_id}/{hashlib.sha256(new[0].encode()).hexdigest()[:16]}", f"drift/{feed_id}"
            alert = Alert(AlertKind.DRIFT, key, at, words, feed_id, topic=topic, count=len(new))
            AlertRepository(self._connection).tell(alert)
        return new

    def make_partitions(self, months: int) -> int:
        """Make the partitions of this month and the next ones; return how many were missing."""
        this_month = select(func.stp.make_partitions(text("(now() AT TIME ZONE 'UTC')::date"), months))
        return int(self._connection.execute(this_month).scalar_one())


def _shortened(name: str) -> str:
    """Return the name, a very long one cut and made its own by a part of its hash."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}… {hashlib.sha256(name.encode()).hexdigest()[:16]}"
