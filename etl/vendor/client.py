"""The vendor's REST side: the one destructive GET, the resend request, and questions that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from threading import Lock
from urllib.parse import quote

import msgspec
import requests

from etl.clock import Clock
from etl.vendor.asking import raise_unless_answered, reply_of, request_to
from etl.vendor.endpoint import QUEUE_PATH, is_queue
from etl.vendor.endpoint import Endpoint as Endpoint
from etl.vendor.feed import (
    Cause,
    PollOutcome,
    PollTicket,
    QueueAnswer,
    ResendAnswer,
    VendorReply,
)
from etl.vendor.outcome import outcome_of, resend_answer_of, vendor_date_of
from etl.vendor.session import TOKEN_HEADER, Session
from etl.vendor.transport import Exchange, Wire

RESEND_PATH = "/v2/trades/stp/resend"


class VendorClient:
    """`TradeFeed` and `VendorQuestions` over HTTP, for one download user.

    The queue has a connection of its own. May be used by several threads; requests of one kind wait for each other.
    It holds no code that places, amends or cancels anything: its only POSTs are the login and the resend request.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock, new_id: Callable[[], str]) -> None:
        """Raise ConfigError when the files for TLS cannot be used. Nothing is connected yet.

        `new_id` makes the `X-Request-ID` of all requests but those of the queue, whose tickets bring their own.
        """
        self._endpoint, self._clock, self._new_id = endpoint, clock, new_id
        self._queue_wire = Wire(endpoint, clock)
        self._wire = Wire(endpoint, clock)
        self._session_wire = Wire(endpoint, clock)  # a slow question must not keep a poll from renewing
        self._session = Session(endpoint, clock, self._session_wire, new_id)
        self._queue_requests: dict[int, requests.PreparedRequest] = {}
        self._used_tickets: dict[tuple[int, str], float] = {}
        self._tickets_lock = Lock()
        self.last_vendor_date: datetime | None = None
        """The Date header of the last answer that had one."""
        self.last_seen_at: datetime | None = None
        """Our own clock when that answer had arrived."""

    def take(self, endpoint: Endpoint) -> None:
        """Go on with the time-outs, the limit of an answer and the secrets of `endpoint`, which is the same address.

        Proxy, certificates and options of sockets stay. A request under way keeps what it began with.
        """
        self._endpoint = self._session.endpoint = endpoint
        for wire in (self._queue_wire, self._wire, self._session_wire):
            wire.endpoint = endpoint

    def clock_skew_s(self) -> float | None:
        """Return by how many seconds the vendor's clock is ahead of ours, as of the last answer; None before it.

        The Date header counts whole seconds and is older than the answer's arrival: within 2 s means nothing.
        """
        if self.last_vendor_date is None or self.last_seen_at is None:
            return None
        return (self.last_vendor_date - self.last_seen_at).total_seconds()

    def ensure_session(self) -> None:
        """Log in, or renew the session, when that is due; with HMAC read the secret.

        Raises VendorAwayError, VendorThrottledError or VendorRefusedError.
        """
        self._session.ensure()

    def forget_session(self) -> None:
        """Drop the session, so that the next `ensure_session` logs in and reads the password file anew."""
        self._session.forget()

    def next_page(self, ticket: PollTicket, max_count: int) -> QueueAnswer:
        """Send the one destructive GET and say what came of it; see `TradeFeed` and `outcome_of`.

        The ticket is checked on the connection that stands, right before the first byte leaves, and serves once,
        whatever comes of it (law 12). Raises ValueError for a `max_count` below 1, and nothing else.
        """
        request = self._queue_request(max_count)
        request.headers["X-Request-ID"] = ticket.request_id
        if not self._use(ticket):
            return _not_sent(Cause.TICKET_USED, f"poll {ticket.poll_id}: its ticket was used before")
        if not self._session.authorise(request):
            return _not_sent(Cause.NO_SESSION, "there is no session with the vendor; log in first")
        exchange = self._queue_wire.send(request, lambda: ticket.check(self._clock.boottime()))
        self._note_date(exchange)
        answer = outcome_of(exchange, ticket.request_id, self._clock.now(), self._session.hide)
        if answer.outcome is PollOutcome.IN_DOUBT:
            self._queue_wire.drop()
        return answer

    def request_resend(self, start_at: datetime, end_at: datetime) -> ResendAnswer:
        """Ask that the trades of a range of trade dates, both ends included, be handed out again (A12).

        Raises ValueError for a range that is empty or without a time zone, and what `ensure_session` raises.
        """
        if start_at > end_at:
            raise ValueError("the range of a resend ends before it starts")
        body = msgspec.json.encode({"startDate": vendor_time(start_at), "endDate": vendor_time(end_at)})
        exchange, request_id = self._exchange("POST", RESEND_PATH, body=body)
        return resend_answer_of(exchange, request_id, self._clock.now(), self._session.hide)

    def trade(self, trade_id: str) -> VendorReply:
        """Return `GET /v2/trades/{id}` (A20). Raises ValueError for an id that no trade can have."""
        if not trade_id.strip("./ "):
            raise ValueError("this cannot be a trade id")
        return self.ask(f"/v2/trades/{quote(trade_id, safe='')}")

    def fills(self, order_id: str) -> VendorReply:
        """Return `GET /v2/trades?orderId=` (A19)."""
        return self.ask("/v2/trades", {"orderId": order_id})

    def positions(
        self, level: str, value: str, symbol: str | None = None, value_date: date | None = None, page: int | None = None
    ) -> VendorReply:
        """Return `GET /v2/positions`, or of one value date (A14)."""
        asked = {"level": level, "value": value, "symbol": symbol, "page": page}
        query = {name: given for name, given in asked.items() if given is not None}
        return self.ask(f"/v2/positions/{value_date.isoformat()}" if value_date else "/v2/positions", query)

    def balances(self, asset: str | None = None) -> VendorReply:
        """Return `GET /custody/v2/account/balances` (A15)."""
        return self.ask("/custody/v2/account/balances", _of_asset(asset))

    def broker_balances(self, asset: str | None = None) -> VendorReply:
        """Return `GET /custody/v2/broker/account/balances` (A16)."""
        return self.ask("/custody/v2/broker/account/balances", _of_asset(asset))

    def deposits(self, start_at: datetime, end_at: datetime) -> VendorReply:
        """Return `GET /custody/v2/deposit/history` of a period (A17)."""
        return self.ask("/custody/v2/deposit/history", _period(start_at, end_at))

    def withdrawals(self, start_at: datetime, end_at: datetime) -> VendorReply:
        """Return `GET /custody/v2/withdraw/history` of a period (A17)."""
        return self.ask("/custody/v2/withdraw/history", _period(start_at, end_at))

    def assets(self, asset: str | None = None) -> VendorReply:
        """Return `GET /custody/v2/asset/assetDetail` (A18)."""
        return self.ask("/custody/v2/asset/assetDetail", _of_asset(asset))

    def spot_rate(self, symbol: str) -> VendorReply:
        """Return `GET /v2/rates/spot?symbol=` (integral-api.md §8)."""
        return self.ask("/v2/rates/spot", {"symbol": symbol})

    def benchmark(self, symbol: str) -> VendorReply:
        """Return `GET /v2/benchmark?symbol=` (integral-api.md §8)."""
        return self.ask("/v2/benchmark", {"symbol": symbol})

    def ask(self, path: str, query: Mapping[str, str | int] | None = None) -> VendorReply:
        """Return the answer to a GET that changes nothing: status 2xx or 404, whole and ours.

        Asked again only after a 401, once, with a new session. Raises VendorAwayError, VendorFailedError,
        VendorThrottledError, VendorRefusedError, and ValueError for the queue, which only polls may ask (law 12).
        """
        exchange, request_id = self._exchange("GET", path, query)
        raise_unless_answered(exchange, request_id, now=self._clock.now(), hide=self._session.hide)
        return reply_of(exchange, request_id)

    def close(self) -> None:
        """Close every connection."""
        for wire in (self._queue_wire, self._wire, self._session_wire):
            wire.close()

    def _exchange(
        self, method: str, path: str, query: Mapping[str, str | int] | None = None, body: bytes | None = None
    ) -> tuple[Exchange, str]:
        """Send what may be repeated after a 401, which says that nothing was done; never the queue's GET."""
        if is_queue(path):
            raise ValueError("the queue is asked with a ticket only")
        self._session.ensure()
        exchange, request_id = self._send(request_to(self._endpoint, method, path, query=query, body=body))
        if exchange.status == 401:
            self._session.forget(exchange.request.headers.get(TOKEN_HEADER))
            self._session.ensure()
            exchange, request_id = self._send(exchange.request)
        return exchange, request_id

    def _send(self, request: requests.PreparedRequest) -> tuple[Exchange, str]:
        request_id = self._new_id()
        request.headers["X-Request-ID"] = request_id
        self._session.authorise(request)
        exchange = self._wire.send(request)
        self._note_date(exchange)
        return exchange, request_id

    def _queue_request(self, max_count: int) -> requests.PreparedRequest:
        if max_count < 1:
            raise ValueError("a page holds at least one trade")
        if max_count not in self._queue_requests:
            template = request_to(self._endpoint, "GET", QUEUE_PATH, query={"maxCount": max_count})
            self._queue_requests = {max_count: template}  # the last size only: it changes seldom
        return self._queue_requests[max_count].copy()

    def _use(self, ticket: PollTicket) -> bool:
        """Remember that the ticket is used; return False when it was before. Expired ones need no memory."""
        boottime, key = self._clock.boottime(), (ticket.poll_id, ticket.request_id)
        with self._tickets_lock:
            while self._used_tickets and next(iter(self._used_tickets.values())) < boottime:
                del self._used_tickets[next(iter(self._used_tickets))]
            if key in self._used_tickets:
                return False
            self._used_tickets[key] = ticket.expires_at
            return True

    def _note_date(self, exchange: Exchange) -> None:
        if (vendor_date := vendor_date_of(exchange)) is not None:
            self.last_vendor_date, self.last_seen_at = vendor_date, self._clock.now()


def vendor_time(at: datetime) -> str:
    """Return an instant as `yyyy-MM-dd HH:mm:ss,SSS +0000`, cut to milliseconds (integral-api.md §3.2).

    Raises ValueError without a time zone.
    """
    if at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S},{utc.microsecond // 1000:03d} +0000"


def _of_asset(asset: str | None) -> dict[str, str | int]:
    return {"asset": asset} if asset else {}


def _period(start_at: datetime, end_at: datetime) -> dict[str, str | int]:
    """Return both ends in milliseconds since 1970, UTC; raise ValueError without a time zone."""
    if start_at.tzinfo is None or end_at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return {"startTime": int(start_at.timestamp() * 1000), "endTime": int(end_at.timestamp() * 1000)}


def _not_sent(cause: Cause, detail: str) -> QueueAnswer:
    return QueueAnswer(PollOutcome.NOT_SENT, cause, detail)
