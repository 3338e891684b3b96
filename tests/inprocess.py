"""The sandbox's vendor in this process and on a virtual clock; its answers are judged by the client's own rules."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any

import msgspec
from urllib3 import HTTPHeaderDict

from etl.clock import Clock
from etl.errors import TicketExpiredError
from etl.sandbox import days
from etl.sandbox.delivery import Accident
from etl.sandbox.exchange import Answer, Question, refusal
from etl.sandbox.faults import Fault
from etl.sandbox.inquiries import Inquiries
from etl.sandbox.options import Options
from etl.sandbox.stp import StpDownload
from etl.sandbox.world import World
from etl.vendor.asking import raise_unless_answered, reply_of, request_to
from etl.vendor.client import RESEND_PATH, vendor_time
from etl.vendor.endpoint import QUEUE_PATH, Endpoint
from etl.vendor.failure import Failure
from etl.vendor.feed import Cause, PollOutcome, PollTicket, QueueAnswer, ResendAnswer, VendorReply
from etl.vendor.outcome import outcome_of, resend_answer_of
from etl.vendor.transport import Exchange
from tests.polling import KilledError

Ask = Callable[[Question], Answer]
UNANSWERED = {
    "close_before": Cause.RESET, "reset_before": Cause.RESET, "close_after": Cause.RESET, "reset_after": Cause.RESET,
    "ghost": Cause.TIMEOUT,
}  # fmt: skip
CUT_SHORT = {"headers_then_silence": (Cause.TIMEOUT, 0), "cut_body": (Cause.CUT, 2), "wrong_length": (Cause.CUT, 1)}
"""By fault: the cause that the client names, and the part of the body that arrives (0: none, 2: a half)."""


class VendorClock(days.Clock):
    """The vendor's clock, driven by ours."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()


@dataclass
class InProcessVendor:
    """Plays `TradeFeed` and `VendorQuestions` over a world of the sandbox, faults by its plan included."""

    clock: Clock
    options: Options = field(default_factory=lambda: Options(trades=0))
    killed: str = ""
    """`before` or `after`: our process dies in the next request of the queue, before or after it is executed."""
    slow_s: float = 0.0
    """Seconds for which our process stands still before the ticket of the next request is looked at."""

    def __post_init__(self) -> None:
        self.world = World(self.options, VendorClock(self.clock))
        self._stp, self._inquiries = StpDownload(self.world), Inquiries(self.world)
        self._endpoint = Endpoint(base_url="https://vendor.test", org="pfOrg", user="apiUser", password=str, secret=str)
        self._ghosts: list[tuple[float, Callable[[], Answer]]] = []
        self.resends: list[tuple[str, str]] = []
        self.asked = 0

    def ensure_session(self) -> None:
        """Sessions are not played."""

    def forget_session(self) -> None:
        """Sessions are not played."""

    def close(self) -> None:
        """Nothing is open."""

    def next_page(self, ticket: PollTicket, max_count: int) -> QueueAnswer:
        self.clock.advance(self.slow_s)  # type: ignore[attr-defined]
        self.slow_s = 0.0
        try:
            ticket.check(self.clock.boottime())
        except TicketExpiredError as error:
            return QueueAnswer(PollOutcome.NOT_SENT, Cause.TICKET_EXPIRED, str(error))
        self.asked += 1
        query = {"maxCount": str(max_count)}
        question = self._question("messages", "GET", QUEUE_PATH, request_id=ticket.request_id, query=query)
        killed, self.killed = self.killed, ""
        if killed:
            if killed == "after":
                self._stp.messages(question)
            raise KilledError
        exchange = self._exchange(question, self._stp.messages)
        return outcome_of(exchange, ticket.request_id, self.clock.now(), lambda text: text)

    def request_resend(self, start_at: datetime, end_at: datetime) -> ResendAnswer:
        self.resends.append((start_at.date().isoformat(), end_at.date().isoformat()))
        body = msgspec.json.encode({"startDate": vendor_time(start_at), "endDate": vendor_time(end_at)})
        request_id = uuid.uuid4().hex
        question = self._question("resend", "POST", RESEND_PATH, request_id=request_id, body=body)
        return resend_answer_of(
            self._exchange(question, self._stp.resend), request_id, self.clock.now(), lambda text: text
        )

    def trade(self, trade_id: str) -> VendorReply:
        path, request_id = f"/v2/trades/{trade_id}", uuid.uuid4().hex
        question = self._question("trade", "GET", path, request_id=request_id, parts={"id": trade_id})
        exchange = self._exchange(question, self._inquiries.trade)
        raise_unless_answered(exchange, request_id, now=self.clock.now(), hide=lambda text: text)
        return reply_of(exchange, request_id)

    def let_ghosts_act(self) -> None:
        """Execute the requests whose senders are gone and whose time has come (A22)."""
        due = [each for each in self._ghosts if each[0] <= self.clock.monotonic()]
        self._ghosts = [each for each in self._ghosts if each not in due]
        for _, execute in due:
            execute()

    def _question(
        self, name: str, method: str, path: str, *, request_id: str, body: bytes = b"",
        query: dict[str, str] | None = None, parts: dict[str, str] | None = None,
    ) -> Question:  # fmt: skip
        self.let_ghosts_act()
        world, user = self.world, self.options.users[0]
        record = world.records.request(self.clock.now(), name, line=(method, path), request_id=request_id)
        record.user = user.name
        non_empty = name == "messages" and world.queue(user).has_any()
        fault = world.plan.choose(name, user.name, non_empty=non_empty)
        record.fault = None if fault is None else fault.name
        return Question(record, {}, query or {}, parts or {}, body, self.clock.now(), user, fault)

    def _exchange(self, question: Question, ask: Ask) -> Exchange:
        """Let the fault of the request happen, and return what our side of the wire sees."""
        record, fault = question.record, question.fault
        body = question.body or None
        exchange = Exchange(request_to(self._endpoint, record.method, record.path, body=body), bytes_left=True)
        if fault is not None and fault.kind == "refuse":
            exchange.bytes_left, exchange.failure = False, Failure(Cause.CONNECT_REFUSED, "connection refused")
        elif fault is not None and fault.kind in UNANSWERED:
            self._unanswered(question, fault, ask)
            exchange.failure = Failure(UNANSWERED[fault.kind], f"no answer: {fault.kind}")
        else:
            self._answered(exchange, question, ask)
        return exchange

    def _unanswered(self, question: Question, fault: Fault, ask: Ask) -> None:
        if fault.kind == "ghost":
            due = self.clock.monotonic() + (1.0 if fault.delay_s is None else fault.delay_s)
            self._ghosts.append((due, lambda: ask(question)))
        elif fault.kind.endswith("_after"):
            ask(question)

    def _answered(self, exchange: Exchange, question: Question, ask: Ask) -> None:
        fault = question.fault
        answer = self._answer(question, ask)
        body, headers = answer.body, dict(answer.headers)
        kind = "" if fault is None else fault.kind
        if kind in ("gzip", "gzip_cut"):
            body = gzip.compress(body, mtime=0)
            body = body[: len(body) // 2] if kind == "gzip_cut" else body
            headers["Content-Encoding"] = "gzip"
        if kind in CUT_SHORT:
            cause, parts = CUT_SHORT[kind]
            body = body[: len(body) // parts] if parts else b""
            exchange.failure = Failure(cause, f"the answer broke off: {kind}")
        if kind != "no_request_id":
            headers["X-Request-ID"] = (
                "somebody else's" if kind == "foreign_request_id" else str(question.record.request_id)
            )
        headers |= {"Content-Type": answer.content_type, "Date": format_datetime(self.clock.now(), usegmt=True)}
        exchange.status, exchange.body, exchange.framed = answer.status, body, True
        exchange.headers = HTTPHeaderDict(headers)

    def _answer(self, question: Question, ask: Ask) -> Answer:
        fault = question.fault
        if fault is None:
            return ask(question)
        if fault.kind == "token_expired":
            return refusal(401, "The token has expired", "AuthenticationError.TokenExpired")
        nobody: Any = None
        accident = Accident(question, fault, nobody, lambda: ask(question), nobody, nobody)
        return accident._other_answer() or ask(question)
