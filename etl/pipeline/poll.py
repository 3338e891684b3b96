"""The way of a page into the database: intent, ask, land; one commit a page (design.md §3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Event
from typing import TypeVar

import msgspec
import structlog

from etl import metrics
from etl.clock import Clock
from etl.domain.calendar import trade_day
from etl.errors import DatabaseAwayError, EtlError, FenceLostError, VendorRefusedError
from etl.pipeline.backoff import Pauses
from etl.pipeline.doubt import Doubted, open_gap, say_in_doubt
from etl.pipeline.drain import (
    Drained,
    Intent,
    Leadership,
    PolledFeed,
    given_up,
    has_bytes_to_keep,
    landing_of,
    poison_in,
    read_again,
    refusal,
)
from etl.store.repositories.polls import Ending, Landing, OpenPoll
from etl.store.unit_of_work import OpenWork, UnitOfWork
from etl.vendor.feed import Cause, PollOutcome, PollTicket, QueueAnswer, TradeFeed

TICKET_LIFE_S = 2.0  # law 12
HALVING = (Cause.TIMEOUT, Cause.TOO_LARGE)  # answers that a smaller page may bring through
UNSENT_AGAIN = (Cause.TICKET_EXPIRED, Cause.NO_SESSION)  # worth another poll at once
TRIES_UNSENT = 3
UNSENT = Ending(PollOutcome.NOT_SENT, "commit_unknown", "the reply to its opening was lost")
BROKEN_OFF = Ending(PollOutcome.IN_DOUBT, "killed", "its drain broke off before the outcome was known")

log = structlog.get_logger()
T = TypeVar("T")


class Poller:
    """Empties the queue of one feed into the database. One thread at a time may drain."""

    def __init__(
        self, feed: PolledFeed, vendor: TradeFeed, open_work: OpenWork, *,
        clock: Clock, new_id: Callable[[], str], lease: Leadership, stop: Event,
        on_landed: Callable[[], None] = lambda: None, prove: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._feed, self._vendor, self._open_work = feed, vendor, open_work
        self._clock, self._new_id, self._lease, self._stop = clock, new_id, lease, stop
        self._on_landed, self._prove = on_landed, prove
        self._pauses = Pauses(clock, feed.pause_min_s, feed.pause_max_s)
        self._page_size = feed.page_size
        self._left_open: tuple[OpenPoll, Ending] | None = None  # the poll that may stand open, and what it would be
        self._unseen: set[str] = set()  # request ids of intents whose commit looked lost; nothing was sent under them
        self.drained = Drained()
        """How far the present drain is, or how the last one ended."""

    def take(self, feed: PolledFeed) -> None:
        """Go on with these settings of the same feed."""
        self._feed, self._page_size = feed, feed.page_size
        self._pauses.between(feed.pause_min_s, feed.pause_max_s)

    @property
    def resting_s(self) -> float:
        """Return for how many seconds more no request is sent, after something went wrong."""
        return self._pauses.left_s

    def drain(self) -> Drained:
        """Ask until the queue is proven empty, something is in doubt, or we are told to stop.

        Raises VendorAwayError and VendorRefusedError (no session), DatabaseAwayError, FenceLostError.
        """
        drained = self.drained = Drained(last=self.drained.last)
        if self._stop.is_set() or self.resting_s > 0:
            return drained
        try:
            self._vendor.ensure_session()
            intent: Intent | None = self._open(0)
            tries = TRIES_UNSENT
            while intent is not None:
                drained.last = intent.poll
                answer = self._ask(intent)
                tries = TRIES_UNSENT if answer.outcome is PollOutcome.PAGE else tries - 1
                intent = self._settle(intent.poll, answer, drained, tries)
        except Exception:
            self._pauses.longer()
            raise
        self._note_end(drained)
        return drained

    def _open(self, drain_id: int) -> Intent:
        """Commit the intent (law 2). Raises FenceLostError when we do not lead any more."""
        if not self._lease.held:
            raise FenceLostError(f"feed {self._feed.name}: the lease is not ours; no poll is opened")
        self._end_left_open()
        now, known = self._clock.now(), self.drained.last.poll_id if self.drained.last else 0
        first_doubt = trade_day(now) - timedelta(days=self._feed.history_days)
        wanted = OpenPoll(
            self._feed.feed_id, known, self._new_id(), self._lease.epoch, drain_id, now, first_doubt, self._page_size
        )
        started = self._clock.monotonic()
        self._left_open = wanted, UNSENT
        with self._open_work() as work:
            work.polls.check_landing()
            poll = work.polls.open(wanted)
            expires_at = self._clock.boottime() + TICKET_LIFE_S
            work.commit()
        metrics.PAGE_SECONDS.labels("intent").observe(self._clock.monotonic() - started)
        if poll is None:
            if self._end_stray(wanted):
                return self._open(drain_id)
            raise FenceLostError(f"feed {self._feed.name}: another instance leads it; no poll is opened")
        return Intent(poll, PollTicket(poll.poll_id, poll.request_id, expires_at))

    def _ask(self, intent: Intent) -> QueueAnswer:
        """Send the one request of this poll; never again, whatever comes (law 3)."""
        if self._stop.is_set() or not self._lease.held:
            why = "told to stop" if self._stop.is_set() else "the lease is not ours any more"
            return QueueAnswer(PollOutcome.NOT_SENT, "stopped", why)
        try:
            self._vendor.ensure_session()
        except Exception:
            self._close(intent.poll, QueueAnswer(PollOutcome.NOT_SENT, Cause.NO_SESSION, "no session with the vendor"))
            raise
        structlog.contextvars.bind_contextvars(poll_id=intent.poll.poll_id, request_id=intent.poll.request_id)
        started, self._left_open = self._clock.monotonic(), (intent.poll, BROKEN_OFF)
        answer = self._vendor.next_page(intent.ticket, intent.poll.max_count)
        metrics.PAGE_SECONDS.labels("ask").observe(self._clock.monotonic() - started)
        metrics.POLLS.labels(self._feed.name, answer.outcome).inc()
        return answer

    def _settle(self, poll: OpenPoll, answer: QueueAnswer, drained: Drained, tries: int) -> Intent | None:
        """Land what came, write the outcome, and return the next poll of the drain, or None at its end."""
        answer, landing = read_again(answer)
        drained.outcome, drained.cause, drained.detail = answer.outcome, answer.cause, answer.detail
        drained.polls += 1
        drained.retry_after_s = answer.retry_after_s or 0.0
        match answer.outcome:
            case PollOutcome.PAGE:
                return self._land_page(poll, answer, landing, drained)
            case PollOutcome.EMPTY:
                self._close(poll, answer)
                metrics.LAST_EMPTY_TIMESTAMP_SECONDS.labels(self._feed.name).set(self._clock.now().timestamp())
                return None
            case PollOutcome.REFUSED:
                self._close(poll, answer)
                if answer.cause != Cause.HTTP_401 or tries < TRIES_UNSENT - 1:
                    raise VendorRefusedError(refusal(self._feed.name, answer))
                self._vendor.forget_session()
                self._vendor.ensure_session()
                return self._open(poll.drain_id)
            case PollOutcome.NOT_SENT:
                self._close(poll, answer)
                return self._open(poll.drain_id) if answer.cause in UNSENT_AGAIN and tries > 0 else None
            case PollOutcome.IN_DOUBT:
                self._close(poll, answer)
                doubted = Doubted(poll.poll_id, poll.request_id, str(answer.cause))
                say_in_doubt(self._feed.name, doubted, doubt_from=poll.doubt_from, detail=answer.detail)
                return None

    def _land_page(self, poll: OpenPoll, answer: QueueAnswer, landing: Landing, drained: Drained) -> Intent | None:
        """Land a page and open the next poll in the same commit; on a stop close the poll without a next one."""
        drained.pages += 1
        drained.messages += landing.messages
        started = self._clock.monotonic()
        if self._stop.is_set() or not self._lease.held:
            self._close(poll, answer)
            following = None
        else:
            following = self._land_and_open_next(poll, landing)
        metrics.PAGE_SECONDS.labels("land").observe(self._clock.monotonic() - started)
        metrics.MESSAGES_LANDED.labels(self._feed.name).inc(landing.messages)
        self._on_landed()
        return following

    def _land_and_open_next(self, poll: OpenPoll, landing: Landing) -> Intent:
        next_request_id = self._new_id()
        lost_reply = False

        def land(work: UnitOfWork) -> Intent | None:
            nonlocal lost_reply
            at, expires_at = self._clock.now(), self._clock.boottime() + TICKET_LIFE_S
            following = work.polls.land_and_open_next(poll, landing, at=at, next_request_id=next_request_id)
            lost_reply = following is None and work.polls.find_open(poll, next_request_id) is not None
            if following is None:
                return None
            return Intent(following, PollTicket(following.poll_id, next_request_id, expires_at))

        following = self._until_landed(poll, land)
        if following is not None:
            self._left_open = following.poll, UNSENT
            return following
        if lost_reply:  # an earlier try had landed it and opened that poll; nothing was sent under it
            self._left_open = msgspec.structs.replace(poll, request_id=next_request_id), UNSENT
            return self._open(poll.drain_id)
        raise FenceLostError(f"feed {self._feed.name}: another instance leads it; the answer in hand is landed")

    def _close(self, poll: OpenPoll, answer: QueueAnswer) -> None:
        """Land the bytes of the answer, if any, and write the poll's outcome, in one commit."""
        landing = landing_of(answer) if has_bytes_to_keep(answer) else None
        ending = Ending(
            answer.outcome, answer.cause, answer.detail or None, answer.status, answer.vendor_date,
            messages=landing.messages if landing else 0, proof=self._prove(),
        )  # fmt: skip
        doubted = Doubted(poll.poll_id, poll.request_id, str(answer.cause), poison_in(answer))

        def close(work: UnitOfWork) -> None:
            at = self._clock.now()
            if landing is not None:
                work.polls.land(poll, landing, at)
            closed = work.polls.close(poll, ending, at)
            if closed and answer.outcome is PollOutcome.IN_DOUBT:
                open_gap(work, poll.feed_id, doubted, at=at, ghost_s=self._feed.ghost_s)
            if answer.exchange is not None:
                values = {
                    "poll_id": poll.poll_id, "request_id": poll.request_id, "occurred_at": at,
                    "status": answer.status, "reason_code": answer.reason_code,
                    "exchange": answer.exchange,
                }  # fmt: skip
                work.attention.add_incident(poll.feed_id, values)

        self._until_landed(poll, close)
        self._left_open = None
        if landing is not None and landing.bookable:
            self._on_landed()

    def _end_left_open(self) -> None:
        """Close the poll that a lost reply or an error of ours left open: nobody else would while we lead."""
        if self._left_open is None:
            return
        poll, ending = self._left_open
        with self._open_work() as work:
            found = work.polls.find_open(poll, poll.request_id)
            at = self._clock.now()
            closed = found is not None and work.polls.close(found, ending, at)
            if found is not None and closed and ending is BROKEN_OFF:
                doubted = Doubted(found.poll_id, found.request_id, ending.cause)
                open_gap(work, found.feed_id, doubted, at=at, ghost_s=self._feed.ghost_s)
            work.commit()
        self._left_open = None
        if found is None and ending is UNSENT:
            self._unseen.add(poll.request_id)
        if found is not None and closed and ending is BROKEN_OFF:
            say_in_doubt(self._feed.name, doubted, doubt_from=found.doubt_from)

    def _end_stray(self, wanted: OpenPoll) -> bool:
        """Close a poll of ours that stands open after all: its intent was kept after its commit had looked lost.

        Returns whether there was one. Nothing was sent under it: a request leaves only after a commit that succeeded.
        """
        with self._open_work() as work:
            stray = work.polls.find_ours(wanted)
            ours = stray is not None and stray.request_id in self._unseen
            closed = stray is not None and ours and work.polls.close(stray, UNSENT, self._clock.now())
            work.commit()
        return closed

    def _until_landed(self, poll: OpenPoll, work_on: Callable[[UnitOfWork], T]) -> T:
        """Commit the work, however long the database stays away or says no: the answer in hand exists nowhere else.

        On a stop it is tried for the grace period and then given up: DatabaseAwayError, and the poll is in doubt.
        """
        pauses = Pauses(self._clock, 0.05, 5.0)
        given_up_at: float | None = None
        while True:
            self.drained.tries += 1
            try:
                with self._open_work() as work:
                    result = work_on(work)
                    work.commit()
                return result
            except FenceLostError:
                raise
            except EtlError as error:  # refused, too: rights and tables come back, the bytes in hand would not
                log.warning("poll.landing_waits", feed=self._feed.name, poll_id=poll.poll_id, error=str(error))
            if self._stop.is_set():
                given_up_at = given_up_at or self._clock.monotonic() + self._feed.grace_s
                if self._clock.monotonic() > given_up_at:
                    raise DatabaseAwayError(given_up(self._feed, poll))
            pauses.longer()
            self._clock.wait(Event() if given_up_at else self._stop, min(pauses.left_s, 0.5 if given_up_at else 5.0))

    def _note_end(self, drained: Drained) -> None:
        """Rest after trouble, take smaller pages after an answer that was too slow or too large, and recover."""
        if drained.outcome is PollOutcome.EMPTY:
            self._pauses.none()
            self._page_size = min(self._feed.page_size, self._page_size * 2)
        elif drained.outcome in (PollOutcome.IN_DOUBT, PollOutcome.NOT_SENT) and drained.cause != "stopped":
            self._pauses.longer(drained.retry_after_s)
        if drained.cause in HALVING:
            self._page_size = max(1, self._page_size // 2)
