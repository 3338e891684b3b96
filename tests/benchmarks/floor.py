"""The least that any program has to do: GET a page, INSERT its bytes, COMMIT, and nothing else.

As a program of its own: `python -m tests.benchmarks.floor URL DATABASE PAGE`.
"""

from __future__ import annotations

import sys

import psycopg
import requests

TABLE = "CREATE TABLE IF NOT EXISTS raw_page (id bigint GENERATED ALWAYS AS IDENTITY, body bytea)"


class Floor:
    """One connection to the vendor and one to the database, both kept."""

    def __init__(self, url: str, database: str, page: int) -> None:
        body = {"user": "apiUser", "pass": "sandbox", "org": "pfOrg"}
        self._session = requests.Session()
        login = self._session.post(f"{url}/v2/sso/login", json=body, timeout=30)
        self._session.headers["SSO_TOKEN"] = login.headers["SSO_TOKEN"]
        self._next = f"{url}/v2/trades/stp/messages?maxCount={page}"
        self._connection = psycopg.connect(database)
        self._connection.execute(TABLE)
        self._connection.commit()

    def drain(self) -> int:
        """Keep page after page until the queue is empty; return how many trades that were."""
        trades = 0
        while len(body := self._session.get(self._next, timeout=30).content) > 2:
            self._connection.execute("INSERT INTO raw_page (body) VALUES (%s)", (body,))
            self._connection.commit()
            trades += body.count(b'"tradeId"')
        return trades

    def close(self) -> None:
        """Close both connections."""
        self._session.close()
        self._connection.close()


def main() -> None:
    """Drain the queue once."""
    url, database, page = sys.argv[1:]
    floor = Floor(url, database, int(page))
    floor.drain()
    floor.close()


if __name__ == "__main__":
    main()
