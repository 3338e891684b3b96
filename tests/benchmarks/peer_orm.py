"""The queue into Postgres with a plain SQLAlchemy ORM loop: `python peer_orm.py URL DATABASE PAGE`."""

from __future__ import annotations

import json
import sys
from typing import Any

from peer_queue import pages
from sqlalchemy import JSON, Numeric, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """The tables of this program."""


class Trade(Base):
    """One trade: a few columns as they are usually taken, the whole message beside them."""

    __tablename__ = "trade"

    id: Mapped[str] = mapped_column(primary_key=True)
    symbol: Mapped[str]
    side: Mapped[str]
    trade_date: Mapped[str]
    dealt: Mapped[Any] = mapped_column(Numeric)
    settled: Mapped[Any] = mapped_column(Numeric)
    message: Mapped[dict[str, Any]] = mapped_column(JSON)


class Leg(Base):
    """One value date of a trade."""

    __tablename__ = "leg"

    trade_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    value_date: Mapped[str | None]
    rate: Mapped[Any] = mapped_column(Numeric)


def main() -> None:
    """Look each trade up, write it if it is new, commit a page at a time."""
    url, database, page = sys.argv[1:]
    engine = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for each in pages(url, int(page)):
            for message in each:
                known = session.get(Trade, message["tradeId"])
                if known is None:
                    session.add(Trade(
                        id=message["tradeId"], symbol=message["symbol"], side=message["side"],
                        trade_date=message["tradeDate"], dealt=message.get("dealtAmount"),
                        settled=message.get("settledAmount"), message=json.loads(json.dumps(message)),
                    ))  # fmt: skip
                    session.add(Leg(
                        trade_id=message["tradeId"], number=1, value_date=message.get("valueDate"),
                        rate=message.get("rate"),
                    ))  # fmt: skip
            session.commit()


if __name__ == "__main__":
    main()
