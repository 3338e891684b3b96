"""The STP download: the queue whose reading is taking, and the request to fill it again."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from etl.sandbox import days
from etl.sandbox.damage import damaged
from etl.sandbox.exact import value_of
from etl.sandbox.exchange import Answer, Question, refusal
from etl.sandbox.pricing import settled_amount
from etl.sandbox.queues import Item
from etl.sandbox.trade import VERIFIED, Trade
from etl.sandbox.world import SOMEBODY_ELSE, World

EMPTY = {
    "array": Answer(body=b"[]"),
    "204": Answer(204),
    "no_body": Answer(),
    "chunked": Answer(chunked=True),
    "object": Answer(body=b"{}"),
    "null": Answer(body=b"null"),
    "wrapped": Answer(body=b'{"trades": []}'),
}
"""An empty queue, by variant (A8)."""


class StpDownload:
    """The two endpoints of the STP download."""

    def __init__(self, world: World) -> None:
        self._world = world

    def messages(self, question: Question) -> Answer:
        """Hand out up to `maxCount` trades and forget that they waited (R/stp-download/gettrades)."""
        world, asker = self._world, question.asker()
        asked = question.query.get("maxCount", str(world.options.page_size_default))
        if not (asked.isascii() and asked.isdigit() and int(asked) > 0):
            return refusal(400, "maxCount is not a positive integer", "RequestValidationError.maxCount")
        if world.whole_bodies:
            return Answer(body=world.whole_bodies.pop(0).encode())
        queue = world.queue(asker)
        self._second_consumer(question)
        if question.meets("duplicate_page"):
            items = list(queue.previous)
            world.records.hand_out(world.clock.now(), asker.name, question.record.request_id, items)
        else:
            items = self._page(question, self._count(question, int(asked)))
            queue.previous = tuple(items)
        question.record.trades = len(items)
        if not items:
            return EMPTY[world.variants.empty]
        return Answer(body=("[" + ",".join(text for _, _, text in items) + "]").encode("utf-8", "surrogatepass"))

    def _count(self, question: Question, asked: int) -> int:
        variants = self._world.variants
        limit = variants.max_count_limit
        extra = question.fault_count(10) if question.meets("oversize_page") else variants.oversize
        return (min(asked, limit) if limit else asked) + extra

    def _page(self, question: Question, count: int) -> list[Item]:
        """Hand out, with what the fault does to the messages; the log holds the text as it is sent."""
        world, asker = self._world, question.asker()
        queue = world.queue(asker)
        queue.melt()
        entries = queue.take(count, world.variants.order, world.draw)
        if question.meets("reordered_page"):
            world.draw.shuffle(entries)
        items = world.texts(queue, entries)
        if question.fault is not None:
            items = damaged(items, question.fault)
        queue.mark_downloaded(entries)
        world.records.hand_out(world.clock.now(), asker.name, question.record.request_id, items)
        return items

    def _second_consumer(self, question: Question) -> None:
        """Let somebody else take trades first: by fault, or by chance (A23)."""
        world = self._world
        chance = world.options.second_consumer
        if question.meets("second_consumer") or (chance and world.draw.random() < chance):
            world.hand_out(world.queue(question.asker()), question.fault_count(10), SOMEBODY_ELSE, None)

    def resend(self, question: Question) -> Answer:
        """Make the downloaded trades of a range eligible again (R/stp-download/resend, A12)."""
        world, variants, asker = self._world, self._world.variants, question.asker()
        try:
            start, end = _range_of(question.body)
        except ValueError as error:
            return refusal(400, str(error), "RequestValidationError.dateRange")
        if variants.resend_max_days and end - start > timedelta(days=variants.resend_max_days):
            return refusal(
                400, f"The range is over {variants.resend_max_days} days", "RequestValidationError.dateRange"
            )
        if limited := self._too_soon(asker.name):
            return limited
        found = self._in_range(asker.org, start, end)
        queue = world.queue(asker)
        queue.melt()
        if variants.resend_404 == "always" or (variants.resend_404 == "when_empty" and not found):
            return refusal(404, "No trades in range")
        found = [trade for trade in found if queue.is_downloaded(trade)]
        drop = question.fault_count(1) if question.meets("short_resend") else variants.resend_drop
        found = found[: len(found) - drop] if drop < len(found) else []
        if question.meets("amended_on_resend"):
            for trade in found[: question.fault_count(1)]:
                double(trade)
                world.touched(trade)
        queue.requeue(found, after_s=variants.eligible_after_s)
        return Answer()

    def _too_soon(self, user: str) -> Answer | None:
        """Answer 429 if the last resend is not long enough ago (A24)."""
        now, pause = self._world.clock.monotonic(), self._world.variants.resend_min_interval_s
        last = self._world.resent_at.get(user)
        if pause and last is not None and now - last < pause:
            wait = str(int(pause - (now - last)) + 1)
            return refusal(429, "Too many resend requests").with_header("Retry-After", wait)
        self._world.resent_at[user] = now
        return None

    def _in_range(self, org: str, start: datetime, end: datetime) -> list[Trade]:
        """Return the Verified trades of a range, both ends included, by trade date or by instant of execution."""
        variants, oldest = self._world.variants, None
        if variants.resend_retention_days:
            oldest = self._world.clock.now().date() - timedelta(days=variants.resend_retention_days)
        return [
            trade
            for trade in _handed_outable(self._world.trades.values(), org)
            if (oldest is None or trade.trade_date >= oldest)
            and (
                start.date() <= trade.trade_date <= end.date()
                if variants.resend_compare == "trade_date"
                else start <= trade.executed_at <= end
            )
        ]


def _handed_outable(trades: Iterable[Trade], org: str) -> Sequence[Trade]:
    return [trade for trade in trades if trade.org == org and trade.status == VERIFIED and not trade.hidden]


def _range_of(body: bytes) -> tuple[datetime, datetime]:
    payload = value_of(body)
    if not isinstance(payload, dict):
        raise ValueError("The body is not an object")
    start, end = (days.instant_of(str(payload.get(name, ""))) for name in ("startDate", "endDate"))
    if end < start:
        raise ValueError("endDate is before startDate")
    return start, end


def double(trade: Trade) -> None:
    """Change a trade's economics in silence: twice the dealt amount, and the settled amount that follows."""
    dealt = trade.number("dealtAmount") * 2
    trade.fields["dealtAmount"] = dealt
    trade.fields["settledAmount"] = settled_amount(trade.fields, dealt, trade.number("rate"))
