"""What the sandbox can be told and asked under `/_sandbox`, as a plain page with an example call for each."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from etl.sandbox.faults import MEANINGS
from etl.sandbox.world import World

PATH = "/_sandbox/"
ORDERS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "execute": ("trades are done now: `count` of them, or `trades` with contents of your own", {"count": 5}),
        "raw": ("texts wait in the queue word for word, as messages", {"elements": ['{"tradeId": "X1"}']}),
        "cancel": ("a trade is cancelled; nothing announces it", {"trade_id": "TRADE_ID"}),
        "amend": ("a trade is replaced by one with other `fields`", {"trade_id": "TRADE_ID", "fields": {"note": "x"}}),
        "roll": ("a trade is replaced by one with a later value date", {"trade_id": "TRADE_ID"}),
        "allocate": ("a trade is split among legal entities, or into `parts`", {"trade_id": "TRADE_ID"}),
        "hide": ("a trade is never handed out (again); `hidden` false ends that", {"trade_id": "TRADE_ID"}),
        "mutate": (
            "a trade has other `fields` under the same id; with `again` it is handed out once more",
            {"trade_id": "TRADE_ID", "fields": {"note": "corrected"}, "again": True},
        ),
        "deposit": ("a deposit is added", {"asset": "USD", "amount": "1000.00"}),
        "withdrawal": ("a withdrawal is added, with its `fee`", {"asset": "USD", "amount": "10.00", "fee": "0.25"}),
        "transfer": ("a deposit or withdrawal gets another status", {"id": "DEP000001", "status": "PENDING"}),
        "position-error": (
            "the vendor's figure of a position is wrong by `base` and `term`; `clear` ends all such errors",
            {"symbol": "SYMBOL", "valueDate": "VALUE_DATE", "base": "500000"},
        ),
        "balance-error": (
            "the vendor's figure of a balance is wrong by `amount`; `clear` ends all such errors",
            {"asset": "USD", "amount": "0.01"},
        ),
        "today": ("the vendor's clock is set: `today`, `now`, or a step of `advance_s`", {"advance_s": 60}),
        "variant": ("another reading of the vendor's documents holds", {"numbers": "string"}),
        "faults": (
            "requests to come meet these faults; `clear` forgets what was planned before",
            {"faults": [{"fault": "close_after"}], "clear": True},
        ),
        "expire-tokens": ("all sessions end", {}),
        "refuse": ("the port is closed for `seconds`", {"seconds": 1}),
        "rotate": (
            "a user gets another password; all sessions end",
            {"user": "USER", "org": "ORG", "password": "new"},
        ),
    }
)  # fmt: skip
"""By name of the order (POST): what it does, and the body of an example; capitals stand for what this world has."""
TRANSFER = ("id", "account", "status", "time")
ALSO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "execute": ("trades",),
        "raw": ("whole_body",),
        "amend": ("wire",),
        "roll": ("fields", "wire"),
        "allocate": ("parts",),
        "hide": ("hidden",),
        "mutate": ("wire",),
        "deposit": TRANSFER,
        "withdrawal": TRANSFER,
        "position-error": ("term", "level", "value", "wire", "twice", "clear"),
        "balance-error": ("account", "text", "omit", "twice", "clear"),
        "today": ("today", "now"),
    }
)
"""Which keys an order takes beside those of its example; each takes `org` too, and `variant` takes what it can vary."""
QUESTIONS: Mapping[str, str] = MappingProxyType(
    {
        "state": "clock, queues, faults to come, variants",
        "handed-out": "a line for each message that was handed out; ?after=N leaves out the first N",
        "requests": "a line for each request that came, and how it was answered; ?after=N",
        "trades": "a line for each trade: status, who has downloaded it, its content",
    }
)
"""By name of the question (GET): what it answers."""


class Guide:
    """The page at `/_sandbox/`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        """Return the path of the page."""
        return [Route(PATH, self.page, methods=["GET"])]

    async def page(self, request: Request) -> PlainTextResponse:
        """List method, path, what it does, and a call that can be pasted as it is."""
        base = str(request.base_url).rstrip("/")
        lines = ["What this sandbox can be asked and told. A body is a JSON object; nobody logs in here.", ""]
        for name, what in QUESTIONS.items():
            lines += [f"GET  {PATH}{name}: {what}", f"  curl {base}{PATH}{name}"]
        for name, (what, body) in ORDERS.items():
            text, also = json.dumps(self._filled(body)), f"; also: {', '.join(ALSO[name])}" if name in ALSO else ""
            lines += [f"POST {PATH}{name}: {what}{also}", f"  curl {base}{PATH}{name} -d '{text}'"]
        lines += ["", "Faults, and what they do:"]
        for kinds, meaning in MEANINGS:
            lines += [f"{', '.join(sorted(kinds))}:", f"  {meaning}"]
        lines += ["A fault may have nth, times, endpoint, user, delay_s, count: which requests meet it, and how.", ""]
        return PlainTextResponse("\n".join(lines))

    def _filled(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body with the newest trade and the first user in the place of capitals."""
        first = self._world.options.users[0]
        known: dict[str, object] = {"USER": first.name, "ORG": first.org}
        if (trade := next(reversed(self._world.trades.values()), None)) is not None:
            known |= {"TRADE_ID": trade.id, "SYMBOL": trade.fields["symbol"], "VALUE_DATE": trade.fields["valueDate"]}
        return {name: known.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
