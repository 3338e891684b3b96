"""A poller at work on a real database and a real lease, with a vendor that answers by script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event
from typing import Any
from uuid import uuid4

from etl.clock import Clock, SystemClock
from etl.pipeline.drain import Drained, PolledFeed
from etl.pipeline.poll import Poller
from etl.store.database import Database
from etl.store.leases import Lease
from etl.store.repositories.feeds import Identity
from etl.store.unit_of_work import OpenWork, UnitOfWork, work_on
from etl.vendor.feed import PollTicket, QueueAnswer
from tests.clocks import START, FakeClock
from tests.databases import change, rows, value
from tests.feeds import Feed
from tests.vendors import FakeVendor, Script


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


END_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')
"""


class Polling:
    """One feed that this process leads, and what became of its polls; looks through `database`."""

    def __init__(
        self, database: Database, *, open_work: OpenWork | None = None, clock: Clock | None = None, **of_the_feed: Any
    ) -> None:
        self.database, self.clock, self.stop = database, clock or FakeClock(), Event()
        self.open_work = open_work or work_on(database)
        identity = Identity("https://vendor.test", "pfOrg", "apiUser")
        with work_on(database)() as work:
            feed_id = work.feeds.register("main", identity, START)
            work.commit()
        self.lease = Lease(database, SystemClock(), feed_id, identity.lock_key)
        assert self.lease.take(), "somebody else leads the feed"
        self.feed = Feed(feed_id, "main", identity, self.lease.epoch)
        self.vendor = FakeVendor(clock=self.clock)
        self.landed = 0
        self._polled = PolledFeed(feed_id, "main", **of_the_feed)
        self.poller = self.new_poller()

    def new_poller(self) -> Poller:
        """Return a poller that knows nothing of what was before."""
        return Poller(
            self._polled, self.vendor, self.open_work,
            clock=self.clock, new_id=lambda: uuid4().hex, lease=self.lease, stop=self.stop, on_landed=self._count,
        )  # fmt: skip

    def _count(self) -> None:
        self.landed += 1

    def drain(self, *answers: Script) -> Drained:
        """Drain once; the vendor gives these answers, and is empty afterwards."""
        self.vendor.answers[:] = answers
        return self.poller.drain()

    def drain_until_killed(self) -> int:
        """Drain until the process would be gone, with a request under way; return the number of its poll."""

        def die(ticket: PollTicket, count: int) -> QueueAnswer:
            raise KilledError

        try:
            self.drain(die)
        except KilledError:
            return int(self.current()["poll_id"])
        raise AssertionError("the vendor was not asked")

    def rest(self) -> None:
        """Let the pause after trouble pass."""
        assert isinstance(self.clock, FakeClock)
        self.clock.advance(self.poller.resting_s)

    def current(self) -> dict[str, Any]:
        """Return the poll under way, or the last one."""
        names = ("poll_id", "request_id", "epoch", "drain_id", "outcome", "cause", "max_count")
        (row,) = rows(self.database, f"SELECT {', '.join(names)} FROM stp.current_poll")
        return dict(zip(names, row, strict=True))

    def ledger(self) -> list[tuple[str, str]]:
        """Return outcome and cause of every poll in the ledger, in their order."""
        return [(row[0], row[1]) for row in rows(self.database, "SELECT outcome, cause FROM stp.poll ORDER BY id")]

    def bodies(self) -> list[bytes]:
        """Return the landed bytes in the order of the polls."""
        return [bytes(row[0]) for row in rows(self.database, "SELECT body FROM stp.answer ORDER BY poll_id")]

    def pages_without_answer(self) -> int:
        """Count the polls that are closed as a page and have no landed answer: the sin that loses trades."""
        closed = "SELECT id FROM stp.poll WHERE outcome = 'page' EXCEPT SELECT poll_id FROM stp.answer"
        return int(value(self.database, f"SELECT count(*) FROM ({closed}) AS lost"))

    def take_over(self) -> int:
        """Let another instance become the leader in the database; this one does not know of it yet."""
        with work_on(self.database)() as work:
            epoch = work.feeds.take_over(self.feed.feed_id, "another", START)
            work.commit()
        return epoch

    def close_stale(self, epoch: int) -> int | None:
        """Mark what earlier leaders left open, as a new leader does."""
        with work_on(self.database)() as work:
            stale = work.polls.close_stale(self.feed.feed_id, epoch, START)
            work.commit()
        return stale

    def end_connections(self) -> None:
        """End every connection of this database but the lease's."""
        another = Database(self.database.url.render_as_string(hide_password=False))
        change(another, END_CONNECTIONS)
        another.close()

    def close(self) -> None:
        """Give the leadership up."""
        self.lease.leave()


def interrupted(open_work: OpenWork, before_commit: Callable[[], None], *, times: int = 1, skip: int = 0) -> OpenWork:
    """Return `open_work` with something that happens right before the first commits, after `skip` undisturbed ones."""
    commits = count()

    @contextmanager
    def open_interrupted() -> Iterator[UnitOfWork]:
        with open_work() as work:
            commit = work.commit

            def commit_late() -> None:
                if skip <= next(commits) < skip + times:
                    before_commit()
                commit()

            work.commit = commit_late  # type: ignore[method-assign]
            yield work

    return open_interrupted
