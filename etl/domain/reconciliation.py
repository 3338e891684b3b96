"""Our figures against the vendor's: the differences, told as breaks (design.md §6)."""

from __future__ import annotations

import decimal
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from etl.domain.money import EXACT, minor_unit

ROUNDING = decimal.Context(prec=200, rounding=decimal.ROUND_HALF_EVEN, traps=[decimal.InvalidOperation])
"""For the one step that may lose digits: to the minor unit, both sides alike."""


class BreakKind(StrEnum):
    """What differs."""

    MISSING_IN_BOOK = "missing_in_book"
    MISSING_AT_VENDOR = "missing_at_vendor"
    CONFLICT = "conflict"
    STATUS = "status"
    POSITION = "position"
    BALANCE = "balance"
    VALUE_DATE_SHIFT = "value_date_shift"  # equal and opposite on two value dates of one symbol
    FIXING_OVERDUE = "fixing_overdue"
    STALE_FEED = "stale_feed"
    QUERY_FAILED = "query_failed"  # a question without an answer, which is never "flat" (law 10)


class BreakState(StrEnum):
    """Where a break is on its way."""

    OPEN = "open"
    INVESTIGATING = "investigating"
    CLEARED = "cleared"  # with proof, by a control
    ACCEPTED = "accepted"  # by a person, until a date; opens again when the difference changes
    RESOLVED = "resolved"  # by a person, with a reason


class Key(NamedTuple):
    """What a position is of."""

    symbol: str
    value_date: date


class Position(msgspec.Struct, frozen=True):
    """A net position: major units, positive is received by our side. `rate` is the vendor's average, where it has one.

    `term` is None where it is not known.
    """

    base: Decimal
    term: Decimal | None = None
    rate: Decimal | None = None


FLAT = Position(Decimal(0), Decimal(0))


class Finding(msgspec.Struct, frozen=True):
    """A difference as a control found it; one key of one kind is one break. `difference` is theirs minus ours."""

    kind: BreakKind
    key: str
    comment: str
    ours: Decimal | None = None
    theirs: Decimal | None = None
    difference: Decimal | None = None
    currency: str | None = None
    ours_term: Decimal | None = None
    theirs_term: Decimal | None = None
    difference_term: Decimal | None = None
    trade_id: str | None = None
    order_id: str | None = None
    level: str | None = None
    level_value: str | None = None
    symbol: str | None = None
    value_date: date | None = None
    figures: Mapping[str, Any] = {}

    @property
    def amounts(self) -> tuple[Decimal | None, ...]:
        """Return what makes it the same finding as before: the difference and what it is made of."""
        return self.ours, self.theirs, self.difference, self.ours_term, self.theirs_term, self.difference_term


class Rules(msgspec.Struct, frozen=True):
    """By what amounts are compared. Digits and tolerances by name; `vendor_digits` are of the asset details (A18)."""

    digits: Mapping[str, int] = {}
    vendor_digits: Mapping[str, int] = {}
    tolerance_units: Mapping[str, int] = {}
    compare_term: str = "off"

    def minor_digits(self, currency: str) -> int | None:
        """Return the digits that count: of the settings, else the vendor's, else of ISO 4217; None: all seen ones."""
        for known in (self.digits, self.vendor_digits):
            if currency in known:
                return known[currency]
        return minor_unit(currency)

    def units(self, kind: BreakKind, currency: str, symbol: str | None = None) -> int:
        """Return the largest difference that is no break, in minor units; the most specific name of the settings."""
        names = [name for name in (symbol, currency) if name]
        for name in [*(f"{kind.upper()}:{each}" for each in names), *names, kind.upper()]:
            if name in self.tolerance_units:
                return self.tolerance_units[name]
        return 0

    def rounded(self, amount: Decimal, currency: str) -> Decimal:
        """Return the amount in the currency's minor unit, half to even; as it is where no unit is known."""
        digits = self.minor_digits(currency)
        return amount if digits is None else amount.quantize(Decimal(1).scaleb(-digits), context=ROUNDING)

    def exceeds(self, difference: Decimal, currency: str, kind: BreakKind, symbol: str | None = None) -> bool:
        """Return whether a difference of rounded amounts is a break."""
        digits = self.minor_digits(currency)
        if digits is None:
            digits = max(0, -int(difference.as_tuple().exponent))
        return abs(difference) > Decimal(self.units(kind, currency, symbol)).scaleb(-digits)


def currencies(symbol: str) -> tuple[str, str]:
    """Return base and term of a symbol such as EUR/USD."""
    base, _, term = symbol.partition("/")
    return base, term


class Difference(msgspec.Struct, frozen=True):
    """Two positions of one key, rounded, and theirs minus ours; the term side only where it is compared."""

    key: Key
    ours: Decimal
    theirs: Decimal
    ours_term: Decimal | None
    theirs_term: Decimal | None
    is_break: bool

    @property
    def base(self) -> Decimal:
        """Return what ours lacks of theirs, in the base currency."""
        return EXACT.subtract(self.theirs, self.ours)

    @property
    def term(self) -> Decimal | None:
        """Return what ours lacks of theirs, in the term currency."""
        if self.ours_term is None or self.theirs_term is None:
            return None
        return EXACT.subtract(self.theirs_term, self.ours_term)

    @property
    def figures(self) -> tuple[Decimal | None, ...]:
        """Return what has to be the same at the second look."""
        return self.ours, self.theirs, self.ours_term, self.theirs_term


def difference(key: Key, ours: Position, theirs: Position, rules: Rules) -> Difference:
    """Compare one key: base always, term as `compare_term` says (A14). A missing side is FLAT."""
    base, term = currencies(key.symbol)
    our_base, their_base = rules.rounded(ours.base, base), rules.rounded(theirs.base, base)
    our_term = their_term = None
    if rules.compare_term != "off" and theirs.term is not None:
        expected = ours.term if rules.compare_term == "flows" else averaged(ours, theirs, rules, term)
        if expected is not None:
            our_term, their_term = rules.rounded(expected, term), rules.rounded(theirs.term, term)
    found = Difference(key, our_base, their_base, our_term, their_term, is_break=False)
    kind = BreakKind.POSITION
    over = rules.exceeds(found.base, base, kind, key.symbol)
    over = over or (found.term is not None and rules.exceeds(found.term, term, kind, key.symbol))
    return msgspec.structs.replace(found, is_break=over)


def averaged(ours: Position, theirs: Position, rules: Rules, term: str) -> Decimal | None:
    """Return the term amount where it means open base times the vendor's average rate; None without such a rate.

    A product halfway between two units is either of them: how the vendor rounds is not said (A14).
    """
    if theirs.rate is None:
        return Decimal(0) if not ours.base else None
    product = EXACT.multiply(ours.base, theirs.rate).copy_negate()
    nearest = rules.rounded(product, term)
    said = nearest if theirs.term is None else rules.rounded(theirs.term, term)
    return said if abs(EXACT.subtract(said, product)) == abs(EXACT.subtract(nearest, product)) else nearest


def term_readings(ours: Mapping[Key, Position], theirs: Mapping[Key, Position], rules: Rules) -> dict[str, int]:
    """Count the keys that agree in base by what their term amount can mean (A14): flows, average, both or neither."""
    counted = {"flows": 0, "average": 0, "both": 0, "neither": 0}
    for key, their in theirs.items():
        our = ours.get(key, FLAT)
        base, term = currencies(key.symbol)
        if their.term is None or rules.rounded(our.base, base) != rules.rounded(their.base, base):
            continue
        theirs_term = rules.rounded(their.term, term)
        flows = our.term is not None and rules.rounded(our.term, term) == theirs_term
        average = their.rate is not None and averaged(our, their, rules, term) == theirs_term
        counted["both" if flows and average else "flows" if flows else "average" if average else "neither"] += 1
    return counted


def position_findings(level: str, value: str, differences: Iterable[Difference]) -> list[Finding]:
    """Return confirmed differences as findings; two that cancel each other on one symbol are one value_date_shift."""
    by_symbol: defaultdict[str, list[Difference]] = defaultdict(list)
    for each in sorted(differences, key=lambda each: each.key):
        by_symbol[each.key.symbol].append(each)
    found: list[Finding] = []
    for of_symbol in by_symbol.values():
        pairs, single = _shifts(of_symbol)
        found += [_shift(level, value, first, second) for first, second in pairs]
        found += [_position(level, value, each) for each in single]
    return found


def _shifts(of_symbol: Sequence[Difference]) -> tuple[list[tuple[Difference, Difference]], list[Difference]]:
    """Pair what is equal and opposite, where it can be paired in one way only."""
    by_size: defaultdict[Decimal, list[Difference]] = defaultdict(list)
    for each in of_symbol:
        by_size[abs(each.base)].append(each)
    pairs, single = [], []
    for size, same in by_size.items():
        if len(same) == 2 and size and same[0].base == same[1].base.copy_negate():
            pairs.append((same[0], same[1]))
        else:
            single += same
    return pairs, single


def position_key(level: str, value: str, symbol: str, *days: date) -> str:
    """Return the key of a break about positions, such as `ORG pfOrg EUR/USD 2026-03-04`."""
    return " ".join([level, value, symbol, *(day.isoformat() for day in days)])


def _position(level: str, value: str, each: Difference) -> Finding:
    key = each.key
    base, term = currencies(key.symbol)
    by = f"{each.base:f} {base}" if each.base or not each.term else f"{each.term:f} {term}, in its term amount alone"
    return Finding(
        BreakKind.POSITION, position_key(level, value, *key), f"the vendor's position differs by {by}",
        ours=each.ours, theirs=each.theirs, difference=each.base, currency=base, ours_term=each.ours_term,
        theirs_term=each.theirs_term, difference_term=each.term, level=level, level_value=value, symbol=key.symbol,
        value_date=key.value_date,
    )  # fmt: skip


def _shift(level: str, value: str, first: Difference, second: Difference) -> Finding:
    (symbol, day), (_, other) = first.key, second.key
    base, _ = currencies(symbol)
    words = f"{first.base:f} {base} on {day} and {second.base:f} on {other}: perhaps one trade on another value date"
    figures = {"value_dates": [day.isoformat(), other.isoformat()], "ours": [f"{first.ours:f}", f"{second.ours:f}"],
               "theirs": [f"{first.theirs:f}", f"{second.theirs:f}"]}  # fmt: skip
    return Finding(
        BreakKind.VALUE_DATE_SHIFT, position_key(level, value, symbol, day, other), words, ours=first.ours,
        theirs=first.theirs, difference=first.base, currency=base, level=level, level_value=value, symbol=symbol,
        value_date=day, figures=figures,
    )  # fmt: skip
