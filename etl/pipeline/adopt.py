"""Books the vendor's stored answer about one trade as a version with source `query` (law 9)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from etl.clock import Clock
from etl.domain.adoption import Adoption, Effect, effect_of
from etl.domain.comparison import content_hash
from etl.domain.normalise import normalise
from etl.domain.payload import decode
from etl.domain.trade import Rejected
from etl.errors import ContentRefusedError
from etl.pipeline.batch import BookedFeed, booking_held
from etl.store.repositories.book import BookedVersion, text_of
from etl.store.unit_of_work import UnitOfWork


class Adopter:
    """Adopts answers for one feed; positions are corrected in the caller's transaction. The caller keeps the answer."""

    def __init__(self, feed: BookedFeed, clock: Clock) -> None:
        self._feed, self._clock = feed, clock

    def __call__(
        self, work: UnitOfWork, trade_id: str, body: bytes, *, answered_at: datetime, allowed: Collection[Effect]
    ) -> Adoption:
        """Book the answer where its effect is allowed, else only say what it would be. The same twice changes nothing.

        To be called before anything else of the transaction is written. Raises BookingHeldError.
        """
        reading = self._feed.reading
        payload = decode(body)
        says = payload if isinstance(payload, Rejected) else normalise(payload, reading)
        if isinstance(payload, Rejected) or isinstance(says, Rejected):
            assert isinstance(says, Rejected)
            return Adoption(Effect.UNREADABLE, why="; ".join(f"{each.field} {each.rule}" for each in says.faults))
        if says.trade_id != trade_id:
            return Adoption(Effect.UNREADABLE, why=f"it is about {says.trade_id}")
        state = work.feeds.lock_booker(self._feed.feed_id)
        if state.held_at is not None:
            raise booking_held(self._feed.name, state.held_reason)
        known = work.book.known(self._feed.feed_id, [trade_id]).get(trade_id)
        current = [] if known is None else [(trade_id, known.version)]
        trades = work.book.versions(self._feed.feed_id, current)
        effect, changed = effect_of(next(iter(trades.values()), None), says)
        if effect not in allowed:
            return Adoption(effect, changed=changed)
        version = BookedVersion(
            text_of(says), 1 if known is None else known.version + 1, None, content_hash(payload, reading), answered_at,
            self._clock.now(), changed, source="query",
        )  # fmt: skip
        try:
            with work.savepoint():
                work.book.add(self._feed.feed_id, [version])
        except ContentRefusedError as error:
            return Adoption(Effect.UNREADABLE, why=str(error))
        return Adoption(effect, version.version, changed)
