"""What happens to trades after they are done: cancelled, amended, rolled, allocated, changed in silence."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from etl.sandbox import days
from etl.sandbox.exact import Json
from etl.sandbox.market import PAIRS, WIDE, Pair, rounded
from etl.sandbox.pricing import settled_amount
from etl.sandbox.trade import Trade, flows
from etl.sandbox.wire import AMOUNTS, RATES
from etl.sandbox.world import World

NUMBERS = frozenset((*AMOUNTS, *RATES))
LEGS = (("dealtAmount", "settledAmount", "rate"), ("farDealtAmount", "farSettledAmount", "farRate"))


def executed(world: World, org: str, overrides: Sequence[Mapping[str, Any]]) -> list[Trade]:
    """Let trades with given content be done now; what is not given is drawn.

    null leaves a field out of the message alone, and `wire` holds other content of the message alone. One that is
    `hidden` is never handed out.
    """
    trades = []
    for override in overrides:
        trade = world.generators[org].trade_of(
            world.clock.now(), world.variants, override.get("tradeType"), _pair(override)
        )
        _set(trade, {name: value for name, value in override.items() if name != "hidden"})
        trade.hidden = bool(override.get("hidden", False))
        trades.append(trade)
    world.add(trades)
    return trades


def _pair(override: Mapping[str, Any]) -> Pair | None:
    """Return the pair that is wanted; one that the sandbox does not know needs a rate."""
    symbol = override.get("symbol")
    if symbol is None or symbol in PAIRS:
        return PAIRS.get(str(symbol))
    if not isinstance(symbol, str) or "/" not in symbol or override.get("rate") is None:
        raise ValueError(f"{symbol} is not traded here; give its rate")
    return Pair(symbol, decimal(override["rate"]), places=5)


def mutate(world: World, trade: Trade, values: Mapping[str, Any]) -> None:
    """Change a trade's content without a new id; later hand-outs and all queries tell the new content."""
    _set(trade, values)
    world.touched(trade)


def _set(trade: Trade, values: Mapping[str, Any]) -> None:
    """Write values into the trade; the settled amounts follow a changed rate, side of dealing or dealt amount."""
    rest = dict(values)
    trade.wire |= rest.pop("wire", {})
    trade.wire |= {name: None for name, value in rest.items() if value is None}
    given = {name: value for name, value in rest.items() if value is not None}
    before = dict(trade.fields)
    trade.fields |= {name: decimal(value) if name in NUMBERS else value for name, value in given.items()}
    try:
        _settle(trade, given)
        flows(trade)
        trade.trade_date.isoformat()
    except (KeyError, ValueError, ArithmeticError) as error:
        trade.fields = before
        raise ValueError(f"the trade makes no sense; rubbish belongs into `wire`: {error}") from error
    if "executionTime" in given:
        trade.executed_at = days.instant_of(str(given["executionTime"]))


def _settle(trade: Trade, given: Mapping[str, Any]) -> None:
    for prefix in ("", "far"):
        dealt, settled, rate = (
            ("dealtAmount", "settledAmount", "rate")
            if not prefix
            else ("farDealtAmount", "farSettledAmount", "farRate")
        )
        moved = {dealt, rate, "symbol", "currency"} & given.keys()
        if moved and settled not in given and settled in trade.fields:
            trade.fields[settled] = settled_amount(trade.fields, trade.number(dealt), trade.number(rate))


def decimal(value: Any) -> Decimal:
    """Read a number of a control request, given as a number or as text."""
    try:
        return Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"not a number: {value}") from error


def cancel(world: World, trade: Trade) -> list[Trade]:
    """Cancel a trade; nothing announces it."""
    trade.status = "Cancelled"
    world.touched(trade)
    return []


def amend(world: World, trade: Trade, values: Mapping[str, Any]) -> list[Trade]:
    """Replace a trade by one with other content (R/trades/tradeamend); without values the dealt amount is halved."""
    half = rounded(trade.number("dealtAmount") / 2, str(trade.fields["currency"]))
    return _replace(world, trade, "Amended", [dict(values) or {"dealtAmount": half}])


def roll(world: World, trade: Trade, values: Mapping[str, Any]) -> list[Trade]:
    """Replace a trade by one with a later value date (R/trades/traderoll); by a day where none is given."""
    later = days.business_days_after(date.fromisoformat(str(trade.fields["valueDate"])), 1).isoformat()
    return _replace(world, trade, "Rolled", [{"valueDate": later} | dict(values)])


def allocate(world: World, trade: Trade, parts: Sequence[Mapping[str, Any]]) -> list[Trade]:
    """Split a trade among legal entities (R/trades/tradeallocate); the last part gets what the others leave."""
    parts = parts or [{"customerAccount": f"{trade.org}LE1"}, {"customerAccount": f"{trade.org}LE2"}]
    currency = str(trade.fields["currency"])
    values: list[dict[str, Any]] = [dict(part) for part in parts]
    for name in ("dealtAmount", "farDealtAmount"):
        if name in trade.fields:
            share = rounded(trade.number(name) / len(values), currency)
            for each in values[:-1]:
                each.setdefault(name, share)
            given = sum((decimal(each[name]) for each in values[:-1]), Decimal(0))
            values[-1][name] = WIDE.subtract(trade.number(name), given)
    return _replace(world, trade, "Allocated", values)


def _replace(world: World, trade: Trade, status: str, contents: Sequence[Mapping[str, Any]]) -> list[Trade]:
    """Give the trade a status that ends it, and add its replacements under new ids (A21)."""
    replacements = []
    for content in contents:
        fields: dict[str, Json] = {**trade.fields, "tradeId": world.generators[trade.org].new_trade_id()}
        fields["originalTradeId"] = trade.id
        replacement = Trade(trade.org, fields, trade.executed_at)
        _set(replacement, content)
        replacements.append(replacement)
    trade.status, trade.replaced_by = status, tuple(each.id for each in replacements)
    world.touched(trade)
    world.add(replacements)
    return replacements
