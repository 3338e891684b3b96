"""The program in this process against the sandbox, at an hour at which no business day turns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from etl.app import App
from etl.clock import SystemClock
from etl.config import load
from etl.controls.questions import Order, Outcome, Proof
from etl.controls.reconciliation import Reconciler
from etl.domain.sweeps import SWEEPS
from etl.reconcile import DrainHere, reconciler_of
from etl.sandbox.options import Options, User
from etl.sandbox.process import Control, SandboxProcess
from etl.store.database import Database
from tests.databases import rows

NOON = datetime(2030, 7, 2, 12, tzinfo=UTC)  # a Tuesday, as in tests/integration/sandbox_client.py
SETTINGS = """
[database]
url = "{url}"
[feeds.main]
base_url = "{base_url}"
org = "{org}"
user = "{user}"
password = "{password}"
ghost_s = 0.1
eligible_after_s = 0
resend_days_at_once = 31
{feed}
[reconciliation]
confirm_after_s = 0.05
call_spacing_s = 0
{rules}
"""


class NoonClock(SystemClock):
    """The machine's clock, moved so that it was noon when the tests began; `ahead` moves it further."""

    def __init__(self) -> None:
        self.ahead = NOON - datetime.now(UTC)

    def now(self) -> datetime:
        return super().now() + self.ahead


class World:
    """One user of a sandbox and the program that works for it."""

    def __init__(
        self, sandbox: SandboxProcess, user: User, database: Database, folder: Path, *, rules: str = "", feed: str = ""
    ) -> None:  # fmt: skip
        self.sandbox, self.control, self.user, self.database = sandbox, sandbox.control, user, database
        file = self.file = folder / "stp-etl.toml"
        url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
        login = {"org": user.org, "user": user.name, "password": user.password}
        file.write_text(SETTINGS.format(url=url, base_url=sandbox.url, rules=rules, feed=feed, **login))
        self.clock = NoonClock()
        self.app = App(load(file, {}), self.clock)
        self.feed = self.app.feed()
        assert self.feed.lead()
        self.drain = DrainHere(self.app, self.feed)
        self.controls: Reconciler = reconciler_of(self.app, self.feed, lambda: self.drained())
        self.before_drain: list[Any] = []
        self.drained()

    def drained(self) -> Proof | None:
        """Drain and book, after whatever a test wants to happen first."""
        if getattr(self, "before_drain", None):
            self.before_drain.pop(0)()
        return self.drain()

    def execute(self, **content: Any) -> str:
        """Let a trade be done now, and return its id."""
        (trade_id,) = self.control.execute_trades([content], org=self.user.org)
        return trade_id

    def open(self) -> None:
        """Take the vendor's figures as where the book starts."""
        outcomes = self.positions(opening=True)
        assert {each.result for each in outcomes} == {"opened"}, outcomes

    def positions(self, **more: Any) -> list[Outcome]:
        """Compare positions, as an operator asks for it."""
        return self.controls.positions(Order("operator", "olga", "a test"), **more)

    def results(self, **more: Any) -> set[str]:
        """Compare positions, and return how that ended."""
        return {each.result for each in self.positions(**more)}

    def investigate(self) -> list[str]:
        """Compare positions and find out why they differ; return how each comparison ended."""
        outcomes = self.positions()
        return [each.result for each in [*outcomes, *self.controls.investigate(outcomes)]]

    def heal(self) -> None:
        """Ask for the days of all gaps again until nothing is left to wait for."""
        for _ in range(60):
            self.drained()
            self.feed.heal()
            with self.app.open_work() as work:
                if not [gap for gap in work.gaps.unfinished(self.feed.feed_id) if gap.cause not in SWEEPS]:
                    return
            self.clock.wait(self.app.stop, 0.05)
        raise AssertionError("gaps do not heal")

    def fills(self) -> Outcome:
        """Ask for fills."""
        return self.controls.fills(Order())[0]

    def balances(self, **more: Any) -> list[Outcome]:
        """Compare balances, as an operator asks for it."""
        return self.controls.balances(Order("operator", "olga", "a test"), **more)

    def breaks(self, columns: str = "kind, key, state") -> list[tuple[Any, ...]]:
        """Return the breaks as the report shows them, in the order in which they were opened."""
        return rows(self.database, f"SELECT {columns} FROM reporting.break ORDER BY break_id")

    def a_key(self) -> tuple[str, str]:
        """Return symbol and value date of an open position."""
        found = rows(
            self.database,
            "SELECT symbol, value_date::text FROM reporting.position WHERE deliverable AND value_date > :day"
            " ORDER BY symbol <> 'EUR/USD', value_date LIMIT 1",
            day=(self.clock.now() + timedelta(days=1)).date(),
        )
        return found[0][0], found[0][1]

    def close(self) -> None:
        """Stop."""
        self.app.close()


def sandbox_at_noon(users: int) -> Iterator[tuple[SandboxProcess, Iterator[User]]]:
    """Yield a running sandbox and users, each of an organisation with a backlog of its own."""
    made = tuple(User(f"user{number}", f"secret {number}", f"org{number}") for number in range(users))
    with SandboxProcess(Options(trades=40, start_time=NOON, users=made, eligible_after_s=0)) as sandbox:
        yield sandbox, iter(made)


__all__ = ["NOON", "Control", "World", "sandbox_at_noon"]
