"""Builds the legs of a trade out of its sound fields: the other amount, the signs, the check of the rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from etl.domain.money import EXACT, Amount, minor_unit
from etl.domain.rules import Symbol
from etl.domain.trade import Fault, Leg, Side, TradeType

NEAR, FAR = "", "far_"
"""What the canonical names of a leg's fields begin with."""

AMOUNT_NAMES = {
    leg: (f"{leg}base_amount", f"{leg}term_amount", f"{leg}settled_amount", f"{leg}dealt_amount") for leg in (NEAR, FAR)
}
"""For each leg, by what its names begin with: base, term, settled and dealt amount."""

_ONE_LEG, _TWO_LEGS = (NEAR,), (NEAR, FAR)
_FAR_LEG = ("far_value_date", *AMOUNT_NAMES[FAR])
_ONE_IN = Decimal(10_000)


def prefixes(trade_type: TradeType) -> tuple[str, ...]:
    """Return what the names of the fields begin with, for each leg of the trade (A4)."""
    return _TWO_LEGS if trade_type.has_far_leg else _ONE_LEG


def settled_amount(terms: Mapping[str, Any], prefix: str) -> Decimal | None:
    """Return the amount of the currency that was not dealt, in major units, unsigned (A1).

    It is the settled amount; where that is absent, base and term amount together serve, if the one of the
    dealt currency equals the dealt amount. None where neither does: nothing is computed (law 8).
    """
    base_name, term_name, settled_name, dealt_name = AMOUNT_NAMES[prefix]
    settled: Decimal | None = terms.get(settled_name)
    if settled is not None:
        return settled
    base, term = terms.get(base_name), terms.get(term_name)
    if base is None or term is None:
        return None
    dealt, other = (base, term) if terms["dealt_currency"] == terms["symbol"].base else (term, base)
    return other if dealt == terms[dealt_name] else None


def contradictions_between(terms: Mapping[str, Any], trade_type: TradeType) -> Iterator[Fault]:
    """Yield what is wrong between fields that are sound alone; the fields have our names here."""
    pair: Symbol = terms["symbol"]
    if (currency := terms["dealt_currency"]) not in (pair.base, pair.term):
        yield Fault("dealt_currency", currency, f"must be one of the two currencies of {pair.text}")
        return
    for prefix in prefixes(trade_type):
        if settled_amount(terms, prefix) is None:
            dealt = terms[f"{prefix}dealt_amount"]
            rule = f"must equal the base or the term amount, whichever is in {currency}"
            yield Fault(f"{prefix}dealt_amount", str(dealt), rule)
    if trade_type.has_far_leg:
        if terms["far_value_date"] <= terms["value_date"]:
            yield Fault("far_value_date", str(terms["far_value_date"]), f"must be after {terms['value_date']}")
        return
    for name in _FAR_LEG:
        if name in terms:
            yield Fault(name, str(terms[name]), f"must be absent: a trade of type {trade_type} has one leg")


def legs_of(terms: Mapping[str, Any], trade_type: TradeType, side: Side, deliverable: bool) -> tuple[Leg, ...]:
    """Return the legs as seen by the party whose near side of the dealt currency is `side`.

    Major units, positive is received by that party, negative is paid; the far leg goes the other way (A4).
    """
    near = _leg(terms, NEAR, side, deliverable)
    if not trade_type.has_far_leg:
        return (near,)
    return near, _leg(terms, FAR, side.turned(), deliverable)


def _leg(terms: Mapping[str, Any], prefix: str, side: Side, deliverable: bool) -> Leg:
    pair: Symbol = terms["symbol"]
    dealt: Decimal = terms[f"{prefix}dealt_amount"]
    settled = settled_amount(terms, prefix)
    assert settled is not None  # contradictions_between has seen to it
    if side is Side.BUY:
        settled = settled.copy_negate()
    else:
        dealt = dealt.copy_negate()
    dealt_is_base = terms["dealt_currency"] == pair.base
    return Leg(
        leg_no=2 if prefix else 1,
        value_date=terms[f"{prefix}value_date"],
        dealt=Amount(dealt, pair.base if dealt_is_base else pair.term),
        settled=Amount(settled, pair.term if dealt_is_base else pair.base),
        base_amount=dealt if dealt_is_base else settled,
        term_amount=settled if dealt_is_base else dealt,
        deliverable=deliverable,
        fixing_date=terms.get(f"{prefix}fixing_date"),
        fixing_tenor=terms.get(f"{prefix}fixing_tenor"),
        rate=terms.get(f"{prefix}rate"),
        spot_rate=terms.get(f"{prefix}spot_rate"),
        forward_points=terms.get(f"{prefix}forward_points"),
    )


def leg_flags(leg: Leg, pair: Symbol, trade_type: TradeType) -> Iterator[str]:
    """Yield what is remarkable about a leg; what is said of the far one begins with `far_`."""
    prefix = FAR if leg.leg_no == 2 else NEAR
    if trade_type.is_non_deliverable and leg.fixing_date is None:
        yield f"{prefix}fixing_date_missing"
    if leg.rate is not None and rate_disagrees(leg.base_amount, leg.term_amount, leg.rate, pair):
        yield f"{prefix}rate_disagrees"


def rate_disagrees(base: Decimal, term: Decimal, rate: Decimal, pair: Symbol) -> bool:
    """Return whether rate × base differs from term by more than 1 in 10,000 and by more than one minor unit (A2).

    The unit of whichever amount was rounded counts: the term's own, or the base's times the rate.
    """
    base, term = base.copy_abs(), term.copy_abs()
    difference = EXACT.subtract(EXACT.multiply(base, rate), term).copy_abs()
    if EXACT.multiply(difference, _ONE_IN) <= term:
        return False
    base_unit = EXACT.multiply(_smallest_unit(base, pair.base), rate).copy_abs()
    return difference > _smallest_unit(term, pair.term) and difference > base_unit


def _smallest_unit(amount: Decimal, currency: str) -> Decimal:
    """Return one minor unit of the currency in major units; where it has none, one of the last digit seen."""
    digits = minor_unit(currency)
    if digits is None:
        exponent = amount.as_tuple().exponent
        digits = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return Decimal((0, (1,), -digits))
