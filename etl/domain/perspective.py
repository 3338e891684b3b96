"""Whose side of a trade is ours, and the trade seen from there."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from etl.domain.trade import OurSide

_TURNED = {
    "organisation": "counterparty",
    "legal_entity": "counterparty_entity",
    "lei": "counterparty_lei",
}
"""What changes places when the counterparty is us: the customer's columns, and the counterparty's."""


def our_side(customer: str | None, counterparty: str | None, own_orgs: Set[str]) -> OurSide | None:
    """Return which party is ours, None where neither is.

    With no own organisations named the customer is us (design.md §6).
    """
    if not own_orgs:
        return OurSide.CUSTOMER
    match customer in own_orgs, counterparty in own_orgs:
        case True, True:
            return OurSide.BOTH
        case True, False:
            return OurSide.CUSTOMER
        case False, True:
            return OurSide.COUNTERPARTY
        case _:
            return None


def turned(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trade's columns with the parties exchanged; the other party's long name is not known then."""
    places = _TURNED | {theirs: ours for ours, theirs in _TURNED.items()}
    found = {places.get(name, name): value for name, value in columns.items()}
    found.pop("counterparty_name", None)
    return found
