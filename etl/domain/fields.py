"""The vendor's field names, the further names a feed may give them, and the rule for each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from functools import cached_property
from types import MappingProxyType
from typing import Any

import msgspec

from etl.domain import rules
from etl.domain.rules import Rule


class Weight(Enum):
    """What it means when a field cannot be read."""

    REQUIRED = auto()
    """Absent or broken: the message is an exception item (A7)."""
    ESSENTIAL = auto()
    """May be absent; broken: the message is an exception item."""
    DESCRIPTIVE = auto()
    """Broken: the value stays in `attributes` under the vendor's name, the trade is booked and flagged."""


class Field(msgspec.Struct, frozen=True):
    """One field of a message: our name, the vendor's names in the order in which they are tried, and the rule.

    `is_column` says that the value is a column of the trade just as the rule returns it; all else is looked at
    together with other fields first.
    """

    name: str
    vendor_names: tuple[str, ...]
    rule: Rule
    weight: Weight
    is_column: bool = True


_UNDOCUMENTED = 255
"""Longest text where the vendor names no maximum."""
_NOTE = 4000

_REQUIRED, _ESSENTIAL, _DESCRIPTIVE = Weight.REQUIRED, Weight.ESSENTIAL, Weight.DESCRIPTIVE

# Lengths: integral-api.md §3.1. Base and term amounts are asked only where the settled amount is absent (A1).
FIELDS = (
    Field("trade_id", ("tradeId",), rules.name(255), _REQUIRED),
    Field("trade_type", ("tradeType",), rules.trade_type, _REQUIRED),
    Field("trade_date", ("tradeDate",), rules.day, _REQUIRED),
    Field("value_date", ("valueDate",), rules.day, _REQUIRED, is_column=False),
    Field("side", ("side",), rules.side, _REQUIRED, is_column=False),
    Field("symbol", ("symbol",), rules.symbol, _REQUIRED, is_column=False),
    Field("dealt_currency", ("currency",), rules.name(10), _REQUIRED, is_column=False),
    Field("dealt_amount", ("dealtAmount",), rules.amount, _REQUIRED, is_column=False),
    Field("settled_amount", ("settledAmount",), rules.amount, _ESSENTIAL, is_column=False),
    Field("base_amount", ("baseAmount",), rules.amount, _DESCRIPTIVE, is_column=False),
    Field("term_amount", ("termAmount",), rules.amount, _DESCRIPTIVE, is_column=False),
    Field("rate", ("rate",), rules.rate, _ESSENTIAL, is_column=False),
    Field("spot_rate", ("spotRate",), rules.rate, _ESSENTIAL, is_column=False),
    Field("forward_points", ("forwardPoints",), rules.rate, _ESSENTIAL, is_column=False),
    Field("fixing_date", ("fixingDate",), rules.day, _ESSENTIAL, is_column=False),
    Field("fixing_tenor", ("fixingTenor",), rules.remark(20), _DESCRIPTIVE, is_column=False),
    Field("far_value_date", ("farValueDate",), rules.day, _ESSENTIAL, is_column=False),
    Field("far_dealt_amount", ("farDealtAmount",), rules.amount, _ESSENTIAL, is_column=False),
    Field("far_settled_amount", ("farSettledAmount",), rules.amount, _ESSENTIAL, is_column=False),
    Field("far_base_amount", ("farBaseAmount",), rules.amount, _DESCRIPTIVE, is_column=False),
    Field("far_term_amount", ("farTermAmount",), rules.amount, _DESCRIPTIVE, is_column=False),
    Field("far_rate", ("farRate",), rules.rate, _ESSENTIAL, is_column=False),
    Field("far_spot_rate", ("farSpotRate",), rules.rate, _ESSENTIAL, is_column=False),
    Field("far_forward_points", ("farForwardPoints",), rules.rate, _ESSENTIAL, is_column=False),
    Field("far_fixing_date", ("farFixingDate",), rules.day, _ESSENTIAL, is_column=False),
    Field("far_fixing_tenor", ("farFixingTenor",), rules.remark(20), _DESCRIPTIVE, is_column=False),
    Field("status", ("status",), rules.name(20), _ESSENTIAL),
    Field("maker", ("maker",), rules.yes_or_no, _ESSENTIAL),
    Field("organisation", ("customerOrg",), rules.name(30), _ESSENTIAL),
    Field("legal_entity", ("customerAccount",), rules.name(30), _ESSENTIAL),
    Field("counterparty", ("counterparty",), rules.name(_UNDOCUMENTED), _ESSENTIAL),
    Field("counterparty_entity", ("counterpartyAccount",), rules.name(_UNDOCUMENTED), _ESSENTIAL),
    Field("executed_at", ("executionTime",), rules.instant, _ESSENTIAL),
    Field("event", ("event",), rules.remark(50), _DESCRIPTIVE, is_column=False),
    Field("order_id", ("orderId",), rules.remark(60), _DESCRIPTIVE),
    Field("client_order_id", ("coId",), rules.remark(255), _DESCRIPTIVE),
    Field("trader", ("user",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("counterparty_name", ("counterpartyLongName",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("channel", ("channel",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("stream", ("stream",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("rate_id", ("rateId",), rules.remark(255), _DESCRIPTIVE),
    Field("uti", ("uti",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("usi", ("usi",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("lei", ("lei",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("counterparty_lei", ("counterpartyLei",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("note", ("note",), rules.remark(_NOTE), _DESCRIPTIVE),
    Field("external_request_id", ("externalRequestId",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("original_trade_id", ("originalTradeId",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
    Field("replaced_by", ("replacedBy",), rules.remark(_UNDOCUMENTED), _DESCRIPTIVE),
)

RULES: Mapping[str, Rule] = MappingProxyType({vendor: each.rule for each in FIELDS for vendor in each.vendor_names})
"""The vendor's built-in field names, and the rule for each."""

CANONICAL_NAMES: tuple[str, ...] = tuple(each.name for each in FIELDS)
"""Our names, which `field_aliases` of the settings may use. Those of the parties are the customer's view."""


class Reading(msgspec.Struct, frozen=True, dict=True):
    """How the messages of one feed are read; what is slow is worked out once and kept.

    `own_orgs`: our organisations; empty means that the customer is us (design.md §6). `aliases`: for a canonical
    name the vendor's names to try after the built-in ones. `non_deliverable_assets`: symbol parts that are never
    exchanged (A5). `ignored_in_comparison`: fields, by the vendor's name or by ours, that make no new version.
    """

    own_orgs: frozenset[str] = frozenset()
    aliases: Mapping[str, tuple[str, ...]] = {}
    non_deliverable_assets: frozenset[str] = frozenset()
    ignored_in_comparison: frozenset[str] = frozenset()

    @cached_property
    def first_names(self) -> Mapping[str, Field]:
        """Return the field for each vendor name that is tried first."""
        return {each.vendor_names[0]: each for each in FIELDS}

    @cached_property
    def later_names(self) -> tuple[tuple[Field, tuple[str, ...]], ...]:
        """Return the fields that have further names, with those names."""
        return tuple((each, later) for each in FIELDS if (later := self.names[each.name][1:]))

    @cached_property
    def names(self) -> Mapping[str, tuple[str, ...]]:
        """Return all names of the vendor for each canonical name, in the order in which they are tried."""
        return {each.name: (*each.vendor_names, *self.aliases.get(each.name, ())) for each in FIELDS}

    @cached_property
    def uncompared(self) -> frozenset[str]:
        """Return the vendor's names of the fields that do not count when contents are compared (law 7)."""
        ignored = {*self.ignored_in_comparison, "event"}
        return frozenset(ignored.union(*(self.names.get(each, ()) for each in ignored)))

    def name_in(self, payload: Mapping[str, Any], canonical: str) -> str | None:
        """Return the vendor's name under which the payload carries the field; None where it is absent or empty."""
        for each in self.names[canonical]:
            if payload.get(each) not in (None, ""):
                return each
        return None
