"""A feed whose answers are landed, booked and read again by hand."""

from collections.abc import Sequence
from datetime import datetime

from etl.clock import Clock
from etl.domain.fields import Reading
from etl.pipeline.batch import BookedFeed
from etl.pipeline.book import Booker
from etl.pipeline.rebook import Rebooked, Rebooker
from etl.store.database import Database
from etl.store.repositories.answers import message_id
from etl.store.repositories.attention import Deed
from etl.store.unit_of_work import OpenWork
from tests.clocks import START
from tests.databases import rows
from tests.feeds import Feed, a_feed, landed

DEED = Deed(START, "olga", "messages rebook", "FX-12")
WRITTEN_AGAIN = (
    "trade", "trade_version", "trade_leg", "position", "message", "exception_item", "recon_break", "audit",
    "change_counter", "known_field",
)  # fmt: skip


class Desk:
    """One feed with what works on it; the reading given with each deed is that day's."""

    def __init__(self, database: Database, open_work: OpenWork, clock: Clock) -> None:
        self.database, self.open_work, self.clock = database, open_work, clock
        self.feed: Feed = a_feed(open_work)

    def land(self, *messages: bytes, reading: Reading | None = None, at: datetime = START) -> list[int]:
        """Land and book one answer; return the numbers of its messages."""
        poll = landed(self.open_work, self.feed, *messages, at=at)
        Booker(self._booked(reading), self.open_work, self.clock).book()
        return [message_id(poll.poll_id, place) for place in range(len(messages))]

    def rebook(self, ids: Sequence[int], reading: Reading | None = None) -> Rebooked:
        """Read these messages again and keep what differs."""
        return Rebooker(self._booked(reading), self.open_work, self.clock).rebook(ids, DEED)

    def preview(self, ids: Sequence[int], reading: Reading | None = None) -> Rebooked:
        """Return what `rebook` would change."""
        return Rebooker(self._booked(reading), self.open_work, self.clock).preview(ids)

    def excepted(self, ids: Sequence[int] | None = None) -> list[int]:
        """Return the messages of open exception items."""
        with self.open_work() as work:
            return work.rebooking.excepted(self.feed.feed_id, ids)

    def whole(self) -> dict[str, list[tuple[object, ...]]]:
        """Return every row that reading again may write."""
        return {table: sorted(rows(self.database, f"SELECT t::text FROM stp.{table} t")) for table in WRITTEN_AGAIN}

    def _booked(self, reading: Reading | None) -> BookedFeed:
        return BookedFeed(self.feed.feed_id, self.feed.name, reading or Reading())
