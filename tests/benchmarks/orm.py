"""A peer: a plain SQLAlchemy ORM loop, row by row; no landing, checks, versions or positions.

As a program of its own: `python -m tests.benchmarks.orm URL DATABASE PAGE`.
"""

from __future__ import annotations

import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tests.benchmarks.peer_queue import pages


class Base(DeclarativeBase):
    """The tables of the loop."""


class TradeRow(Base):
    """What most first versions of such a program keep of a trade."""

    __tablename__ = "orm_trade"

    trade_id: Mapped[str] = mapped_column(primary_key=True)
    trade_type: Mapped[str]
    trade_date: Mapped[date]
    executed_at: Mapped[datetime]
    side: Mapped[str]
    status: Mapped[str]
    symbol: Mapped[str]
    currency: Mapped[str]
    order_id: Mapped[str | None]
    trader: Mapped[str | None]
    legal_entity: Mapped[str | None]
    counterparty: Mapped[str | None]
    counterparty_entity: Mapped[str | None]


class LegRow(Base):
    """One exchange of two currencies."""

    __tablename__ = "orm_leg"

    trade_id: Mapped[str] = mapped_column(ForeignKey(TradeRow.trade_id), primary_key=True)
    leg_no: Mapped[int] = mapped_column(primary_key=True)
    value_date: Mapped[date]
    dealt_amount: Mapped[Decimal]
    settled_amount: Mapped[Decimal]
    rate: Mapped[Decimal]


class OrmLoop:
    """Books pages of trades; a trade that is there already is passed over."""

    def __init__(self, database: str) -> None:
        self._engine = create_engine(make_url(database).set(drivername="postgresql+psycopg"))
        Base.metadata.create_all(self._engine)

    def book(self, elements: list[dict[str, Any]]) -> None:
        """Book one page in one transaction."""
        with Session(self._engine) as session:
            for element in elements:
                if session.get(TradeRow, element["tradeId"]) is None:
                    session.add(_trade(element))
                    session.flush()
                    session.add_all(_legs(element))
                    session.flush()
            session.commit()

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def _trade(element: dict[str, Any]) -> TradeRow:
    return TradeRow(
        trade_id=element["tradeId"],
        trade_type=element["tradeType"],
        trade_date=date.fromisoformat(element["tradeDate"]),
        executed_at=datetime.fromisoformat(element["executionTime"].replace(",", ".").replace(" +", "+")),
        side=element["side"],
        status=element["status"],
        symbol=element["symbol"],
        currency=element["currency"],
        order_id=element.get("orderId"),
        trader=element.get("user"),
        legal_entity=element.get("customerAccount"),
        counterparty=element.get("counterparty"),
        counterparty_entity=element.get("counterpartyAccount"),
    )


def _legs(element: dict[str, Any]) -> list[LegRow]:
    return [
        LegRow(
            trade_id=element["tradeId"],
            leg_no=number,
            value_date=date.fromisoformat(element[f"{prefix}alueDate"]),
            dealt_amount=element[f"{dealt}ealtAmount"],
            settled_amount=element[f"{settled}ettledAmount"],
            rate=element[f"{rate}ate"],
        )
        for number, (prefix, dealt, settled, rate) in enumerate(
            (("v", "d", "s", "r"), ("farV", "farD", "farS", "farR")), 1
        )
        if f"{prefix}alueDate" in element
    ]


def main() -> None:
    """Book page after page until the queue is empty."""
    url, database, page = sys.argv[1:]
    loop = OrmLoop(database)
    for each in pages(url, int(page), parse_float=Decimal):
        loop.book(each)
    loop.close()


if __name__ == "__main__":
    main()
