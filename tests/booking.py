"""A booker at work on a real database, and the book as its users see it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import count
from typing import Any

import msgspec

from etl.domain.adoption import BY_A_PERSON, Adoption
from etl.domain.fields import Reading
from etl.pipeline.adopt import Adopter
from etl.pipeline.batch import BookedFeed
from etl.pipeline.book import Booker
from etl.pipeline.rebook import Rebooker
from etl.store.database import Database
from etl.store.repositories.attention import Deed
from etl.store.repositories.polls import OpenPoll
from etl.store.unit_of_work import OpenWork, work_on
from tests.clocks import START, FakeClock
from tests.databases import rows, value
from tests.feeds import a_feed, landed

# The legs of all live trades, summed as the table `position` should have them; '' stands for none.
SUMS = """
SELECT coalesce(party.organisation, ''), coalesce(party.legal_entity, ''), coalesce(party.trader, ''), v.symbol,
    l.value_date, l.deliverable, sum(l.base_amount * party.sign), sum(l.term_amount * party.sign), count(*)
FROM stp.trade t JOIN stp.trade_version v USING (feed_id, trade_id, version)
JOIN stp.trade_leg l USING (feed_id, trade_id, version)
CROSS JOIN LATERAL (
    SELECT v.organisation, v.legal_entity, CASE WHEN v.our_side <> 'counterparty' THEN v.trader END AS trader, 1 AS sign
    UNION ALL SELECT v.counterparty, v.counterparty_entity, NULL, -1 WHERE v.internal
) AS party
WHERE v.live AND t.feed_id = :feed_id GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
"""
KEPT = """
SELECT organisation, legal_entity, trader, symbol, value_date, deliverable, base_amount, term_amount, trade_count
FROM stp.position WHERE feed_id = :feed_id AND trade_count <> 0 ORDER BY 1, 2, 3, 4, 5, 6
"""
FLAT = """
SELECT count(*) FROM stp.position
WHERE feed_id = :feed_id AND trade_count = 0 AND (base_amount <> 0 OR term_amount <> 0)
"""
_numbers = count(1)


class Booking:
    """One feed whose answers are landed and booked."""

    def __init__(
        self,
        database: Database,
        *,
        reading: Reading | None = None,
        open_work: OpenWork | None = None,
        **of_the_feed: Any,
    ) -> None:
        self.database, self.clock = database, FakeClock()
        self.open_work = open_work or work_on(database)
        self.feed = a_feed(self.open_work, f"feed{next(_numbers)}")
        self.booked_feed = BookedFeed(self.feed.feed_id, self.feed.name, reading or Reading(), **of_the_feed)
        self.booker = Booker(self.booked_feed, self.open_work, self.clock)

    def land(self, *messages: bytes, body: bytes | None = None, at: datetime = START, drain_id: int = 0) -> OpenPoll:
        """Land one answer with these messages."""
        return landed(self.open_work, self.feed, *messages, body=body, at=at, drain_id=drain_id)

    def book(self, *messages: bytes) -> Counter[str]:
        """Land an answer with these messages, if any, and book all that waits."""
        if messages:
            self.land(*messages)
        return self.booker.book()

    def resume(self) -> bool:
        """Let the drain pass at which booking is held."""
        with self.open_work() as work:
            ended = work.feeds.resume(self.feed.feed_id)
            work.commit()
        return ended

    def rows(self, columns: str, view: str, more: str = "") -> list[tuple[Any, ...]]:
        """Return these columns of a reporting view, of this feed only."""
        statement = f'SELECT {columns} FROM reporting."{view}" WHERE feed = :feed {more}'
        return rows(self.database, statement, feed=self.feed.name)

    def faults(self) -> list[list[tuple[str, str]]]:
        """Return field and rule of each fault, for each exception item in the order of the messages."""
        found = self.rows("faults", "exception_item", "ORDER BY message_id")
        return [[(each["field"], each["rule"]) for each in faults] for (faults,) in found]

    def contents(self) -> set[tuple[str, bytes]]:
        """Return id and content of every version of every trade."""
        statement = "SELECT trade_id, content_hash FROM stp.trade_version WHERE feed_id = :feed_id"
        return {(row[0], bytes(row[1])) for row in rows(self.database, statement, feed_id=self.feed.feed_id)}

    def waiting(self) -> int:
        """Return how many landed answers wait for booking."""
        statement = "SELECT count(*) FROM stp.unbooked WHERE feed_id = :feed_id"
        return int(value(self.database, statement, feed_id=self.feed.feed_id))

    def rebook(self, reading: Reading) -> Counter[str]:
        """Read all landed messages again, as from now on; return how many came to what."""
        self.booked_feed = msgspec.structs.replace(self.booked_feed, reading=reading)
        self.booker = Booker(self.booked_feed, self.open_work, self.clock)
        ids = [number for (number,) in self.rows("message_id", "message", "ORDER BY 1")]
        deed = Deed(START, "olga", "messages rebook", "FX-12")
        return Counter(Rebooker(self.booked_feed, self.open_work, self.clock).rebook(ids, deed).counts)

    def adopt(self, trade_id: str, body: bytes) -> Adoption:
        """Book the vendor's answer about one trade, as a person allows it."""
        with self.open_work() as work:
            adopter = Adopter(self.booked_feed, self.clock)
            adoption = adopter(work, trade_id, body, answered_at=START, allowed=BY_A_PERSON)
            work.commit()
        return adoption

    def check_positions(self) -> None:
        """Fail unless positions are the sum over the legs of all live trades."""
        check_positions(self.database, self.feed.feed_id)


def check_positions(database: Database, feed_id: int) -> None:
    """Fail unless the positions of a feed are the sum over the legs of all its live trades."""
    assert rows(database, KEPT, feed_id=feed_id) == rows(database, SUMS, feed_id=feed_id)
    assert value(database, FLAT, feed_id=feed_id) == 0
