"""A second reading of the vendor's messages for the proof of the demo: written apart from `etl.domain`, on purpose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

Message = Mapping[str, Any]
Columns = dict[str, Any]

TWO_LEGS = ("Swap", "FwdFwd", "NDFSwap")
NO_CASH = ("NDF", "NDFSwap")

# the vendor's field: the column of reporting.trade that holds it word for word
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "tradeId": "trade_id", "tradeType": "trade_type", "status": "status", "symbol": "symbol", "maker": "maker",
        "currency": "dealt_currency", "orderId": "order_id", "coId": "client_order_id", "customerOrg": "organisation",
        "customerAccount": "legal_entity", "user": "trader", "counterparty": "counterparty",
        "counterpartyLongName": "counterparty_name", "counterpartyAccount": "counterparty_entity",
        "channel": "channel", "stream": "stream", "rateId": "rate_id", "uti": "uti", "usi": "usi", "lei": "lei",
        "counterpartyLei": "counterparty_lei", "note": "note", "externalRequestId": "external_request_id",
        "originalTradeId": "original_trade_id", "replacedBy": "replaced_by",
    }
)  # fmt: skip
# read in another form; what is neither here nor above must stand in `attributes`
IN_ANOTHER_FORM = frozenset(
    {
        "event", "side", "tradeDate", "executionTime", "valueDate", "fixingDate", "fixingTenor", "dealtAmount",
        "settledAmount", "rate", "spotRate", "forwardPoints",
    }
)  # fmt: skip
FAR_LEG = frozenset(
    {
        "farValueDate", "farFixingDate", "farFixingTenor", "farDealtAmount", "farSettledAmount", "farRate",
        "farSpotRate", "farForwardPoints",
    }
)  # fmt: skip


def message_of(text: str) -> Message:
    """Return the message with every number as an exact decimal."""
    found: Message = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return found


def trade_of(message: Message) -> Columns:
    """Return what reporting.trade must hold, apart from what is ours alone: versions, numbers, our own instants."""
    base, term = message["symbol"].split("/")
    executed = message.get("executionTime")
    return {column: message.get(field) for field, column in WORDS.items()} | {
        "base_currency": base,
        "term_currency": term,
        "side": message["side"].lower(),
        "our_side": "customer",
        "internal": False,
        "live": message.get("status", "Verified") == "Verified",
        "trade_date": date.fromisoformat(message["tradeDate"]),
        "executed_at": executed and datetime.strptime(executed, "%Y-%m-%d %H:%M:%S,%f %z"),
        "source": "queue",
        "attributes": fields_without_column(message),
        "attributes_omitted": [],
        "flags": [],
    }


def fields_without_column(message: Message) -> Columns:
    """Return the fields that `attributes` must hold."""
    used = WORDS.keys() | IN_ANOTHER_FORM | (FAR_LEG if message["tradeType"] in TWO_LEGS else set())
    return {name: value for name, value in message.items() if name not in used}


def legs_of(message: Message) -> list[Columns]:
    """Return what reporting.trade_leg must hold, one leg or two.

    The rule of the signs, seen by the customer, which is us. Buy: we receive (+) the dealt amount and pay (-) the
    settled amount. Sell: we pay (-) the dealt amount and receive (+) the settled amount. The far leg of a swap goes
    the other way about.
    """
    buys = message["side"].lower() == "buy"
    near = leg_of(message, 1, receives_dealt=buys)
    if message["tradeType"] not in TWO_LEGS:
        return [near]
    far = {name[3].lower() + name[4:]: value for name, value in message.items() if name in FAR_LEG}
    shared = {name: message.get(name) for name in ("tradeId", "tradeType", "symbol", "currency")}
    return [near, leg_of(shared | far, 2, receives_dealt=not buys)]


def leg_of(leg: Message, leg_no: int, *, receives_dealt: bool) -> Columns:
    """Return the columns of one leg, whose fields have the names of a near leg."""
    base, term = leg["symbol"].split("/")
    dealt, settled = leg["dealtAmount"], leg["settledAmount"]
    if receives_dealt:
        settled = settled.copy_negate()
    else:
        dealt = dealt.copy_negate()
    dealt_is_base = leg["currency"] == base
    fixing = leg.get("fixingDate")
    return {
        "trade_id": leg["tradeId"],
        "leg_no": leg_no,
        "value_date": date.fromisoformat(leg["valueDate"]),
        "fixing_date": fixing and date.fromisoformat(fixing),
        "fixing_tenor": leg.get("fixingTenor"),
        "deliverable": leg["tradeType"] not in NO_CASH,
        "dealt_currency": leg["currency"],
        "dealt_amount": dealt,
        "settled_currency": term if dealt_is_base else base,
        "settled_amount": settled,
        "base_amount": dealt if dealt_is_base else settled,
        "term_amount": settled if dealt_is_base else dealt,
        "rate": leg.get("rate"),
        "spot_rate": leg.get("spotRate"),
        "forward_points": leg.get("forwardPoints"),
    }


def is_kept(said: object, held: object) -> bool:
    """Return whether the book holds what the vendor said; inside `attributes` a number is text of the same value."""
    match said, held:
        case dict(), dict():
            return said.keys() == held.keys() and all(is_kept(said[name], held[name]) for name in said)
        case list(), list():
            return len(said) == len(held) and all(map(is_kept, said, held))
        case Decimal(), str():
            return Decimal(held) == said
        case _:
            return said == held
