"""The sandbox's own log: what was handed out, which is the oracle of the tests, and what was asked."""

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from etl.sandbox.exact import Json, text_of
from etl.sandbox.queues import Item

KEPT_REQUESTS = 100_000


@dataclass(slots=True)
class RequestRecord:
    """One request of the vendor's API, and how it ended."""

    seq: int
    at: str
    method: str
    path: str
    endpoint: str
    request_id: str | None
    user: str | None = None
    status: int | None = None
    fault: str | None = None
    trades: int = 0
    """Trades handed out by it."""


@dataclass(frozen=True, slots=True)
class HandOut:
    """The trades of one answer; the texts of a page written beforehand are shared, not copied."""

    first_seq: int
    at: datetime
    user: str
    request_id: str | None
    items: Sequence[Item]


class Records:
    """Everything that was handed out, and the latest requests."""

    def __init__(self) -> None:
        self._hand_outs: list[HandOut] = []
        self.requests: deque[RequestRecord] = deque(maxlen=KEPT_REQUESTS)
        self.handed_out = 0
        self.asked = 0

    def hand_out(self, at: datetime, user: str, request_id: str | None, items: Sequence[Item]) -> None:
        """Note trades that leave a queue, whoever gets them."""
        if items:
            self._hand_outs.append(HandOut(self.handed_out + 1, at, user, request_id, items))
            self.handed_out += len(items)

    def request(self, at: datetime, endpoint: str, *, line: tuple[str, str], request_id: str | None) -> RequestRecord:
        """Note a request before it is answered; `line` is its method and its path with the query."""
        self.asked += 1
        record = RequestRecord(self.asked, moment(at), *line, endpoint, request_id)
        self.requests.append(record)
        return record

    def hand_out_lines(self, after: int) -> Iterator[bytes]:
        """Yield a JSON line for each trade handed out with a number above `after`."""
        start = max(0, bisect.bisect_right(self._hand_outs, after, key=lambda each: each.first_seq) - 1)
        for hand_out in self._hand_outs[start:]:
            for seq, (trade_id, event, text) in enumerate(hand_out.items, hand_out.first_seq):
                if seq > after:
                    line: dict[str, Json] = {"seq": seq, "at": moment(hand_out.at), "user": hand_out.user}
                    line |= {"request_id": hand_out.request_id, "trade_id": trade_id, "event": event, "body": text}
                    yield text_of(line).encode() + b"\n"

    def request_lines(self, after: int) -> Iterator[bytes]:
        """Yield a JSON line for each request with a number above `after`."""
        for record in self.requests:
            if record.seq > after:
                yield text_of(asdict(record)).encode() + b"\n"


def moment(instant: datetime) -> str:
    """Write an instant of the logs, in UTC to the microsecond."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
