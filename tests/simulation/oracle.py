"""What must hold after healing: the sandbox's own log against the book, with no code of the product."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact
from typing import Any

Row = Mapping[str, Any]
Ask = Callable[[str], Iterable[Row]]
Legs = tuple[tuple[str, ...], ...]

EXACT = Context(prec=400, traps=[Inexact])
TWO_LEGS = ("Swap", "FwdFwd", "NDFSwap")
SHOWN = 5

TRADES = "SELECT trade_id, live FROM reporting.trade"
VERSIONS = "SELECT trade_id, count(*) AS versions FROM reporting.trade_version GROUP BY trade_id"
LEGS = """
SELECT l.trade_id, l.value_date::text AS value_date, t.symbol, l.dealt_currency, l.dealt_amount::text AS dealt,
    l.settled_currency, l.settled_amount::text AS settled, l.base_amount::text AS base, l.term_amount::text AS term,
    t.organisation, t.legal_entity, l.deliverable, t.live
FROM reporting.trade_leg l JOIN reporting.trade t USING (feed, trade_id) ORDER BY l.trade_id, l.leg_no
"""
POSITIONS = """
SELECT organisation, legal_entity, symbol, value_date::text AS value_date, deliverable, base_amount::text AS base,
    term_amount::text AS term FROM reporting.position
"""
EXCEPTIONS = "SELECT DISTINCT trade_id FROM reporting.exception_item WHERE trade_id IS NOT NULL"
GAPS = "SELECT gap_id, state, why FROM reporting.gap WHERE state <> 'healed' ORDER BY 1"
UNCOVERED = "SELECT id, cause FROM stp.poll WHERE outcome = 'in_doubt' AND gap_id IS NULL ORDER BY 1"
UNBOOKED = "SELECT poll_id FROM stp.unbooked ORDER BY 1"
LEFT_OPEN = "SELECT poll_id FROM stp.current_poll WHERE outcome IS NULL"
RESENDS = """
SELECT resend_id, state FROM reporting.resend
WHERE state IN ('requested', 'sending', 'ambiguous', 'accepted', 'draining') ORDER BY 1
"""


@dataclass
class Findings:
    """What was compared, and everything that is not as it must be, in sentences."""

    handed_out: int = 0
    """Distinct trades that are still Verified at the vendor."""
    booked: int = 0
    exceptions: int = 0
    """Of those handed out: exception items that are in no other form in the book."""
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether something was handed out, and all of it is in the book as it should be."""
        return self.handed_out > 0 and not self.lost and not self.wrong

    def __str__(self) -> str:
        said = [f"lost: {len(self.lost)} trades: {', '.join(self.lost[:SHOWN])}"] if self.lost else []
        more = [f"and {len(self.wrong) - SHOWN} more"] if len(self.wrong) > SHOWN else []
        return "\n".join([*said, *self.wrong[:SHOWN], *more]) or "nothing lost, nothing wrong"


def compare(handed_out: Sequence[Row], trades: Sequence[Row], ask: Ask) -> Findings:
    """Compare what the vendor says it handed out (its log, its trades) with what the book says it holds."""
    found = Findings()
    texts = defaultdict(list)
    for line in handed_out:
        texts[line["trade_id"]].append(line["body"])
    verified = {each["trade_id"] for each in trades if each["status"] == "Verified"}
    counted = Counter(row["trade_id"] for row in ask(TRADES))
    excepted = {row["trade_id"] for row in ask(EXCEPTIONS)}
    wanted = texts.keys() & verified
    found.handed_out, found.booked = len(wanted), len(counted)
    found.exceptions = len((excepted & wanted) - counted.keys())
    found.lost = sorted(wanted - counted.keys() - excepted)
    found.wrong += [f"trade {each} is in the book, and was never handed out" for each in counted.keys() - texts.keys()]
    found.wrong += [f"trade {each} is in the book {count} times" for each, count in counted.items() if count > 1]
    for row in ask(VERSIONS):
        contents = len({_content(text) for text in texts[row["trade_id"]]})
        asked = row["trade_id"] not in verified  # asked by id, and booked as it is now
        if row["versions"] > contents + asked:
            found.wrong.append(f"trade {row['trade_id']} has {row['versions']} versions of {contents} contents")
    legs = list(ask(LEGS))
    found.wrong += _wrong_amounts(texts, legs)
    found.wrong += _wrong_positions(legs, ask(POSITIONS))
    found.wrong += [f"gap {row['gap_id']} is {row['state']}: {row['why']}" for row in ask(GAPS)]
    found.wrong += [f"poll {row['id']} is in doubt ({row['cause']}) and opened no gap" for row in ask(UNCOVERED)]
    found.wrong += [f"the answer of poll {row['poll_id']} is landed and not booked" for row in ask(UNBOOKED)]
    found.wrong += [f"poll {row['poll_id']} was left open" for row in ask(LEFT_OPEN)]
    found.wrong += [f"resend {row['resend_id']} is {row['state']}" for row in ask(RESENDS)]
    return found


def _wrong_amounts(texts: Mapping[str, list[str]], legs: Sequence[Row]) -> list[str]:
    """Return the trades whose amounts are not, digit by digit, those that the vendor said last."""
    held: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for leg in legs:
        held[leg["trade_id"]].append(
            (leg["value_date"], leg["dealt_currency"], leg["dealt"], leg["settled_currency"], leg["settled"])
        )
    wrong = []
    for trade_id, lines in held.items():
        said = [legs for text in texts.get(trade_id, ()) if (legs := _legs_of(text)) is not None]
        if said and tuple(lines) != said[-1]:
            wrong.append(f"trade {trade_id}: the book holds {tuple(lines)}, and the vendor said {said[-1]}")
    return wrong


def _legs_of(text: str) -> Legs | None:
    """Return the legs as the message's text gives them; None for a text that a fault has damaged.

    Buy receives the dealt amount and pays the settled amount; sell the other way; a far leg the opposite of its near.
    """
    said = json.loads(text, parse_float=_Digits, parse_int=_Digits)
    try:
        base, term = said["symbol"].split("/")
        currency, buys = said["currency"], said["side"].lower() == "buy"
        legs = [(said["valueDate"], said["dealtAmount"], said["settledAmount"], buys)]
        if said["tradeType"] in TWO_LEGS:
            legs.append((said["farValueDate"], said["farDealtAmount"], said["farSettledAmount"], not buys))
        other = term if currency == base else base
        return tuple(
            (day, currency, _signed(dealt, plus), other, _signed(settled, not plus))
            for day, dealt, settled, plus in legs
        )
    except (KeyError, AttributeError, TypeError):
        return None


class _Digits(str):
    """A number as the text has it."""

    __slots__ = ()


def _signed(number: object, plus: bool) -> str:
    if not isinstance(number, _Digits):
        raise TypeError("not a number")
    return str(number) if plus or Decimal(number) == 0 else f"-{number}"


def _content(text: str) -> str:
    """Return the message without its label."""
    return json.dumps({**json.loads(text, parse_float=_Digits), "event": ""}, sort_keys=True)


def _wrong_positions(legs: Sequence[Row], positions: Iterable[Row]) -> list[str]:
    """Return the positions that are not the exact sum of the legs of live trades."""
    sums: dict[tuple[Any, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for leg in legs:
        if leg["live"]:
            added = sums[_bucket(leg)]
            added[0] = EXACT.add(added[0], Decimal(leg["base"]))
            added[1] = EXACT.add(added[1], Decimal(leg["term"]))
    held = {_bucket(row): [Decimal(row["base"]), Decimal(row["term"])] for row in positions}
    return [
        f"position {', '.join(map(str, key))} is {_shown(held.get(key))}, its legs add up to {_shown(sums.get(key))}"
        for key in sorted(sums.keys() | held.keys(), key=str)
        if held.get(key, [0, 0]) != sums.get(key, [0, 0])
    ]


def _bucket(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("organisation", "legal_entity", "symbol", "value_date", "deliverable"))


def _shown(amounts: list[Decimal] | None) -> str:
    return "nothing" if amounts is None else " and ".join(map(str, amounts))
