"""The readings of the silent parts of the vendor's documents that can be played, by name and value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


def _choice(*values: str) -> Any:
    """The first value is the default and the project's own reading (integral-api.md, section 14)."""
    return field(default=values[0], metadata={"choices": values})


@dataclass(frozen=True)
class Variants:
    """One field a variant; the number of the assumption it varies stands behind it."""

    contra: str = _choice("settled", "base_term", "both", "neither")  # A1
    rates: str = _choice("present", "absent", "disagreeing")  # A2
    side_case: str = _choice("title", "upper", "lower")  # A3
    we_are: str = _choice("customer", "counterparty", "both", "mixed")  # A3, for trades made from now on
    far_leg: str = _choice("present", "absent", "second_message")  # A4
    fixing: str = _choice("present", "absent")  # A5
    energy: bool = False  # A5, for trades made from now on
    extra_fields: bool = False  # A6
    original_link: str = _choice("present", "absent")  # A6, A21
    omit: str = ""  # A7: names of fields to leave out, separated by commas
    numbers: str = _choice("plain", "exponent", "trailing_zeros", "string")  # how amounts are written
    empty: str = _choice("array", "204", "no_body", "chunked", "object", "null", "wrapped")  # A8
    token_in: str = _choice("both", "header", "cookie")  # A10
    renew: str = _choice("new", "same", "refuse_expired")  # A10: new token, the same prolonged, none if expired
    token_life_s: float = 60.0  # A10
    date_offset_s: float = 0.0  # how far the vendor's clock is ahead of the truth
    eligible_after_s: float = 0.0  # A12
    resend_compare: str = _choice("trade_date", "executed_at")  # A12
    resend_404: str = _choice("never", "when_empty", "always")  # A12
    resend_drop: int = 0  # A12: trades that each resend forgets
    resend_max_days: int = 0  # A24: 0 is unlimited; else 400 for longer ranges
    resend_min_interval_s: float = 0.0  # A24: else 429
    resend_retention_days: int = 0  # A24: 0 is unlimited; else older trades do not come again
    order: str = _choice("executed", "reversed", "random")  # A13
    oversize: int = 0  # A13: how many trades more than maxCount a page may have
    max_count_limit: int = 0  # 0 is unlimited; else a larger maxCount is cut down to it
    positions_shape: str = _choice("array", "object", "children", "paged", "empty_object", "empty_array")  # A14
    positions_page: int = 20  # A14: rows a page where the shape is paged
    positions_sign: str = _choice("signed", "side")  # A14: unsigned amounts and a side
    positions_side: str = _choice("buy_sell", "long_short")  # A14
    positions_term: str = _choice("flows", "average")  # A14
    positions_flat: str = _choice("kept", "left_out")  # A14: rows that are flat in base
    positions_ndf: str = _choice("kept", "until_fixing")  # A14
    path_date: str = _choice("iso", "compact")  # A14: how the value date in the path is written
    balances_shape: str = _choice("array", "object", "empty_array", "empty_object")  # A15
    balances_name: str = _choice("total", "balance")  # A15
    balances_numbers: str = _choice("number", "string")  # A15, A17
    balances_zero: str = _choice("kept", "left_out")  # A15
    transfers_omit: str = ""  # A17: names of fields to leave out, separated by commas
    assets_precision: str = _choice("present", "absent")  # A18
    fills: str = _choice("all", "verified", "404")  # A19
    trade_query: str = _choice("found", "404")  # A20
    shared_queue: bool = False  # A23: all users of an organisation share one queue; only at the start
    crypto_weekend: str = _choice("calendar", "monday")  # trade date of crypto done on a weekend

    def changed(self, values: Mapping[str, Any]) -> "Variants":
        """Return these with some replaced; raises ValueError for a name or a value that is none."""
        known = {each.name: each for each in fields(self)}
        if unknown := sorted(values.keys() - known.keys()):
            raise ValueError(f"no such variant: {', '.join(unknown)}")
        return replace(self, **{name: _coerced(known[name], value) for name, value in values.items()})


def _coerced(variant: Any, value: Any) -> Any:
    choices = variant.metadata.get("choices")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if choices and text not in choices:
        raise ValueError(f"variant {variant.name}: {text} is none of {', '.join(choices)}")
    if isinstance(variant.default, bool):
        if text not in ("true", "false"):
            raise ValueError(f"variant {variant.name}: {text} is neither true nor false")
        return text == "true"
    return type(variant.default)(text)
