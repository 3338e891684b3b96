"""The proof that the book equals what the vendor handed out: set, bytes, fields, amounts, sums."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from etl.cli.vendor_words import Message, is_kept, legs_of, message_of, trade_of
from etl.domain.words import counted

Row = Mapping[str, Any]
Keyed = Mapping[Hashable, Row]
HandedOut = Sequence[Row]
"""The vendor's log: a line for each message, with `trade_id`, `event` and its text in `body`."""
Ask = Callable[[str], Iterable[Row]]
"""Answers a question in SQL."""

EXACT = Context(prec=400, traps=[Inexact, InvalidOperation])
PARTIES = ("organisation", "legal_entity", "counterparty", "counterparty_entity")
POSITION = ("organisation", "legal_entity", "symbol", "value_date", "deliverable")
CASH = (*PARTIES, "value_date", "currency")
SUMS = """
SELECT currency, sum(amount) AS amount, sum(greatest(amount, 0)) AS receive, sum(least(amount, 0)) AS pay
FROM reporting.trade_leg,
    LATERAL (VALUES (dealt_currency, dealt_amount), (settled_currency, settled_amount)) AS paid (currency, amount)
GROUP BY currency
"""


@dataclass
class Proof:
    """What was compared, and every difference that was found."""

    handed_out: int = 0
    booked: int = 0
    fields: int = 0
    totals: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether something was handed out, all of it is in the book, and nothing else is."""
        return self.handed_out > 0 and not self.differences

    def __str__(self) -> str:
        found = len(self.differences)
        return (
            f"proof: {self.handed_out:,} trades handed out, {self.booked:,} booked, {self.fields:,} fields and "
            f"{self.totals:,} totals compared, {counted(found, 'difference')}"
        )

    def compare(self, what: str, said: Keyed, held: Keyed) -> int:
        """Compare the keys of both, and every value under the keys they share; return how many values that were."""
        compared = 0
        for key in sorted(said.keys() | held.keys(), key=str):
            label = f"{what} {', '.join(map(str, key)) if isinstance(key, tuple) else key}"
            if key not in held:
                self.differences.append(f"{label}: handed out, and not in the book")
            elif key not in said:
                self.differences.append(f"{label}: in the book, and not handed out")
            else:
                compared += len(said[key])
                self.differences += [
                    f"{label}: {name} is {held[key].get(name)!s} in the book, and the vendor said {value!s}"
                    for name, value in said[key].items()
                    if not is_kept(value, held[key].get(name))
                ]
        return compared


def prove(handed_out: HandedOut, ask: Ask) -> Proof:
    """Compare the vendor's log of what it handed out with the reporting views, in both directions.

    The views are read as any reader would; the log is read by `vendor_words`, which shares no code with what booked
    the trades. The customer of each trade is taken to be us.
    """
    proof = Proof()
    messages: dict[Hashable, Message] = {}
    for line in handed_out:
        message = message_of(line["body"])
        first = messages.setdefault(message["tradeId"], message)
        if {**first, "event": None} != {**message, "event": None}:
            proof.differences.append(f"trade {message['tradeId']}: handed out with two contents")
    trades = keyed(ask("SELECT * FROM reporting.trade"), "trade_id")
    proof.handed_out, proof.booked = len(messages), len(trades)
    proof.fields += proof.compare("trade", {key: trade_of(each) for key, each in messages.items()}, trades)
    legs = keyed((leg for message in messages.values() for leg in legs_of(message)), "trade_id", "leg_no")
    proof.fields += proof.compare("leg", legs, keyed(ask("SELECT * FROM reporting.trade_leg"), "trade_id", "leg_no"))
    proof.fields += compare_bytes(proof, handed_out, ask)
    flows = [{**trade_of(messages[leg["trade_id"]]), **leg} for leg in legs.values()]
    proof.totals += compare_totals(proof, flows, ask)
    return proof


def compare_bytes(proof: Proof, handed_out: HandedOut, ask: Ask) -> int:
    """Compare the digest of each text that was handed out with those of the landed messages."""
    said: dict[Hashable, Row] = {
        hashlib.sha256(line["body"].encode()).hexdigest(): {"trade_id": line["trade_id"], "event": line["event"]}
        for line in handed_out
    }
    held = ask("SELECT encode(sha256, 'hex') AS sha256, trade_id, event FROM reporting.message")
    return proof.compare("message with SHA-256", said, keyed(held, "sha256"))


def compare_totals(proof: Proof, legs: Sequence[Row], ask: Ask) -> int:
    """Compare the sums of each currency, the positions and the cash ladder, which SQL and booking have added up."""
    flows = [{**leg, **cash} for leg in legs for cash in cash_of(leg)]
    compared = proof.compare("sum", added_up(flows, ("currency",)), keyed(ask(SUMS), "currency"))
    positions = keyed(ask("SELECT * FROM reporting.position"), *POSITION)
    compared += proof.compare("position", added_up(legs, POSITION), positions)
    ladder = added_up([flow for flow in flows if flow["deliverable"]], CASH)
    return compared + proof.compare("cash", ladder, keyed(ask("SELECT * FROM reporting.cash_ladder"), *CASH))


def cash_of(leg: Row) -> list[dict[str, Any]]:
    """Return the two flows of a leg: positive is received, negative is paid."""
    return [
        {
            "currency": leg[f"{side}_currency"],
            "amount": (amount := leg[f"{side}_amount"]),
            "receive": max(amount, Decimal(0)),
            "pay": min(amount, Decimal(0)),
        }
        for side in ("dealt", "settled")
    ]


def added_up(rows: Iterable[Row], key: Sequence[str]) -> dict[Hashable, dict[str, Decimal]]:
    """Return the exact sums of the rows with the same key: of base and term for legs, of the cash for flows."""
    sums: dict[Hashable, dict[str, Decimal]] = {}
    for row in rows:
        names = ("amount", "receive", "pay") if "currency" in row else ("base_amount", "term_amount")
        held = sums.setdefault(key_of(row, key), dict.fromkeys(names, Decimal(0)))
        for name in names:
            held[name] = EXACT.add(held[name], row[name])
    return sums


def keyed(rows: Iterable[Row], *key: str) -> dict[Hashable, Row]:
    """Return the rows by the values of these columns."""
    return {key_of(row, key): row for row in rows}


def key_of(row: Row, key: Sequence[str]) -> Hashable:
    return row[key[0]] if len(key) == 1 else tuple(row[name] for name in key)
