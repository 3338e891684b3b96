"""Compares contents: a message with what was landed before, a trade with the version in the book (law 7)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from etl.domain.canonical import canonical
from etl.domain.fields import Reading
from etl.domain.trade import Leg, OurSide, Trade

_ECONOMIC = ("trade_type", "trade_date", "side", "symbol", "dealt_currency", "status", "maker") + (
    *("organisation", "legal_entity", "counterparty", "counterparty_entity"),
)
_DERIVED = ("live", "base_currency", "term_currency", "legs", "attributes", "flags")
_OTHER = tuple(each for each in Trade.__struct_fields__ if each not in (*_ECONOMIC, *_DERIVED, "trade_id"))
_LEG_ECONOMIC = ("value_date", "fixing_date", "rate", "spot_rate", "forward_points")
_LEG_OTHER = ("deliverable", "fixing_tenor")


class Outcome(StrEnum):
    """What a second message about a trade means."""

    SAME = "same"  # nothing that we keep differs
    ENRICHED = "enriched"  # a new version; the economics are as they were
    CONFLICT = "conflict"  # a new version with other economics: a break
    OTHER_TRADE = "other_trade"  # never a version: exception item `same_id_other_trade`


class Verdict(msgspec.Struct, frozen=True):
    """How two versions of a trade differ.

    `changed` names all fields, `economics` those of them that are economics, both by our names: a field of a leg as
    `leg1.rate`, a field without a column as `attributes.NAME` with the vendor's name.
    """

    outcome: Outcome
    changed: tuple[str, ...] = ()
    economics: tuple[str, ...] = ()


def content_hash(payload: Mapping[str, Any], reading: Reading) -> bytes:
    """Return the SHA-256 of the content: equal for messages that say the same (law 7).

    Keys sorted at every depth, numbers by value, without `event` and the feed's `ignored_in_comparison`.
    """
    content = dict(payload)
    for name in reading.uncompared:
        content.pop(name, None)
    return hashlib.sha256(canonical(content)).digest()


def compare(known: Trade, other: Trade) -> Verdict:
    """Return how `other` differs from the version `known` of the same id, numbers by value (law 7).

    Texts in `attributes` are compared as they stand. A maker flag or customer organisation that only one of the
    two has is a change; it takes two different ones to make another trade.
    """
    economics = tuple(_economic_changes(known, other))
    changed = (*economics, *_other_changes(known, other))
    if _is_other_trade(known, other):
        return Verdict(Outcome.OTHER_TRADE, changed, economics)
    if economics:
        return Verdict(Outcome.CONFLICT, changed, economics)
    return Verdict(Outcome.ENRICHED, changed) if changed else Verdict(Outcome.SAME)


def _is_other_trade(known: Trade, other: Trade) -> bool:
    identities = (
        (known.maker, other.maker),
        (known.symbol, other.symbol),
        (_customer(known), _customer(other)),
    )
    return any(None not in pair and pair[0] != pair[1] for pair in identities)


def _customer(trade: Trade) -> str | None:
    """Return the vendor's customer, whichever party is ours."""
    return trade.counterparty if trade.our_side is OurSide.COUNTERPARTY else trade.organisation


def _economic_changes(known: Trade, other: Trade) -> Iterator[str]:
    yield from _differing(known, other, _ECONOMIC)
    for number, (leg, other_leg) in enumerate(zip(known.legs, other.legs, strict=False), start=1):
        for name in ("dealt", "settled"):
            amount, other_amount = getattr(leg, name), getattr(other_leg, name)
            if amount.value != other_amount.value:
                yield f"leg{number}.{name}_amount"
            if amount.currency != other_amount.currency:
                yield f"leg{number}.{name}_currency"
        yield from (f"leg{number}.{name}" for name in _differing(leg, other_leg, _LEG_ECONOMIC))
    fewer, more = sorted((len(known.legs), len(other.legs)))
    yield from (f"leg{number}" for number in range(fewer + 1, more + 1))


def _other_changes(known: Trade, other: Trade) -> Iterator[str]:
    yield from _differing(known, other, _OTHER)
    for number, (leg, other_leg) in enumerate(zip(known.legs, other.legs, strict=False), start=1):
        yield from (f"leg{number}.{name}" for name in _differing(leg, other_leg, _LEG_OTHER))
    absent = object()
    for name in sorted(known.attributes.keys() | other.attributes.keys()):
        if known.attributes.get(name, absent) != other.attributes.get(name, absent):
            yield f"attributes.{name}"


def _differing(one: Trade | Leg, other: Trade | Leg, names: tuple[str, ...]) -> Iterator[str]:
    return (name for name in names if getattr(one, name) != getattr(other, name))
