"""Feeds that are registered and led, and answers landed for them without a vendor."""

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from etl.domain.answer import Page, content_of
from etl.store.repositories.feeds import Identity
from etl.store.repositories.polls import Ending, Landing, OpenPoll
from etl.store.unit_of_work import OpenWork
from tests.builders import a_page
from tests.clocks import START


@dataclass(frozen=True)
class Feed:
    """A feed in the database, led under `epoch`."""

    feed_id: int
    name: str
    identity: Identity
    epoch: int


def a_feed(open_work: OpenWork, name: str = "main", at: datetime = START) -> Feed:
    """Register a feed, or find it, and take it over."""
    identity = Identity("https://vendor.test", "pfOrg", f"{name}User")
    with open_work() as work:
        feed_id = work.feeds.register(name, identity, at)
        epoch = work.feeds.take_over(feed_id, "test", at)
        work.commit()
    return Feed(feed_id, name, identity, epoch)


def an_open_poll(open_work: OpenWork, feed: Feed, *, at: datetime = START, drain_id: int = 0) -> OpenPoll:
    """Commit the intent of a poll."""
    wanted = OpenPoll(feed.feed_id, 0, uuid4().hex, feed.epoch, drain_id, at, at.date(), 50)
    with open_work() as work:
        poll = work.polls.open(wanted)
        work.commit()
    assert poll is not None, "another poll is open, or another epoch leads"
    return poll


def a_landing(body: bytes, *, status: int = 200) -> Landing:
    """Return the bytes of an answer as the poller lands them."""
    content = content_of(status, body)
    count = len(content.pieces) if isinstance(content, Page) else 0
    return Landing(status=status, body=body, complete=True, bookable=count > 0, messages=count)


def landed(
    open_work: OpenWork,
    feed: Feed,
    *messages: bytes,
    body: bytes | None = None,
    at: datetime = START,
    drain_id: int = 0,
) -> OpenPoll:
    """Land one answer with these messages, or with this body; return its poll, closed as a page."""
    poll = an_open_poll(open_work, feed, at=at, drain_id=drain_id)
    landing = a_landing(a_page(*messages) if body is None else body)
    with open_work() as work:
        work.polls.land(poll, landing, at)
        work.polls.close(poll, Ending("page", "page", status=200, messages=landing.messages), at)
        work.commit()
    return poll
