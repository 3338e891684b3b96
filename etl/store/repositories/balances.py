"""What moves balances: settled legs, transfers, adjustments; openings; and how each balance stood last."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.dialects import postgresql

from etl.domain.balance import BalanceKey, Expectation, Flows
from etl.store.rows.reconciliation import (
    AccountBalanceRow,
    BalanceAdjustmentRow,
    OpeningBalanceRow,
    OpeningRow,
)

ACCOUNT, BROKER = "ACCOUNT", "BROKER"
ACCOUNT_OF = {ACCOUNT: "''", BROKER: "organisation || '/' || legal_entity"}
LEGS = """
SELECT {account} AS account, asset, sum(amount) FROM (
    SELECT organisation, legal_entity, value_date, split_part(symbol, '/', 1) AS asset, base_amount AS amount
    FROM stp.position WHERE feed_id = :feed_id AND deliverable
    UNION ALL SELECT organisation, legal_entity, value_date, split_part(symbol, '/', 2), term_amount
    FROM stp.position WHERE feed_id = :feed_id AND deliverable
) AS moved
WHERE asset = ANY (:assets) AND (value_date <= :day OR asset = ANY (:at_execution))
  AND (:any_org OR organisation = ANY (:orgs))
GROUP BY 1, 2
"""
# Trades that were done before an opening and came to us after it: the vendor's figure had them already.
COUNTED_BEFORE = """
SELECT {account} AS account, asset, sum(amount) FROM (
    SELECT coalesce(p.organisation, '') AS organisation, coalesce(p.legal_entity, '') AS legal_entity, l.value_date,
        c.asset, c.amount * p.sign AS amount
    FROM stp.trade t
    JOIN stp.trade_version v USING (feed_id, trade_id, version)
    JOIN stp.trade_leg l USING (feed_id, trade_id, version)
    CROSS JOIN LATERAL (
        SELECT v.organisation, v.legal_entity, 1 AS sign
        UNION ALL SELECT v.counterparty, v.counterparty_entity, -1 WHERE v.internal
    ) AS p
    CROSS JOIN LATERAL (VALUES (v.base_currency, l.base_amount), (v.term_currency, l.term_amount)) AS c (asset, amount)
    WHERE t.feed_id = :feed_id AND t.first_landed_at > :opened_at AND v.executed_at < :vendor_at AND v.live
      AND v.trade_date <= :latest AND l.deliverable
) AS moved
WHERE asset = ANY (:assets) AND (value_date <= :day OR asset = ANY (:at_execution))
  AND (:any_org OR organisation = ANY (:orgs))
GROUP BY 1, 2
"""
ADJUSTED = text("""
SELECT coalesce(sum(amount), 0), count(*) FROM stp.balance_adjustment
WHERE (feed_id, account, asset) = (:feed_id, :account, :asset) AND effective_at > :since AND effective_at <= :until
""")
OPENINGS = (
    select(
        OpeningBalanceRow.account, OpeningBalanceRow.asset, OpeningRow.id, OpeningRow.as_of, OpeningRow.vendor_date,
        OpeningBalanceRow.amount, OpeningBalanceRow.legs, OpeningBalanceRow.deposits, OpeningBalanceRow.withdrawals,
        OpeningBalanceRow.fees, OpeningBalanceRow.at_execution,
    )
    .join(OpeningRow, OpeningRow.id == OpeningBalanceRow.opening_id)
    .where(OpeningRow.control == "balances")
    .order_by(OpeningRow.id)
)  # fmt: skip
LISTED = text("""
SELECT * FROM reporting.balance
WHERE (CAST(:feed AS text) IS NULL OR feed = :feed) AND (CAST(:asset AS text) IS NULL OR asset = :asset)
ORDER BY feed, level, account, asset
""")
ADJUSTMENTS = text("""
SELECT * FROM reporting.balance_adjustment
WHERE (CAST(:feed AS text) IS NULL OR feed = :feed) AND (CAST(:asset AS text) IS NULL OR asset = :asset)
ORDER BY adjustment_id DESC LIMIT :row_limit
""")


class Counting(msgspec.Struct, frozen=True):
    """Which legs count for which balances. `day`: the last value date that has come; `orgs`: ours, None for all."""

    feed_id: int
    level: str
    assets: tuple[str, ...]
    at_execution: tuple[str, ...]
    day: date
    orgs: tuple[str, ...] | None = None

    @property
    def values(self) -> dict[str, Any]:
        """Return it as the queries name it."""
        return {
            "feed_id": self.feed_id, "assets": list(self.assets), "at_execution": list(self.at_execution),
            "day": self.day, "any_org": self.orgs is None, "orgs": list(self.orgs or ()),
        }  # fmt: skip


class StoredOpening(msgspec.Struct, frozen=True):
    """Where one balance starts: the vendor's figure, and what we knew to have moved it until then."""

    opening_id: int
    as_of: datetime
    vendor_date: datetime | None
    amount: Decimal
    flows: Flows
    at_execution: bool


class Adjustment(msgspec.Struct, frozen=True):
    """What a person says moved a balance: major units, + received, - paid."""

    account: str
    asset: str
    amount: Decimal
    effective_at: datetime
    recorded_at: datetime
    recorded_by: str
    reason: str


class Shown(msgspec.Struct, frozen=True):
    """How one balance stood in a run; `ours` and `theirs` are rounded."""

    key: BalanceKey
    result: str
    expectation: Expectation | None
    opened_at: datetime | None
    ours: Decimal | None
    theirs: Decimal | None


class BalanceRepository:
    """Balances of accounts and what moves them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def legs(self, counting: Counting) -> dict[BalanceKey, Decimal]:
        """Return what all settled legs of live trades come to, from the positions that booking keeps."""
        statement = text(LEGS.format(account=ACCOUNT_OF[counting.level]))
        rows = self._connection.execute(statement, counting.values)
        return {BalanceKey(account, asset): amount for account, asset, amount in rows}

    def counted_before(
        self, counting: Counting, opened_at: datetime, vendor_at: datetime, latest: date
    ) -> dict[BalanceKey, Decimal]:
        """Return the legs of trades that landed after an opening and were done, and had settled, before it.

        `vendor_at` is the opening by the vendor's clock, `counting.day` its settlement day, `latest` no trade date of
        then is later than.
        """
        values = {**counting.values, "opened_at": opened_at, "vendor_at": vendor_at, "latest": latest}
        rows = self._connection.execute(text(COUNTED_BEFORE.format(account=ACCOUNT_OF[counting.level])), values)
        return {BalanceKey(account, asset): amount for account, asset, amount in rows}

    def adjusted(self, feed_id: int, key: BalanceKey, since: datetime, until: datetime) -> tuple[Decimal, int]:
        """Return what operators recorded after an instant and up to another, and how many adjustments that is."""
        values = {"feed_id": feed_id, **key._asdict(), "since": since, "until": until}
        row = self._connection.execute(ADJUSTED, values).one()
        return row[0], row[1]

    def adjust(self, feed_id: int, adjustment: Adjustment) -> int:
        """Record an adjustment; return its number."""
        values = {"feed_id": feed_id, **msgspec.structs.asdict(adjustment)}
        statement = insert(BalanceAdjustmentRow).values(values).returning(BalanceAdjustmentRow.id)
        return int(self._connection.execute(statement).scalar_one())

    def open(
        self, feed_id: int, run_id: int, counting: Counting, *, value: str, at: datetime, vendor_date: datetime | None,
        by: str, reason: str, figures: Mapping[BalanceKey, tuple[Decimal, Flows]],
    ) -> int:  # fmt: skip
        """Keep the vendor's figures and what we knew to have moved them; return the number of the opening."""
        values = {
            "feed_id": feed_id, "control": "balances", "level": counting.level, "level_value": value, "as_of": at,
            "opened_by": by, "reason": reason, "run_id": run_id, "vendor_date": vendor_date,
        }  # fmt: skip
        number = int(self._connection.execute(insert(OpeningRow).values(values).returning(OpeningRow.id)).scalar_one())
        rows = [
            {"opening_id": number, **key._asdict(), "amount": amount, **msgspec.structs.asdict(flows),
             "at_execution": key.asset in counting.at_execution}
            for key, (amount, flows) in figures.items()
        ]  # fmt: skip
        if rows:
            self._connection.execute(insert(OpeningBalanceRow), rows)
        return number

    def openings(self, feed_id: int, level: str, value: str) -> dict[BalanceKey, StoredOpening]:
        """Return where each balance of a level starts: its last opening."""
        row = OpeningRow
        found = OPENINGS.where(row.feed_id == feed_id, row.level == level, row.level_value == value)
        return {
            BalanceKey(each.account, each.asset): StoredOpening(
                each.id, each.as_of, each.vendor_date, each.amount,
                Flows(each.legs, each.deposits, each.withdrawals, each.fees), each.at_execution,
            )
            for each in self._connection.execute(found)
        }  # fmt: skip

    def show(self, feed_id: int, level: str, run_id: int, at: datetime, balances: Collection[Shown]) -> None:
        """Keep how the balances of a level stood in this run, in the place of the run before."""
        for each in balances:
            expected = each.expectation or Expectation(Decimal(0))
            values = {
                "opening": None if each.expectation is None else expected.opening, "opened_at": each.opened_at,
                **msgspec.structs.asdict(expected.moved), "adjustments": expected.adjustments, "ours": each.ours,
                "theirs": each.theirs, "result": each.result, "as_of": at, "run_id": run_id,
            }  # fmt: skip
            key = {"feed_id": feed_id, "level": level, **each.key._asdict()}
            statement = postgresql.insert(AccountBalanceRow).values({**key, **values})
            self._connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))

    def listed(self, feed: str | None, asset: str | None = None) -> list[dict[str, Any]]:
        """Return rows of reporting.balance."""
        return [dict(row) for row in self._connection.execute(LISTED, {"feed": feed, "asset": asset}).mappings()]

    def adjustments(self, feed: str | None, asset: str | None, limit: int) -> list[dict[str, Any]]:
        """Return rows of reporting.balance_adjustment, the last one first."""
        values = {"feed": feed, "asset": asset, "row_limit": limit}
        return [dict(row) for row in self._connection.execute(ADJUSTMENTS, values).mappings()]
