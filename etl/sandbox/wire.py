"""Trades as text: the message of the queue, and the answer to a question about a trade."""

from decimal import Decimal

from etl.sandbox.exact import Json, Verbatim, text_of
from etl.sandbox.trade import SWAPS, VERIFIED, Trade
from etl.sandbox.variants import Variants

AMOUNTS = ("dealtAmount", "settledAmount", "farDealtAmount", "farSettledAmount", "baseAmount", "termAmount")
RATES = ("rate", "spotRate", "forwardPoints", "farRate", "farForwardPoints")
FAR = ("farValueDate", "farFixingDate", "farDealtAmount", "farSettledAmount", "farRate", "farForwardPoints")
EVENT = Verbatim("\0event\0")
"""Where the event stands in a cached text; no JSON text holds a bare NUL."""


def messages(trade: Trade, event: str, variants: Variants) -> list[str]:
    """Return the trade's messages, one but for swaps that are told in two (A4), with the event written in."""
    if trade.text is None or trade.text[0] is not variants:
        documents = _documents(trade, variants)
        trade.text = (variants, tuple(text_of(document) for document in documents))
    return [text.replace(EVENT, f'"{event}"') for text in trade.text[1]]


def answer_text(trade: Trade, variants: Variants) -> str:
    """Return the trade as the queries by order and by id tell it: no event, the status of now (A19, A20)."""
    document = _document(trade, variants)
    document.pop("event", None)
    document["status"] = trade.wire.get("status", trade.status)
    if trade.status != VERIFIED and trade.replaced_by:
        first, *others = trade.replaced_by
        document["replacedBy"] = [first, *others] if others else first
    return text_of(document)


def _documents(trade: Trade, variants: Variants) -> list[dict[str, Json]]:
    document = _document(trade, variants)
    if trade.fields["tradeType"] not in SWAPS or variants.far_leg == "present":
        return [document]
    near = {name: value for name, value in document.items() if name not in FAR}
    if variants.far_leg == "absent":
        return [near]
    plain = {"far" + name[0].upper() + name[1:]: name for name in near}
    far = near | {plain[name]: value for name, value in document.items() if name in FAR and name in plain}
    far["side"] = _cased("Sell" if trade.fields["side"] == "Buy" else "Buy", variants)
    return [near, far]


def _document(trade: Trade, variants: Variants) -> dict[str, Json]:
    """Return the message with the readings of the variants applied; what `wire` says comes last."""
    document: dict[str, Json] = {}
    for name, value in trade.fields.items():
        document[name] = value
        if name == "coId":
            document["event"] = EVENT
    document["side"] = _cased(str(document["side"]), variants)
    _apply_contra(document, variants)
    if variants.rates == "absent":
        document = {name: value for name, value in document.items() if name not in RATES}
    elif variants.rates == "disagreeing":
        document["rate"] = trade.number("rate") * Decimal("1.01")
    if variants.fixing == "absent":
        document = {name: value for name, value in document.items() if "ixing" not in name}
    if variants.original_link == "absent":
        document.pop("originalTradeId", None)
    if variants.extra_fields:
        document |= {"clearingHouse": "LCH", "midRate": Verbatim("1.0842500000000000000000000000000001"), "tags": ["a"]}
    for name in AMOUNTS:
        if isinstance(value := document.get(name), Decimal | int):
            document[name] = _styled(Decimal(value), variants.numbers)
    left_out = {*variants.omit.split(","), *(name for name, value in trade.wire.items() if value is None)}
    return {name: value for name, value in (document | trade.wire).items() if name not in left_out}


def _cased(side: str, variants: Variants) -> str:
    return {"upper": side.upper(), "lower": side.lower()}.get(variants.side_case, side)


def _apply_contra(document: dict[str, Json], variants: Variants) -> None:
    """Tell the other amount as the variant wants it (A1)."""
    if variants.contra == "settled":
        return
    base = str(document["symbol"]).partition("/")[0]
    for prefix in ("", "far"):
        dealt_name, settled_name = (("dealtAmount", "settledAmount"), ("farDealtAmount", "farSettledAmount"))[
            bool(prefix)
        ]
        if settled_name not in document:
            continue
        amounts = [document[dealt_name], document[settled_name]]
        if document["currency"] != base:
            amounts.reverse()
        if variants.contra != "neither":
            names = ("farBaseAmount", "farTermAmount") if prefix else ("baseAmount", "termAmount")
            document |= dict(zip(names, amounts, strict=True))
        if variants.contra != "both":
            del document[settled_name]


def _styled(amount: Decimal, style: str) -> Json:
    """Write an amount in another style of the same value."""
    match style:
        case "exponent":
            return Verbatim(f"{amount:E}")
        case "trailing_zeros":
            return Verbatim(f"{amount:f}{'' if '.' in f'{amount:f}' else '.'}000")
        case "string":
            return format(amount, "f")
        case _:
            return amount
