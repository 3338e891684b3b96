"""Turns the fields of one message into a trade, or into every fault found in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from etl.domain.attributes import attributes_of
from etl.domain.fields import CANONICAL_NAMES, FIELDS, Field, Reading, Weight
from etl.domain.legs import AMOUNT_NAMES, FAR, contradictions_between, leg_flags, legs_of, prefixes
from etl.domain.perspective import our_side, turned
from etl.domain.rules import Broken, Symbol
from etl.domain.text import shown
from etl.domain.trade import Fault, OurSide, Rejected, Side, Trade, TradeType

_DEFAULT = Reading()
_RANK = {name: rank for rank, name in enumerate(CANONICAL_NAMES)}
_REQUIRED = tuple(each.name for each in FIELDS if each.weight is Weight.REQUIRED)
_SELDOM_USED = frozenset(name for name in CANONICAL_NAMES if name.startswith(FAR)) | {"base_amount", "term_amount"}
_PEEKED = ("trade_id", "symbol", "side", "dealt_amount", "trade_date", "value_date", "legal_entity", "counterparty")


class _Found(msgspec.Struct):
    """What the single fields of a message gave; keys are our names, but for `rest`, which has the vendor's."""

    columns: dict[str, Any]  # of the trade, as they stand
    terms: dict[str, Any]  # all else that is read
    rest: dict[str, Any]  # values as sent that have no column
    unread: dict[str, Fault]  # broken but only descriptive
    faults: dict[str, Fault]
    omitted: list[str]

    def take(self, field: Field, vendor_name: str, value: Any) -> None:
        """Read one value and put it where it belongs."""
        read = field.rule(value)
        if type(read) is Broken:
            self.refuse(field, vendor_name, value, read)
        elif field.is_column:
            self.columns[field.name] = read
        else:
            self.terms[field.name] = read

    def refuse(self, field: Field, vendor_name: str, value: Any, broken: Broken) -> None:
        """Note a value that its field cannot have; null and an empty text mean that the field is absent."""
        if value is None or value == "":
            return
        fault = Fault(shown(vendor_name), shown(value), broken.rule)
        if field.weight is not Weight.DESCRIPTIVE:
            self.faults[field.name] = fault
        elif not broken.storable:
            self.omitted.append(shown(vendor_name))
        else:
            self.unread[field.name] = fault
            self.rest[vendor_name] = value


def normalise(payload: Mapping[str, Any], reading: Reading = _DEFAULT) -> Trade | Rejected:
    """Return the trade in `payload`, or every fault found in it, not only the first; never raises.

    `payload` is what `decode` gives. Each field is looked at alone first (A7); only if all are sound they are
    held against each other (A1, A4), and it is asked whose side is ours (A3, design.md §6).
    """
    found = _read(payload, reading)
    _demand(found, payload, reading)
    if not found.faults:
        for fault in contradictions_between(found.terms, found.columns["trade_type"]):
            vendor_name = reading.name_in(payload, fault.field) or fault.field
            found.faults[fault.field] = Fault(vendor_name, fault.value, fault.rule)
    if not found.faults:
        ours = our_side(found.columns.get("organisation"), found.columns.get("counterparty"), reading.own_orgs)
        if ours is not None:
            return _trade(found, payload, reading, ours)
        found.faults["organisation"] = _not_our_trade(payload, reading)
    return Rejected(tuple(found.faults[name] for name in sorted(found.faults, key=_RANK.__getitem__)))


def event_of(payload: Mapping[str, Any], reading: Reading = _DEFAULT) -> str | None:
    """Return what the vendor calls the delivery, NEW or RESEND; None where it does not say (A7).

    Only for people and counts: whether a trade is new is decided by its id and content (law 6).
    """
    name = reading.name_in(payload, "event")
    return None if name is None or type(payload[name]) is not str else shown(payload[name])


def peek(payload: Mapping[str, Any], reading: Reading = _DEFAULT) -> dict[str, str | None]:
    """Return some fields of any message as text, for an exception item: by our names, None where absent."""
    names = {canonical: reading.name_in(payload, canonical) for canonical in _PEEKED}
    return {canonical: None if name is None else shown(payload[name]) for canonical, name in names.items()}


def _read(payload: Mapping[str, Any], reading: Reading) -> _Found:
    """Read every field that is there, by its first name, or else by the next one that is there."""
    found = _Found({}, {}, {}, {}, {}, [])
    known, columns, terms = reading.first_names, found.columns, found.terms
    for name, value in payload.items():  # the body of `take` once more: this loop is a third of all booking work
        if (field := known.get(name)) is None:
            found.rest[name] = value
        elif type(read := field.rule(value)) is Broken:
            found.refuse(field, name, value, read)
        elif field.is_column:
            columns[field.name] = read
        else:
            terms[field.name] = read
    for field, later in reading.later_names:
        if payload.get(field.vendor_names[0]) in (None, ""):
            for name in later:
                if payload.get(name) not in (None, ""):
                    found.rest.pop(name, None)
                    found.take(field, name, payload[name])
                    break
    return found


def _demand(found: _Found, payload: Mapping[str, Any], reading: Reading) -> None:
    """Note what is absent and must not be: the required fields (A7), the far leg (A4), the other amount (A1)."""
    columns, terms = found.columns, found.terms
    required = [name for name in _REQUIRED if name not in columns and name not in terms]
    if (trade_type := columns.get("trade_type")) is not None:
        if trade_type.has_far_leg:
            required += [name for name in ("far_value_date", "far_dealt_amount") if name not in terms]
        for prefix in prefixes(trade_type):
            base, term, settled, _ = AMOUNT_NAMES[prefix]
            if settled not in terms and not (base in terms and term in terms):
                required.append(settled)
                found.faults |= {name: found.unread[name] for name in (base, term) if name in found.unread}
    for name in required:
        if name not in found.faults:
            first = reading.names[name][0]
            value = shown(payload[first]) if first in payload else None
            rule = "is required, or the base and the term amount together" if "settled" in name else "is required"
            found.faults[name] = Fault(first, value, rule)


def _not_our_trade(payload: Mapping[str, Any], reading: Reading) -> Fault:
    names = (reading.name_in(payload, each) for each in ("organisation", "counterparty"))
    customer, counterparty = (None if name is None else shown(payload[name]) for name in names)
    rule = f"not_our_trade: neither the customer nor the counterparty {counterparty} is one of own_orgs"
    return Fault(reading.names["organisation"][0], customer, rule)


def _trade(found: _Found, payload: Mapping[str, Any], reading: Reading, ours: OurSide) -> Trade:
    columns, terms = found.columns, found.terms
    pair: Symbol = terms["symbol"]
    trade_type: TradeType = columns["trade_type"]
    side: Side = terms["side"]
    _keep_what_has_no_column(found, payload, reading)
    if ours is OurSide.COUNTERPARTY:
        side = side.turned()
        if name := reading.name_in(payload, "counterparty_name"):
            found.rest[name] = payload[name]
        columns = turned(columns)
    assets = reading.non_deliverable_assets
    deliverable = not (trade_type.is_non_deliverable or pair.base in assets or pair.term in assets)
    legs = legs_of(found.terms, trade_type, side, deliverable)
    flags = [flag for leg in legs for flag in leg_flags(leg, pair, trade_type)]
    flags += (f"unread_{name}" for name in found.unread)
    attributes, omitted = attributes_of(found.rest) if found.rest else ({}, ())
    status = columns.get("status")
    return Trade(
        **columns,
        symbol=pair.text,
        base_currency=pair.base,
        term_currency=pair.term,
        dealt_currency=terms["dealt_currency"],
        side=side,
        our_side=ours,
        live=status is None or status.lower() == "verified",
        legs=legs,
        attributes=attributes,
        attributes_omitted=tuple(sorted({*omitted, *found.omitted})) if found.omitted else omitted,
        flags=tuple(sorted(flags)),
    )


def _keep_what_has_no_column(found: _Found, payload: Mapping[str, Any], reading: Reading) -> None:
    """Keep the fields that were read and not used, so that nothing is lost: amounts said twice, far rates."""
    terms = found.terms
    if terms.keys().isdisjoint(_SELDOM_USED):
        return
    legs = prefixes(found.columns["trade_type"])
    unused = [f"{leg}{each}_amount" for leg in legs if f"{leg}settled_amount" in terms for each in ("base", "term")]
    if FAR not in legs:
        unused += [name for name in terms if name.startswith(FAR)]
    for name in unused:
        if name in terms and (vendor_name := reading.name_in(payload, name)):
            found.rest[vendor_name] = payload[vendor_name]
