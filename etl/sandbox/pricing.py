"""Rates, contra amounts and dates of a trade's legs; the settled amount is always rate times dealt, rounded."""

import random
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal

from etl.sandbox import days
from etl.sandbox.exact import Json
from etl.sandbox.market import TENORS, WIDE, Pair, rounded

FIXING_DAYS = 2
"""Business days from the fixing of an NDF to its value date."""


def spot_date(pair: Pair, trade_date: date) -> date:
    """Return the pair's spot value date; crypto settles on any day of the week."""
    if pair.kind == "crypto":
        return trade_date + timedelta(days=pair.spot_days)
    return days.business_days_after(trade_date, pair.spot_days)


def drawn_tenors(draw: random.Random) -> tuple[str, str]:
    """Return two tenors, the nearer first."""
    near, far = sorted(draw.sample(range(len(TENORS)), 2))
    return tuple(TENORS)[near], tuple(TENORS)[far]


def value_dates(trade_type: str, pair: Pair, trade_date: date, tenors: tuple[str, str]) -> dict[str, Json]:
    """Return the value and fixing dates of the legs, under the vendor's names."""
    spot = spot_date(pair, trade_date)
    near, far = tenors
    near_date, far_date = (days.following(spot + timedelta(days=TENORS[tenor])) for tenor in (near, far))
    match trade_type:
        case "Spot":
            return {"valueDate": spot.isoformat()}
        case "Outright":
            return {"valueDate": near_date.isoformat()}
        case "NDF":
            return {"valueDate": near_date.isoformat(), "fixingDate": _fixing(near_date), "fixingTenor": near}
        case "Swap":
            return {"valueDate": spot.isoformat(), "farValueDate": near_date.isoformat()}
        case "FwdFwd":
            return {"valueDate": near_date.isoformat(), "farValueDate": far_date.isoformat()}
        case _:
            fixings = {"fixingDate": _fixing(near_date), "fixingTenor": near, "farFixingDate": _fixing(far_date)}
            return {"valueDate": near_date.isoformat(), "farValueDate": far_date.isoformat(), **fixings}


def _fixing(value_date: date) -> str:
    return days.business_days_after(value_date, -FIXING_DAYS).isoformat()


def settled_amount(fields: Mapping[str, Json], dealt: Decimal, rate: Decimal) -> Decimal:
    """Return the contra amount, unsigned, rounded to its currency's minor unit (A1)."""
    base, _, term = str(fields["symbol"]).partition("/")
    if fields["currency"] == base:
        return rounded(WIDE.multiply(dealt, rate), term)
    return rounded(WIDE.divide(dealt, rate), base)


def leg_fields(fields: Mapping[str, Json], pair: Pair, draw: random.Random) -> dict[str, Json]:
    """Return rates and settled amounts of all legs, for a trade whose dates and dealt amount are known."""
    tick = Decimal(1).scaleb(-pair.places)
    spot = (pair.mid * (1 + Decimal(draw.randrange(-2000, 2001)) / 100_000)).quantize(tick)
    dealt = fields["dealtAmount"]
    if not isinstance(dealt, Decimal):
        raise ValueError("dealtAmount is not a number")
    near_points = Decimal(0) if fields["tradeType"] in ("Spot", "Swap") else _points(spot, pair, draw)
    found: dict[str, Json] = {"settledAmount": settled_amount(fields, dealt, spot + near_points)}
    found |= {"rate": spot + near_points, "spotRate": spot}
    if fields["tradeType"] != "Spot":
        found["forwardPoints"] = near_points
    if "farValueDate" in fields:
        far_points = near_points + _points(spot, pair, draw)
        far_dealt = dealt if draw.random() < 0.8 else rounded(dealt * Decimal("1.025"), str(fields["currency"]))
        found |= {
            "farDealtAmount": far_dealt,
            "farSettledAmount": settled_amount(fields, far_dealt, spot + far_points),
            "farRate": spot + far_points,
            "farForwardPoints": far_points,
        }
    return found


def _points(spot: Decimal, pair: Pair, draw: random.Random) -> Decimal:
    """Return forward points in rate units, with two decimals more than the spot rate has (A2)."""
    step = Decimal(1).scaleb(-pair.places - 2)
    return (spot * Decimal(draw.randrange(-150, 300)) / 10_000).quantize(step)
